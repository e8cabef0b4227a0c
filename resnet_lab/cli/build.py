"""`resnet-lab build`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resnet_lab.cli import options, output
from resnet_lab.cli.bundles import command
from resnet_lab.cli.root import app
from resnet_lab.core.choices import InitGain
from resnet_lab.core.option import NETWORK

if TYPE_CHECKING:
    from resnet_lab.network.cost import NetworkCost
    from resnet_lab.network.spec import ModelSpec


@command(
    app,
    epilog="Example: `resnet-lab build --act gelu --conv depthwise --attn cbam@3,4 --num-classes 50`",
)
def build(
    *,
    chosen: options.Network,
    num_classes: Annotated[
        int | None, typer.Option("--num-classes", help="Number of classes.", rich_help_panel=NETWORK)
    ] = None,
    in_channels: Annotated[
        int | None, typer.Option("--in-channels", help="Input channels.", rich_help_panel=NETWORK)
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the initial weights.")] = 0,
    zero_init_residual: Annotated[
        bool, typer.Option("--zero-init-residual", help="Initialise each residual branch to zero.")
    ] = False,
    init_gain: Annotated[
        InitGain,
        typer.Option(
            "--init-gain",
            help="Scale initial convolution weights by the gain of their activation, or all by that of ReLU (fixed).",
        ),
    ] = "activation",
    out: Annotated[Path | None, options.written("--out", "FILE", "Write the spec as JSON.")] = None,
    weights_out: Annotated[
        Path | None, options.written("--weights-out", "FILE", "Write the initial weights as safetensors.")
    ] = None,
    no_plugin: options.NoPlugin = None,
    plugin: options.Plugin = None,
    json: options.JSON = False,
) -> None:
    """Build a network and show its stages, parameters and multiply-adds.

    Without options it is ResNet-50 as torchvision has it. The totals are compared with the unmodified network's.
    """
    network = chosen.network({**chosen.changes, "num_classes": num_classes, "in_channels": in_channels})
    from resnet_lab.core.files import refuse_existing, write_new
    from resnet_lab.network import checkpoint, cost, zoo
    from resnet_lab.network.builder import assemble

    for path in (out, weights_out):
        if path is not None:
            refuse_existing(path)
    registry = options.load_registry(no_plugin)
    counted = cost.measure(network, registry)
    base = zoo.unmodified(network)
    baseline = cost.measure(base, registry) if base is not None and base != network else None
    if out is not None:
        write_new(out, network.to_json().encode())
    if weights_out is not None:
        built = assemble(network, registry, seed=seed, zero_init_residual=zero_init_residual, init_gain=init_gain)
        counted = replace(counted, notes=tuple(built.notes))  # some are of the weights
        checkpoint.save(weights_out, built.model, network, registry=registry)
    counted = replace(counted, notes=(*counted.notes, *cost.small_maps(network, counted)))
    if json:
        output.print_json(_as_dict(network, counted, baseline))
    else:
        _print(network, counted, baseline)


def _as_dict(spec: "ModelSpec", cost: "NetworkCost", baseline: "NetworkCost | None") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "name": spec.name,
        "spec_hash": spec.hash,
        "input": [spec.in_channels, spec.input_size, spec.input_size],
        "parameters": cost.parameters,
        "macs": cost.macs,
        "stages": [asdict(stage) for stage in cost.stages],
        "unmodified": None if baseline is None else {"parameters": baseline.parameters, "macs": baseline.macs},
        "not_counted": list(cost.uncounted),
        "notes": list(cost.notes),
        "spec": spec.model_dump(mode="json"),
    }


def _print(spec: "ModelSpec", cost: "NetworkCost", baseline: "NetworkCost | None") -> None:
    from rich import box
    from rich.table import Table

    from resnet_lab.report.network import made_of

    console = output.console()
    size = f"{spec.in_channels} x {spec.input_size} x {spec.input_size}"
    console.print(f"{spec.name}, input {size}", soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, show_footer=True)
    table.add_column("stage", footer="total")
    table.add_column("output", justify="right")
    table.add_column("made of")
    table.add_column("parameters", justify="right", footer=f"{cost.parameters:,}")
    table.add_column("MACs", justify="right", footer=f"{cost.macs:,}")
    for stage, text in zip(cost.stages, made_of(spec), strict=True):
        shape = " x ".join(str(length) for length in stage.shape)
        table.add_row(stage.name, shape, text, f"{stage.parameters:,}", f"{stage.macs:,}")
    console.print(table)
    if baseline is not None:
        console.print(
            f"unmodified {spec.name}: {baseline.parameters:,} parameters, {baseline.macs:,} MACs; "
            f"this one has {cost.parameters / baseline.parameters:.3f} and "
            f"{cost.macs / baseline.macs:.3f} times as many",
        )
    for note in cost.notes:
        console.print(f"note: {note}", soft_wrap=True)
    console.print(
        f"MACs are multiply-adds of convolutions and matrix products for one image (FLOPs = 2 x MACs); "
        f"not counted: {', '.join(cost.uncounted)}",
        style="dim",
    )
