"""`resnet-lab explain`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from resnet_lab.cli import options, output
from resnet_lab.cli.bundles import command
from resnet_lab.cli.root import app
from resnet_lab.core.choices import MapMethod
from resnet_lab.core.option import OUTPUT

if TYPE_CHECKING:
    from resnet_lab.evaluation.explanation import Explanations


ALIKE = 0.7
"""Rank correlation above which maps count as hardly changed: half of the variance of their ranks is shared."""


@command(app, epilog="Example: `resnet-lab explain runs/20260101-120000-resnet18 painting.jpg --layer layer3`")
def explain(
    *,
    weights: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a weights file.")],
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGE...", help="Image files, folders of them, or patterns such as 'scans/**/*.jpg'."),
    ],
    method: Annotated[
        MapMethod,
        typer.Option(
            "--method",
            help="Channels of a layer weighed as a whole (grad-cam) or at each position (hires-cam), windows of the "
            "image occluded in turn, or gradients integrated from the mean colour to the image.",
        ),
    ] = "grad-cam",
    layer: Annotated[
        str | None,
        typer.Option(
            "--layer",
            metavar="NAME",
            help="A stage, a block or a part of one, such as layer3, layer4.0 or layer4.0.conv2; for grad-cam and "
            "hires-cam.",
            show_default="the last stage",
        ),
    ] = None,
    wanted: Annotated[
        str | None,
        typer.Option("--class", metavar="NAME", help="Explain this class.", show_default="the predicted one"),
    ] = None,
    sanity_check: Annotated[
        bool, typer.Option("--sanity-check", help="Compare each map with one by random weights (arXiv:1810.03292).")
    ] = False,
    out: Annotated[
        Path | None,
        options.written(
            "--out", "FOLDER", "Folder of the pictures.", "explanations/ in the run folder, or beside the weights file"
        ),
    ] = None,
    file_format: Annotated[
        Literal["png", "svg"], typer.Option("--format", help="File format of the pictures.", rich_help_panel=OUTPUT)
    ] = "png",
    placed: options.Placement,
    no_plugin: options.NoPlugin = None,
    plugin: options.Plugin = None,
    json: options.JSON = False,
) -> None:
    """Draw maps of what speaks for a class in images: Grad-CAM, HiResCAM, occlusion, integrated gradients."""
    from resnet_lab.cli.progress import Screen
    from resnet_lab.evaluation.explanation import explain as explain_files

    registry = options.load_registry(no_plugin)
    placement = options.placement(placed)
    with Screen() as screen:
        found = explain_files(
            weights,
            images,
            placement,
            registry,
            method=method,
            layer=layer,
            wanted=wanted,
            sanity_check=sanity_check,
            out=out,
            file_format=file_format,
            watcher=screen,
        )
    for path, cause in found.bad:
        output.remark(f"warning: {path}: unreadable image ({cause}); left out")
    if found.rank_correlation is not None and found.rank_correlation > ALIKE:
        output.remark(
            "warning: the maps hardly change with random weights (mean rank correlation "
            f"{found.rank_correlation:.2f}); they show the images rather than what the network learnt"
        )
    if sanity_check and found.rank_correlation is None:
        output.remark(
            "warning: no map could be compared with the one by random weights, as one of the two is the same everywhere"
        )
    if json:
        output.print_json(_as_dict(found))
    else:
        _print(found, "explained" if wanted else "")


def _as_dict(found: "Explanations") -> dict[str, Any]:
    return {
        "method": found.method,
        "rank_correlation": found.rank_correlation,
        "size": found.size,
        "positions": found.positions,
        "images": [
            {
                "path": str(each.path),
                "class": each.explanation.predicted,
                "probability": each.explanation.probability,
                "layer": found.layer,
                "maps": [
                    {"class": shown.name, "probability": shown.probability, "peak": shown.peak}
                    for shown in each.explanation.maps
                ],
                "rank_correlation": each.rank_correlation,
                "file": str(each.drawing),
            }
            for each in found.images
        ],
        "bad": [{"path": str(path), "cause": cause} for path, cause in found.bad],
    }


def _print(found: "Explanations", asked_for: str) -> None:
    """One row per image; `asked_for` heads a column of the explained class, where it can be another one."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for name in filter(None, ("image", "predicted", asked_for, "peak", "picture")):
        table.add_column(name, overflow="fold")
    for each in found.images:
        (shown,) = each.explanation.maps
        cells = [str(each.path), f"{each.explanation.predicted} {each.explanation.probability:.4f}"]
        cells += [f"{shown.name} {shown.probability:.4f}"] if asked_for else []
        cells += ["none" if shown.peak is None else "{}, {}".format(*shown.peak), each.drawing.name]
        table.add_row(*map(output.text, cells))
    console = output.console()
    console.print(table)
    height, width = found.positions
    console.print(
        f"{found.method} of {found.layer} has {height} x {width} positions; a peak is the row and column, from 0, of "
        f"the {found.size} x {found.size} pixels that the network sees; pictures are in "
        f"{found.images[0].drawing.parent}",
        soft_wrap=True,
    )
    if found.rank_correlation is not None:
        console.print(
            f"mean rank correlation with maps by random weights: {found.rank_correlation:.2f} (1: nothing changes)",
            soft_wrap=True,
        )
