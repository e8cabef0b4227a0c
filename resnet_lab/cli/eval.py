"""`resnet-lab eval`."""

from pathlib import Path
from typing import Annotated

import typer

from resnet_lab.cli import app, options, output


@app.command("eval", epilog="Example: `resnet-lab eval runs/20260101-120000-resnet20 --split val`")
def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    split: options.Split = "test",
    data: options.OtherData = None,
    class_map: options.ClassMap = None,
    again: options.Again = False,
    csv: Annotated[
        Path | None,
        typer.Option(
            "--csv",
            metavar="FILE",
            help="Write a row an image too: path, classes, probabilities.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    device: options.Device = None,
    precision: options.Precision = None,
    compiled: options.Compile = None,
    channels_last: options.ChannelsLast = None,
    download: options.Download = None,
    no_plugin: options.NoPlugin = None,
    plugin: options.Plugin = None,
    json: options.JSON = False,
) -> None:
    """Score a run's best weights, with intervals; predictions are kept in the run folder and used again."""
    from resnet_lab.cli.progress import Screen
    from resnet_lab.data.class_names import read_class_map
    from resnet_lab.evaluate import evaluate as evaluate_run
    from resnet_lab.evaluate import kept_at, summary_of
    from resnet_lab.files import refuse_existing, write_new
    from resnet_lab.run import Run

    registry = options.load_registry(no_plugin)
    if csv is not None:
        refuse_existing(csv)
    placement, renamed = options.placement(device, precision, compiled, channels_last), read_class_map(class_map or ())
    with Screen() as screen:
        predictions = evaluate_run(
            run, placement, registry, part=split, source=data, class_map=renamed, again=again, watcher=screen
        )
    opened = Run(run)
    summary = summary_of(opened, predictions)
    origin = predictions.origin
    if csv is not None:
        write_new(csv, predictions.as_csv().encode("utf-8", "surrogateescape"))
    if json:
        values = summary.as_json()
        output.print_json(
            {
                "run": str(run),
                "best_epoch": origin.epoch,
                "split": origin.part,
                origin.part: values.pop("headline"),
                **values,
                "gone": origin.gone,
                "absent": list(origin.absent),
                "predictions": str(kept_at(opened, origin)),
            }
        )
        return
    from resnet_lab.cli.scores import print_summary

    print_summary(summary, data or f"{split} part, weights of epoch {origin.epoch}")
