"""`resnet-lab predict`."""

from pathlib import Path
from typing import Annotated

import typer

from resnet_lab.cli import options, output, scoring_options
from resnet_lab.cli.bundles import command
from resnet_lab.cli.root import app
from resnet_lab.core.option import OUTPUT


@command(
    app, epilog="Example: `resnet-lab predict runs/20260101-120000-resnet18 painting.jpg 'scans/**/*.png' --top 3`"
)
def predict(
    *,
    weights: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a weights file.")],
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE...", help="Image files, folders of them, or patterns in quotes.")
    ],
    top: Annotated[int, typer.Option("--top", min=1, help="Number of classes per image, most probable first.")] = 3,
    csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV: path, rank, class, probability.", rich_help_panel=OUTPUT)
    ] = False,
    tta: scoring_options.TTA = None,
    features_out: Annotated[
        Path | None,
        options.written(
            "--features-out", "FILE", "Also write one row per image with its embedding, as a new .parquet file."
        ),
    ] = None,
    placed: options.Placement,
    inference: options.Inference,
    no_plugin: options.NoPlugin = None,
    plugin: options.Plugin = None,
    json: options.JSON = False,
) -> None:
    """Predict the most probable classes of images. Unreadable images are listed on standard error."""
    from resnet_lab.cli.progress import Screen
    from resnet_lab.core.errors import ConfigError
    from resnet_lab.evaluation.prediction import predict as predict_files
    from resnet_lab.evaluation.views import parse_views

    if csv and json:
        raise ConfigError("--csv and --json both print; give one of them")
    views, registry = parse_views(tta), options.load_registry(no_plugin)
    placement = options.inference_placement(placed, inference)
    with Screen() as screen:
        answers = predict_files(
            weights, images, placement, registry, top=top, views=views, features_out=features_out, watcher=screen
        )
    for path, cause in answers.bad:
        output.remark(f"warning: {path}: unreadable image ({cause}); left out")
    if json:
        output.print_json(
            {
                "images": [
                    {"path": each.path, "top": [{"class": name, "probability": value} for name, value in each.top]}
                    for each in answers.images
                ],
                "bad": [{"path": path, "cause": cause} for path, cause in answers.bad],
                "runtime": answers.runtime,
                "tta": list(views.names),
                **({} if features_out is None else {"features": str(features_out)}),
            }
        )
    elif csv:
        from csv import writer
        from io import StringIO

        text = StringIO()
        table = writer(text, lineterminator="\n")
        table.writerow(("path", "rank", "class", "probability"))
        for each in answers.images:
            for rank, (name, value) in enumerate(each.top, 1):
                table.writerow((each.path, rank, name, f"{value:.6f}"))
        output.whole(text.getvalue())
    else:
        _print_table([(each.path, name, value) for each in answers.images for name, value in each.top])
        if features_out is not None:
            output.line(f"embeddings: {len(answers.images)} rows in {features_out}")


def _print_table(rows: list[tuple[str, str, float]]) -> None:
    """An image's path is printed with its first class only."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("image", overflow="fold")
    table.add_column("class")
    table.add_column("probability", justify="right")
    before = ""
    for path, name, value in rows:
        table.add_row(output.text(path if path != before else ""), output.text(name), f"{value:.4f}")
        before = path
    output.console().print(table)
