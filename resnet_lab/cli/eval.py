"""`resnet-lab eval`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from resnet_lab.cli import app, options


@app.command("eval", epilog="Example: `resnet-lab eval runs/20260101-120000-resnet20 --split val`")
def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    split: Annotated[Literal["train", "val", "test"], typer.Option("--split", help="The part to score.")] = "test",
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="SOURCE", help="Score all images of another source with the same classes."),
    ] = None,
    device: options.Device = None,
    precision: options.Precision = None,
    compiled: options.Compile = None,
    channels_last: options.ChannelsLast = None,
    no_plugin: options.NoPlugin = None,
    json: options.JSON = False,
) -> None:
    """Score a run's best weights: accuracy, macro-averaged precision, recall and F1, and each class's own."""
    from resnet_lab.cli.progress import Screen
    from resnet_lab.evaluate import evaluate as evaluate_run
    from resnet_lab.run import Run

    registry = options.load_registry(no_plugin)
    opened = Run.open(run)
    placement = options.placement(device, precision, compiled, channels_last)
    with Screen() as screen:
        evaluation = evaluate_run(opened.folder, placement, registry, part=split, source=data, watcher=screen)
    scores = evaluation.scores
    best_epoch = opened.read().get("best_epoch")
    if json:
        options.print_json(
            {
                "run": str(run),
                "best_epoch": best_epoch,
                "split": "all" if data else split,
                "all" if data else split: scores.headline(),
                "classes": [asdict(row) for row in scores.classes],
            }
        )
        return
    from resnet_lab.cli.scores import print_scores

    print_scores(scores, data or f"{split} part, weights of epoch {best_epoch}", each_class=True)
