"""`resnet-lab export`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from resnet_lab.cli import options, output
from resnet_lab.cli.root import app
from resnet_lab.core.option import OUTPUT

if TYPE_CHECKING:
    from resnet_lab.export import Exported


@app.command(epilog="Example: `resnet-lab export runs/20260101-120000-resnet18 --to onnx --out genres.onnx`")
def export(
    weights: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a weights file.")],
    to: Annotated[
        Literal["onnx", "program", "torchvision", "card"],
        typer.Option(
            "--to", help="ONNX, torch.export's program, weights for torchvision's network, or a card in Markdown."
        ),
    ],
    out: Annotated[Path | None, options.written("--out", "FILE", "The file to write.", "in RUN")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.", rich_help_panel=OUTPUT)] = False,
    license: Annotated[
        str | None,
        typer.Option("--license", metavar="NAME", help="License in the card, such as apache-2.0.", show_default="none"),
    ] = None,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8",
            help="Quantise the ONNX file, calibrated on the run's training images; its loss of accuracy is printed.",
        ),
    ] = False,
    no_plugin: options.NoPlugin = None,
    plugin: options.Plugin = None,
    json: options.JSON = False,
) -> None:
    """Write a trained network for other programs, or a card that describes it.

    Exported networks are compared with the original on random images before the file is renamed.
    """
    from resnet_lab.cli.progress import Screen
    from resnet_lab.export import export as export_network

    registry = options.load_registry(no_plugin)
    with Screen() as screen:
        exported = export_network(
            weights, to, out, force=force, license=license, int8=int8, registry=registry, watcher=screen
        )
    if json:
        output.print_json(_as_dict(exported))
        return
    output.line(f"{exported.path}: {exported.size:,} bytes, sha256 {exported.sha256}")
    for line in _remarks(exported):
        output.line(line)


def _as_dict(exported: "Exported") -> dict[str, Any]:
    from dataclasses import asdict

    agreement = exported.agreement
    return {
        "format": exported.format,
        "file": str(exported.path),
        "bytes": exported.size,
        "sha256": exported.sha256,
        "largest_difference": None if agreement is None else asdict(agreement),
        **exported.facts,
    }


def _remarks(exported: "Exported") -> list[str]:
    facts, agreement = exported.facts, exported.agreement
    lines = []
    if agreement is not None:
        apart = f"within {agreement.probability:.1e}" if agreement.probability else "equal"
        lines.append(f"compared on {agreement.images} random images: same first class, probabilities {apart}")
    if exported.format == "onnx":
        lines.append(f"input {facts['input']}, output {facts['output']}, any number of images, opset {facts['opset']}")
    if "int8" in facts:
        lines += _loss(facts["int8"])
    if exported.format == "torchvision":
        lines.append(f"for torchvision.models.{facts['constructor']}(num_classes={facts['num_classes']})")
    return lines


def _loss(int8: Mapping[str, Any]) -> list[str]:
    """Accuracy that int8 costs, in points of macro-averaged accuracy."""
    interval = "no interval"
    if int8["interval"] is not None:
        low, high = (100 * end for end in int8["interval"])
        interval = f"{int8['level']:.0%} interval {low:+.1f} to {high:+.1f}"
    return [
        f"calibrated on {int8['calibration_images']} images of the training part",
        f"macro accuracy on {int8['validation_images']} images of the validation part: {int8['int8']:.4f}, in float32 "
        f"{int8['float32']:.4f}: {100 * int8['difference']:+.1f} points ({interval}); "
        f"another first class for {int8['changed']}",
    ]
