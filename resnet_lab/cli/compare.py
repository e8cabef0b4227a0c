"""`resnet-lab compare`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resnet_lab.cli import options, output, scoring_options
from resnet_lab.cli.bundles import command
from resnet_lab.cli.root import app

if TYPE_CHECKING:
    from resnet_lab.evaluation.comparison import Comparison

SHOWN = 10
"""Images of each kind on the screen."""


@command(app, epilog="Example: `resnet-lab compare runs/relu runs/gelu`")
def compare(
    *,
    first: Annotated[Path, typer.Argument(metavar="A", help="The reference run folder.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="The run folder to compare.")],
    split: scoring_options.SplitOfRun = None,
    images: scoring_options.OtherImages,
    placed: options.Placement,
    no_plugin: options.NoPlugin = None,
    plugin: options.Plugin = None,
    json: options.JSON = False,
) -> None:
    """Compare two runs on the same images: images that B fixed and broke, a sign test, intervals of differences.

    `resnet-lab report A B` writes the same as a page, with the images.
    """
    from resnet_lab.cli.progress import Screen
    from resnet_lab.core.run_folder import classes_of
    from resnet_lab.data.class_names import read_class_map
    from resnet_lab.evaluation.comparison import compare as compare_predictions
    from resnet_lab.evaluation.opened_run import OpenedRun, Sources
    from resnet_lab.evaluation.scoring import predictions_of

    images.refuse_part(split)
    registry = options.load_registry(no_plugin)
    placement, renamed = options.placement(placed), read_class_map(images.class_map or ())
    classes = classes_of([first, second]) if renamed else ()
    with Screen() as screen:
        sources = Sources(registry, screen)
        one, other = (
            predictions_of(
                OpenedRun(run, sources),
                placement,
                part=split or "test",
                source=images.source,
                class_map=renamed,
                other_classes=classes,
            )
            for run in (first, second)
        )
    comparison = compare_predictions(one, other, (str(first), str(second)), renamed)
    if json:
        output.print_json(
            {"first": str(first), "second": str(second), "split": one.origin.part, **comparison.as_json()}
        )
        return
    _print(comparison, str(first), str(second))


def _print(comparison: "Comparison", first: str, second: str) -> None:
    from rich import box
    from rich.table import Table

    from resnet_lab.core.figure_names import figure_name
    from resnet_lab.report.text import interval_notes, signed

    console = output.console()
    console.print(f"A {first}\nB {second}\n{len(comparison.first)} images", soft_wrap=True)
    for note in comparison.notes:
        console.print(f"class of B: {note}", soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("figure")
    for column in ("A", "B", "B - A", "95% interval"):
        table.add_column(column, justify="right")
    for name, each in comparison.paired.differences.items():
        one, other = (figures[name].value for figures in comparison.headlines)
        ends = "" if each.ends is None else " to ".join(signed(end, 4) for end in each.ends)
        table.add_row(figure_name(name), f"{one:.4f}", f"{other:.4f}", signed(each.value, 4), ends)
    console.print(table)
    for note in interval_notes(comparison.paired.differences):
        console.print(note, soft_wrap=True)
    test = comparison.paired.test
    console.print(
        f"B fixed {test.fixed} and broke {test.broken} of {len(comparison.first)} images; exact sign test: "
        f"p = {test.p_value:.3g}"
    )
    for word, numbers in (("fixed", comparison.paired.fixed), ("broken", comparison.paired.broken)):
        for number in numbers[:SHOWN].tolist():
            answers = comparison.answers_for(number)
            taken = f"{answers['first']['predicted']} -> {answers['second']['predicted']}"
            console.print(output.text(f"{word}: {answers['path']} ({answers['true']}): {taken}"), soft_wrap=True)
        if len(numbers) > SHOWN:
            console.print(f"{word}: {len(numbers) - SHOWN} more, in --json and on the page of `resnet-lab report`")
