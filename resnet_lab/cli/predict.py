"""`resnet-lab predict`."""

from pathlib import Path
from typing import Annotated

import typer

from resnet_lab.cli import app, options


@app.command(epilog="Example: `resnet-lab predict runs/20260101-120000-resnet18 painting.jpg --top 3`")
def predict(
    weights: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a weights file.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files, or folders of them.")],
    top: Annotated[int, typer.Option("--top", min=1, help="Classes to name, most probable first.")] = 3,
    device: options.Device = None,
    precision: options.Precision = None,
    compiled: options.Compile = None,
    channels_last: options.ChannelsLast = None,
    no_plugin: options.NoPlugin = None,
    json: options.JSON = False,
) -> None:
    """Name the most probable classes of images."""
    from resnet_lab.cli.progress import Screen
    from resnet_lab.evaluate import predict as predict_files

    registry = options.load_registry(no_plugin)
    placement = options.placement(device, precision, compiled, channels_last)
    with Screen() as screen:
        predictions = predict_files(weights, images, placement, registry, top=top, watcher=screen)
    if json:
        options.print_json(
            {
                "images": [
                    {"path": path, "top": [{"class": name, "probability": probability} for name, probability in best]}
                    for path, best in predictions
                ]
            }
        )
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("image", overflow="fold")
    table.add_column("class")
    table.add_column("probability", justify="right")
    for path, best in predictions:
        for rank, (name, probability) in enumerate(best):
            table.add_row(Text(path if rank == 0 else ""), Text(name), f"{probability:.4f}")
    Console(highlight=False).print(table)
