"""`resnet-lab bench`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resnet_lab.cli import options, output
from resnet_lab.cli.components import NONE, Components, by_option, takes_lists
from resnet_lab.cli.root import app

if TYPE_CHECKING:
    from resnet_lab.bench.arms import Arm

ARMS = "Arms"
MEASURING = "Measuring"
_LIST = "Several, separated by commas; the first makes the baseline."

group = typer.Typer(help="Measure what networks cost, and compare two such measurements.", no_args_is_help=False)
app.add_typer(group, name="bench")


def _list(name: str, help: str, panel: str = ARMS) -> Any:
    return typer.Option(name, metavar="LIST", help=help, show_default=False, rich_help_panel=panel)


@group.callback(
    invoke_without_command=True,
    epilog="Example: `resnet-lab bench --act relu,gelu --conv dense,depthwise --attn none,cbam --explain`",
)
@takes_lists(ARMS)
def bench(
    context: typer.Context,
    model: Annotated[str | None, _list("--model", f"Networks of the zoo. {_LIST} By default resnet50.")] = None,
    depth: Annotated[str | None, _list("--depth", "Layers: 18,50 is short for --model resnet18,resnet50.")] = None,
    spec: Annotated[
        list[Path] | None,
        typer.Option("--spec", metavar="FILE", help="A network from a file. Repeatable.", rich_help_panel=ARMS),
    ] = None,
    study: Annotated[
        Path | None,
        typer.Option("--study", metavar="FILE", help="The arms of a study file.", rich_help_panel=ARMS),
    ] = None,
    components: Components = NONE,
    size: Annotated[str | None, _list("--size", "Input sizes in pixels.")] = None,
    batch: Annotated[
        str, typer.Option("--batch", metavar="LIST", help="Images at a time.", rich_help_panel=ARMS)
    ] = "8",
    precision: Annotated[
        str, typer.Option("--precision", metavar="LIST", help="auto, fp32, tf32, bf16, fp16.", rich_help_panel=ARMS)
    ] = "auto",
    compiled: Annotated[
        str, typer.Option("--compile", metavar="LIST", help="off, on, max.", rich_help_panel=ARMS)
    ] = "off",
    layout: Annotated[
        str, typer.Option("--layout", metavar="LIST", help="auto, channels-last, channels-first.", rich_help_panel=ARMS)
    ] = "auto",
    peer: Annotated[
        list[str] | None,
        typer.Option(
            "--peer",
            metavar="NAME",
            help="The same networks of torchvision or timm, as their users run them. Repeatable.",
            rich_help_panel=ARMS,
        ),
    ] = None,
    mode: Annotated[
        str,
        typer.Option(
            "--mode",
            metavar="LIST",
            help="latency (one image), infer (a batch), train (a step).",
            rich_help_panel=MEASURING,
        ),
    ] = "latency,infer,train",
    rounds: Annotated[
        int,
        typer.Option(
            "--rounds",
            min=1,
            help="Times that every arm is measured; below 6 there are no intervals.",
            rich_help_panel=MEASURING,
        ),
    ] = 15,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="Say why each arm is faster or slower than its MACs say.", rich_help_panel=MEASURING
        ),
    ] = False,
    process_memory: Annotated[
        bool,
        typer.Option(
            "--process-memory", help="Measure each arm's memory in a process of its own too.", rich_help_panel=MEASURING
        ),
    ] = False,
    device: options.Device = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="Write everything as JSON, for `bench diff`.", rich_help_panel=options.OUTPUT
        ),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write a row an arm.", rich_help_panel=options.OUTPUT)
    ] = None,
    markdown: Annotated[
        Path | None,
        typer.Option("--markdown", metavar="FILE", help="Write the table as Markdown.", rich_help_panel=options.OUTPUT),
    ] = None,
    plots: Annotated[
        Path | None,
        typer.Option("--plots", metavar="FOLDER", help="Write plots as PNG and SVG.", rich_help_panel=options.OUTPUT),
    ] = None,
    no_plugin: options.NoPlugin = None,
    plugin: options.Plugin = None,
    json: options.JSON = False,
) -> None:
    """Measure what networks cost: every combination of the listed parts, in turns in one process, beside a baseline.

    Beside the measured times stand parameters, multiply-adds (MACs; FLOPs = 2 x MACs), memory, and the least time that
    the device's own bandwidth and matrix rate allow.
    """
    if context.invoked_subcommand is not None:
        return
    from resnet_lab.bench import results
    from resnet_lab.bench.measuring import bench as measure
    from resnet_lab.bench.reasons import explain as reasons
    from resnet_lab.bench.reasons import profile
    from resnet_lab.cli.progress import Screen
    from resnet_lab.core.files import refuse_existing, write_new
    from resnet_lab.device import choose

    for path in (out, csv, markdown):
        if path is not None:
            refuse_existing(path)
    registry = options.load_registry(no_plugin)
    if study is None:
        arms = _arms(model, depth, spec or [], components, size, batch, precision, compiled, layout, peer or [])
    else:
        arms = _arms_of_study(study, {"--model": model, "--depth": depth, "--spec": spec, "--size": size,
                                      **by_option(components)})  # fmt: skip
    where = device or "auto"
    with Screen() as screen:
        found = measure(arms, registry, modes=_modes(mode), rounds=rounds, device=where, watcher=screen)
        profiles = {}
        if explain or plots is not None:
            screen.begin("timing operators", len(found.results))
            for result in found.results:
                if result.timings:
                    profiles[result.arm.name] = profile(result, found.roof, registry, where)
                screen.advance()
    content = results.as_json(found, choose(where).device, profiles)
    content["reasons"] = reasons(found, profiles) if explain else {}
    if process_memory:
        from resnet_lab.bench.process_memory import resident

        for arm, row in zip((result.arm for result in found.results), content["arms"], strict=True):
            row["process_memory"] = {each: resident(arm, each, where, no_plugin or []) for each in found.control}
    if out is not None:
        import json as json_text

        write_new(out, json_text.dumps(content, indent=1).encode())
    if csv is not None:
        write_new(csv, results.as_csv(content).encode())
    if markdown is not None:
        write_new(markdown, results.as_markdown(content).encode())
    if plots is not None:
        from resnet_lab.report.bench_plots import write_plots

        write_plots(content, plots)
    if json:
        output.print_json(content)
    else:
        _print(content)


@group.command(epilog="Example: `resnet-lab bench diff monday.json tuesday.json`")
def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="A file that `bench --out` wrote.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="Another.")],
    unlike: Annotated[bool, typer.Option("--unlike", help="Compare results of unlike machines too.")] = False,
    json: options.JSON = False,
) -> None:
    """Compare two measurements arm by arm: whether the ratios to the baseline agree within their intervals."""
    from dataclasses import asdict

    from resnet_lab.bench import results

    changes = results.diff(results.read(old), results.read(new), (str(old), str(new)), unlike=unlike)
    if json:
        output.print_json({"old": str(old), "new": str(new), "changes": [asdict(change) for change in changes]})
        return
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for column in ("arm", "mode", "old ratio", "new ratio", "old ms", "new ms", "ratios"):
        table.add_column(column, justify="left" if column in ("arm", "mode", "ratios") else "right")
    for change in changes:
        table.add_row(
            output.text(change.arm), change.mode, results.ratio_text(change.old), results.ratio_text(change.new),
            f"{change.old['median_ms']:.2f}", f"{change.new['median_ms']:.2f}", change.verdict,
        )  # fmt: skip
    output.console().print(table)


def _arms(
    model: str | None, depth: str | None, specs: list[Path], components: Mapping[str, str | None], size: str | None,
    batch: str, precision: str, compiled: str, layout: str, peers: list[str],
) -> "list[Arm]":  # fmt: skip
    from resnet_lab.bench.arms import arms_of
    from resnet_lab.bench.peers import NAMES
    from resnet_lab.core.errors import ConfigError
    from resnet_lab.network import zoo
    from resnet_lab.network.component import listed

    if unknown := [name for name in peers if name not in NAMES]:
        raise ConfigError(f"unknown peer {unknown[0]!r}; peers are {', '.join(NAMES)}")
    if model is not None and depth is not None:
        raise ConfigError("--model and --depth each name networks; give one of them")
    names = [f"resnet{layers}" for layers in listed(depth)] if depth is not None else listed(model) if model else []
    networks = [zoo.get(name) for name in names] + [zoo.read(path) for path in specs]
    layouts = {"auto": None, "channels-last": True, "channels-first": False}
    return arms_of(
        networks or [zoo.get("resnet50")],
        {slot: listed(text) for slot, text in components.items() if text is not None},
        sizes=_numbers("--size", size) if size else (),
        batches=_numbers("--batch", batch),
        precisions=_choices("--precision", precision, ("auto", "fp32", "tf32", "bf16", "fp16")),
        compiled=_choices("--compile", compiled, ("off", "on", "max")),
        layouts=[layouts[each] for each in _choices("--layout", layout, tuple(layouts))],
        peers=peers,  # type: ignore[arg-type]  # checked above
    )


def _arms_of_study(path: Path, elsewhere: Mapping[str, object]) -> "list[Arm]":
    """Each with the batch, precision, layout and compilation that it is trained with."""
    from resnet_lab.core.errors import ConfigError
    from resnet_lab.study.design import read_study

    if given := options.given(elsewhere):
        raise ConfigError(f"{next(iter(given))} cannot be given beside --study, which names the arms")
    arms = read_study(path).arms
    for arm in arms:
        if arm.train.batch_size == "auto":
            raise ConfigError(f"{path}: arm {arm.name!r} has batch_size auto; a bench needs a number")
    return [arm.for_bench() for arm in arms]


def _numbers(option: str, text: str) -> list[int]:
    from resnet_lab.core.errors import ConfigError

    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise ConfigError(f"{option} {text!r} must be whole numbers from 1, separated by commas")
    return [int(part) for part in parts]


def _choices(option: str, text: str, allowed: tuple[str, ...]) -> list[Any]:
    from resnet_lab.core.errors import ConfigError

    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        if part not in allowed:
            raise ConfigError(f"{option} {part!r} must be one of {', '.join(allowed)}")
    return parts


def _modes(text: str) -> list[Any]:
    return _choices("--mode", text, ("latency", "infer", "train"))


NARROWEST = 110
"""Characters of a line, below which names and intervals would be cut."""

COLOURS = {"faster": "green", "slower": "red", "same": "cyan", "undecided": "yellow", "baseline": "bold"}


def _print(content: Mapping[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    from resnet_lab.bench.results import ratio_text
    from resnet_lab.bench.subjects import MODES

    console = output.console()
    console.width = max(console.width, NARROWEST)
    machine = content["machine"]
    console.print(
        f"{machine['name']}, {machine['threads']} threads, torch {machine['torch']}, {content['rounds']} rounds",
        markup=False, soft_wrap=True,
    )  # fmt: skip
    counted = Table(box=box.SIMPLE_HEAD)
    counted.add_column("arm", no_wrap=True)
    for column in ("params (M)", "MACs (G)", "act. (M)", "moved (MB)", "floor (ms)", "fused (ms)"):
        counted.add_column(column, justify="right", no_wrap=True)
    for arm in content["arms"]:
        counted.add_row(
            output.text(arm["name"]), f"{arm['parameters'] / 1e6:.3f}", f"{arm['macs'] / 1e9:.3f}",
            f"{arm['activations'] / 1e6:.2f}", f"{arm['moved_bytes'] / 1e6:.1f}", f"{arm['floor_ms']:.1f}",
            f"{arm['fused_floor_ms']:.1f}",
        )  # fmt: skip
    console.print(counted)
    for mode in content["control"]:
        table = Table(box=box.SIMPLE_HEAD, title=MODES[mode], title_justify="left")
        table.add_column("arm", no_wrap=True)
        for column in ("ms", "IQR", "images/s", "ratio (95% interval)", "MiB"):
            table.add_column(column, justify="right", no_wrap=True)
        table.add_column("")
        for arm in content["arms"]:
            _add_row(table, arm, mode)
        console.print(table)
        control = content["control"][mode]
        console.print(output.text(f"  a second copy of the baseline: {ratio_text(control)}", style="dim"))
    for each in content["scaling"]:
        ends = "" if each["interval"] is None else f" ({each['interval'][0]:.2f} to {each['interval'][1]:.2f})"
        console.print(
            f"{each['mode']}: time grows as {each['quantity']}^{each['exponent']:.2f}{ends}, over "
            f"{', '.join(map(str, each['values']))}; farthest from that by a factor of {each['misfit']:.2f}"
        )
    for name, lines in content["reasons"].items():
        console.print(output.text(f"\n{name}", style="bold"))
        for line in lines:
            console.print(output.text(f"  {line}"), soft_wrap=True)
    for name, cause in content["left_out"].items():
        console.print(output.text(f"left out: {name}: {cause}"), soft_wrap=True)
    for remark in content["remarks"]:
        console.print(output.text(f"note: {remark}", style="yellow"), soft_wrap=True)
    console.print(
        output.text(
            "MACs are multiply-adds for one image (FLOPs = 2 x MACs). Floors are the least time for a batch by this "
            "device's measured bandwidth and matrix rate, operator by operator and with perfect fusion.",
            style="dim",
        )
    )


def _add_row(table: Any, arm: Mapping[str, Any], mode: str) -> None:

    from resnet_lab.bench.results import ratio_text

    timing = arm.get(mode)
    if timing is None:
        table.add_row(output.text(arm["name"]), "", "", "", output.text(arm["problem"] or "", style="red"), "", "")
        return
    images = 1 if mode == "latency" else arm["batch"]
    memory = "" if timing["memory"] is None else f"{timing['memory'] / 2**20:.0f}"
    spread = f"{timing['iqr_ms'] / timing['median_ms']:.0%}" + (" !" if timing["noisy"] else "")
    table.add_row(
        output.text(arm["name"]), f"{timing['median_ms']:.2f}", spread, f"{1000 * images / timing['median_ms']:.1f}",
        ratio_text(timing), memory, output.text(timing["verdict"], style=COLOURS[timing["verdict"]]),
    )  # fmt: skip
