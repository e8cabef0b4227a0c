"""`resnet-lab bench`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resnet_lab.cli import options, output
from resnet_lab.cli.bundles import Fields, Given, callback
from resnet_lab.cli.components import OfEachKind
from resnet_lab.cli.root import app
from resnet_lab.core.comma_list import comma_list
from resnet_lab.core.errors import ConfigError
from resnet_lab.core.option import ARMS
from resnet_lab.core.wording import counted, large

if TYPE_CHECKING:
    from resnet_lab.bench.arms import BenchArm
    from resnet_lab.bench.config import BenchConfig
    from resnet_lab.bench.results import Change

_LIST = "Comma-separated; the first is the baseline."

group = typer.Typer(help="Measure and compare the costs of networks.", no_args_is_help=False)
app.add_typer(group, name="bench")


def _list(name: str, help: str) -> Any:
    return typer.Option(name, metavar="LIST", help=help, show_default=False, rich_help_panel=ARMS)


@dataclass(frozen=True, kw_only=True)
class Networks:
    """Networks to be measured."""

    model: Annotated[str | None, _list("--model", f"Networks of the zoo. {_LIST} By default resnet50.")] = None
    depth: Annotated[str | None, _list("--depth", "Layers: 18,50 is short for --model resnet18,resnet50.")] = None
    spec: Annotated[
        list[Path] | None,
        typer.Option("--spec", metavar="FILE", help="A network from a file. Repeatable.", rich_help_panel=ARMS),
    ] = None
    study: Annotated[
        Path | None, typer.Option("--study", metavar="FILE", help="The arms of a study file.", rich_help_panel=ARMS)
    ] = None
    components: Annotated[Mapping[str, str], OfEachKind(ARMS)]
    peer: Annotated[
        list[str] | None,
        typer.Option(
            "--peer",
            metavar="NAME",
            help="The same networks of torchvision or timm, in their default configuration. Repeatable.",
            rich_help_panel=ARMS,
        ),
    ] = None


@dataclass(frozen=True)
class Outputs:
    """Output files."""

    out: Annotated[Path | None, options.written("--out", "FILE", "Write everything as JSON, for `bench diff`.")] = None
    csv: Annotated[Path | None, options.written("--csv", "FILE", "Write one row per arm.")] = None
    markdown: Annotated[Path | None, options.written("--markdown", "FILE", "Write the table as Markdown.")] = None
    html: Annotated[Path | None, options.written("--html", "FILE", "Write one page with plots and reasons.")] = None
    plots: Annotated[Path | None, options.written("--plots", "FOLDER", "Write plots as PNG and SVG.")] = None

    @property
    def need_profiles(self) -> bool:
        """Whether operators have to be timed one by one."""
        return self.html is not None or self.plots is not None

    def require_new(self) -> None:
        """Raise `RunError` where a file is there already."""
        from resnet_lab.core.files import refuse_existing

        for path in (self.out, self.csv, self.markdown, self.html):
            if path is not None:
                refuse_existing(path)

    def write(self, content: dict[str, Any]) -> None:
        """Write what is asked for of a bench's results."""
        import json

        from resnet_lab.bench import results
        from resnet_lab.core.files import write_new

        if self.out is not None:
            write_new(self.out, json.dumps(content, indent=1).encode())
        if self.csv is not None:
            write_new(self.csv, results.as_csv(content).encode())
        if self.markdown is not None:
            write_new(self.markdown, results.as_markdown(content).encode())
        if self.need_profiles:
            self._draw(content)

    def _draw(self, content: dict[str, Any]) -> None:
        from resnet_lab.bench.report_contents import contents_of
        from resnet_lab.core.files import write_new
        from resnet_lab.report.bench_page import bench_page
        from resnet_lab.report.bench_plots import write_bench_plots

        contents = contents_of(content, "the bench")
        if self.html is not None:
            write_new(self.html, bench_page(contents).encode())
        if self.plots is not None:
            write_bench_plots(contents, self.plots)


@callback(
    group,
    invoke_without_command=True,
    epilog="Example: `resnet-lab bench --act relu,gelu --conv dense,depthwise --attn none,cbam --explain`",
)
def bench(
    *,
    context: typer.Context,
    networks: Networks,
    measuring: Annotated[Given, Fields("resnet_lab.bench.config:BenchConfig")],
    outputs: Outputs,
    no_plugin: options.NoPlugin = None,
    plugin: options.Plugin = None,
    json: options.JSON = False,
) -> None:
    """Measure the costs of networks: all combinations of the listed parts, interleaved, against a baseline.

    Measured times are printed with parameters, multiply-adds (MACs; FLOPs = 2 x MACs), memory, and the least time that
    the device's own bandwidth and matrix rate allow.
    """
    if context.invoked_subcommand is not None:
        return
    from resnet_lab.bench import results
    from resnet_lab.bench.config import bench_config
    from resnet_lab.bench.measuring import bench as measure
    from resnet_lab.bench.reasons import explain as reasons
    from resnet_lab.bench.reasons import profile
    from resnet_lab.cli.progress import Screen
    from resnet_lab.device import choose

    outputs.require_new()
    config, registry = bench_config(measuring), options.load_registry(no_plugin)
    arms = _arms(networks, config) if networks.study is None else _arms_of_study(networks.study, networks, measuring)
    with Screen(phases=not json) as screen:
        found = measure(
            arms, registry, modes=config.mode, rounds=config.rounds, interval=config.interval, device=config.device,
            watcher=screen,
        )  # fmt: skip
        profiles = {}
        if config.explain or outputs.need_profiles:
            screen.begin("timing operators", len(found.results))
            for result in found.results:
                if result.timings:
                    profiles[result.arm.name] = profile(result, found.roof, registry, config.device)
                screen.advance()
    content = results.as_json(found, choose(config.device).device, profiles)
    content["reasons"] = reasons(found, profiles) if config.explain or outputs.html is not None else {}
    if config.process_memory:
        from resnet_lab.bench.process_memory import resident

        for arm, row in zip((result.arm for result in found.results), content["arms"], strict=True):
            row["process_memory"] = {
                each: resident(arm, each, config.device, no_plugin or []) for each in found.control
            }
    outputs.write(content)
    if json:
        output.print_json(content)
    else:
        _print(content)


@group.command(epilog="Example: `resnet-lab bench diff monday.json tuesday.json`")
def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="A file of `bench --out`.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="Another such file.")],
    margin: Annotated[
        float | None, typer.Option("--margin", help="Equivalence margin of changes, as a share.", show_default="0.02")
    ] = None,
    unlike: Annotated[bool, typer.Option("--unlike", help="Compare results of different machines too.")] = False,
    json: options.JSON = False,
) -> None:
    """Compare two measurements arm by arm: whether the ratios to the baseline agree within a margin.

    An arm's ratios agree where the interval of their change lies within the margin, and differ where it lies beyond.
    """
    from dataclasses import asdict

    from resnet_lab.bench import results
    from resnet_lab.bench.statistics import RESOLUTION

    margin = RESOLUTION if margin is None else margin
    changes = results.diff(results.read(old), results.read(new), (str(old), str(new)), margin=margin, unlike=unlike)
    if json:
        output.print_json(
            {"old": str(old), "new": str(new), "margin": margin, "changes": [asdict(change) for change in changes]}
        )
        return
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for column in ("arm", "mode", "old ratio", "new ratio", "change (95% interval)", "old ms", "new ms", "ratios"):
        table.add_column(column, justify="left" if column in ("arm", "mode", "ratios") else "right")
    for change in changes:
        table.add_row(
            output.text(change.arm), change.mode, f"{change.old['ratio']:.3f}", f"{change.new['ratio']:.3f}",
            _change_text(change), f"{change.old['median_ms']:.2f}", f"{change.new['median_ms']:.2f}", change.verdict,
        )  # fmt: skip
    console = output.console()
    console.width = max(console.width, NARROWEST)
    console.print(table)
    console.print(f"agree: the change is within {margin:.1%}; differ: it is beyond; undecided: neither")


def _change_text(change: "Change") -> str:
    if change.interval is None:
        return f"{change.change:.3f}"
    low, high = change.interval
    return f"{change.change:.3f} ({low:.3f} to {high:.3f})"


def _arms(chosen: Networks, config: "BenchConfig") -> "list[BenchArm]":
    from resnet_lab.bench.arms import arms_of
    from resnet_lab.bench.peers import NAMES
    from resnet_lab.network import zoo

    peers = chosen.peer or []
    if unknown := [name for name in peers if name not in NAMES]:
        raise ConfigError(f"unknown peer {unknown[0]!r}; peers are {', '.join(NAMES)}")
    if chosen.model is not None and chosen.depth is not None:
        raise ConfigError("--model and --depth each name networks; give one of them")
    names = comma_list(chosen.model) if chosen.model else []
    if chosen.depth is not None:
        names = [f"resnet{layers}" for layers in comma_list(chosen.depth)]
    networks = [zoo.get(name) for name in names] + [zoo.read(path) for path in chosen.spec or []]
    layouts = {"auto": None, "channels-last": True, "channels-first": False}
    return arms_of(
        networks or [zoo.get("resnet50")],
        {slot: comma_list(text) for slot, text in chosen.components.items()},
        sizes=config.size,
        batches=config.batch_size,
        precisions=config.precision,
        compiled=config.compile,
        layouts=[layouts[each] for each in config.layout],
        recomputed=[each == "on" for each in config.checkpoint_activations],
        peers=peers,  # type: ignore[arg-type]  # checked above
    )


def _arms_of_study(path: Path, chosen: Networks, measuring: Given) -> "list[BenchArm]":
    """Each with the batch, precision, layout and compilation that it is trained with."""
    from resnet_lab.bench.config import MAKING_ARMS
    from resnet_lab.study.design import read_study

    named = {"--model": chosen.model, "--depth": chosen.depth, "--spec": chosen.spec, "--peer": chosen.peer}
    making = [option for name, option in measuring.options.items() if name in MAKING_ARMS]
    if elsewhere := [*options.given(named), *(f"--{slot}" for slot in chosen.components), *making]:
        raise ConfigError(f"{elsewhere[0]} cannot be combined with --study, which names the arms")
    arms = read_study(path).arms
    for arm in arms:
        if arm.train.batch_size == "auto":
            raise ConfigError(f"{path}: arm {arm.name!r} has batch_size auto; a bench needs a number")
    return [arm.for_bench() for arm in arms]


NARROWEST = 110
"""Characters of a line, below which names and intervals would be cut."""

COLOURS = {"faster": "green", "slower": "red", "same": "cyan", "undecided": "yellow", "baseline": "bold"}


def _print(content: Mapping[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    from resnet_lab.bench.results import ratio_text
    from resnet_lab.bench.timed_networks import MODES

    console = output.console()
    console.width = max(console.width, NARROWEST)
    machine, threads = content["machine"], counted(content["machine"]["threads"], "thread")
    console.print(
        f"{machine['name']}, {threads}, torch {machine['torch']}, up to {content['rounds']} rounds",
        markup=False, soft_wrap=True,
    )  # fmt: skip
    static = Table(box=box.SIMPLE_HEAD)
    static.add_column("arm", no_wrap=True)
    for column in ("params", "MACs", "act.", "moved (MB)", "floor (ms)", "fused (ms)"):
        static.add_column(column, justify="right", no_wrap=True)
    for arm in content["arms"]:
        static.add_row(
            output.text(arm["name"]), large(arm["parameters"]), large(arm["macs"]), large(arm["activations"]),
            f"{arm['moved_bytes'] / 1e6:.1f}", f"{arm['floor_ms']:.1f}",
            f"{arm['fused_floor_ms']:.1f}",
        )  # fmt: skip
    console.print(static)
    for mode in content["control"]:
        table = Table(box=box.SIMPLE_HEAD, title=MODES[mode], title_justify="left")
        table.add_column("arm", no_wrap=True)
        for column in ("ms", "IQR", "images/s", "ratio (95% interval)", "rounds", "memory (MiB)"):
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
        table.add_row(output.text(arm["name"]), "", "", "", output.text(arm["problem"] or "", style="red"), "", "", "")
        return
    images = 1 if mode == "latency" else arm["batch"]
    memory = "" if timing["memory"] is None else f"{timing['memory'] / 2**20:.1f}"
    spread = f"{timing['iqr_ms'] / timing['median_ms']:.0%}" + (" !" if timing["noisy"] else "")
    table.add_row(
        output.text(arm["name"]), f"{timing['median_ms']:.2f}", spread, f"{1000 * images / timing['median_ms']:.1f}",
        ratio_text(timing), str(timing["n"]), memory, output.text(timing["verdict"], style=COLOURS[timing["verdict"]]),
    )  # fmt: skip
