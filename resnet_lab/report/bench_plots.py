"""Figures of a bench: time against size, time of each stage, the roofline; with a title, or for a page without one."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from resnet_lab.bench.config import Mode
from resnet_lab.bench.report_contents import BenchArmRow, BenchContents, Roofline
from resnet_lab.core.wording import counted, large, three_digits
from resnet_lab.report.building import in_file_name, write_figures
from resnet_lab.report.figure_style import PAPER, Palette, above, fitted, outside, panel, styled

Size = Literal["macs", "parameters"]

MODES: dict[Mode, str] = {
    "latency": "inference of one image",
    "infer": "inference of a batch",
    "train": "training step",
}
SIZES: dict[Size, str] = {"macs": "multiply-adds for one image", "parameters": "parameters"}

LETTERS = 34
"""Most characters of an arm's name."""

NAMED = 4
"""Kinds of operators that are named on a roofline: those that take most time."""


def write_bench_plots(contents: BenchContents, folder: Path) -> list[Path]:
    """Write each plot as PNG and SVG; the files come back.

    Raises:
        RunError: the folder or a file cannot be written.
    """
    with styled(PAPER):
        return write_figures(_figures(contents), folder)


def _figures(contents: BenchContents) -> Iterator[tuple[str, Figure]]:
    for mode in contents.modes:
        machine = machine_text(contents, mode)
        yield f"time-{mode}", time_against(contents, mode, "macs", PAPER, f"Time against multiply-adds: {machine}")[0]
        title = f"Time against parameters: {machine}"
        yield f"time-{mode}-parameters", time_against(contents, mode, "parameters", PAPER, title)[0]
    if any(arm.profile for arm in contents.arms):
        yield "stages", time_of_stages(contents, PAPER, f"Time of each stage: {machine_text(contents, 'infer')}")
    for number, arm in enumerate(contents.arms):
        if (found := roofline(contents.roof, arm, PAPER, f"Roofline of {arm.name}")) is not None:
            yield f"roofline-{number}-{in_file_name(arm.name)}", found[0]


def time_against(
    contents: BenchContents, mode: Mode, size: Size, inks: Palette, title: str = ""
) -> tuple[Figure, dict[str, str]]:
    """Milliseconds of each arm with their quartiles against its size, those on the Pareto front joined.

    On the dotted line time grows as size does, from the baseline. Tooltips come by gid.
    """
    arms = [(arm, timing) for arm in contents.arms if (timing := arm.timing(mode)) is not None]
    sizes, times = [float(getattr(arm, size)) for arm, _ in arms], [timing.median_ms for _, timing in arms]
    halves = [timing.iqr_ms / 2 for _, timing in arms]
    figure, axes = panel(title, 5.5, 4.2)
    axes.errorbar(sizes, times, yerr=halves, fmt="none", ecolor=inks.first, elinewidth=1.2, capsize=3, zorder=3)
    tooltips = {}
    for number, (arm, timing) in enumerate(arms):
        axes.plot(
            sizes[number], times[number], "o", color=inks.second if number == 0 else inks.first,
            markersize=9 if number == 0 else 6, zorder=4, gid=f"arm{number}",
        )  # fmt: skip
        tooltips[f"arm{number}"] = (
            f"{arm.name}: {three_digits(timing.median_ms)} ms, {large(sizes[number])} {SIZES[size]}"
        )
    reach = 1.05 * max(sizes)
    if sizes[0]:
        line = [0, reach * times[0] / sizes[0]]
        axes.plot([0, reach], line, ":", color=inks.faint, label="in proportion")
    front = pareto_front(sizes, times)
    if len(front) > 1:
        axes.plot(
            [sizes[k] for k in front], [times[k] for k in front], color=inks.first, alpha=0.5, label="Pareto front"
        )
    axes.plot([], [], "o", color=inks.second, markersize=9, label="baseline")
    highest = 1.12 * max(time + half for time, half in zip(times, halves, strict=True))
    axes.set(xlabel=SIZES[size], ylabel=f"{MODES[mode]} (ms)", xlim=(0, 1.12 * max(sizes) or 1.0), ylim=(0, highest))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: large(value)))
    axes.grid(color=inks.faint, alpha=0.25)
    _name_points(axes, [fitted(arm.name, LETTERS) for arm, _ in arms], sizes, times, inks)
    above(axes, columns=3)
    return figure, tooltips


def time_of_stages(contents: BenchContents, inks: Palette, title: str = "") -> Figure:
    """Milliseconds of each stage of each arm, operators timed one by one."""
    profiles = [(arm, arm.profile) for arm in contents.arms if arm.profile is not None]
    figure, axes = panel(title, 7, 1.0 + 0.36 * len(profiles))
    stages = list(dict.fromkeys(stage for _, profile in profiles for stage in profile.stages))
    left = np.zeros(len(profiles))
    for number, stage in enumerate(stages):
        widths = np.array([1000 * profile.stages.get(stage, 0.0) for _, profile in profiles])
        colour = inks.runs[number % len(inks.runs)]
        axes.barh(range(len(profiles)), widths, 0.7, left=left, color=colour, label=stage)
        left += widths
    axes.set_yticks(range(len(profiles)), [fitted(arm.name, LETTERS) for arm, _ in profiles])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.set(xlabel="inference of a batch, operators one by one (ms)")
    outside(figure, axes, columns=min(6, len(stages)))
    return figure


def roofline(roof: Roofline, arm: BenchArmRow, inks: Palette, title: str = "") -> tuple[Figure, dict[str, str]] | None:
    """Rate of each kind of operator against its multiply-adds for each byte, under the device's two limits.

    None where no operator of the arm with multiply-adds was timed, or the device's rate is not known.
    """
    operators = [] if arm.profile is None else arm.profile.operators
    seen = [each for each in operators if each.macs and each.nbytes and each.seconds]
    if not seen or arm.precision not in roof.macs:
        return None
    peak = roof.macs[arm.precision]
    seen.sort(key=lambda each: -each.seconds)
    intensities, rates = [each.macs / each.nbytes for each in seen], [each.macs / each.seconds for each in seen]
    figure, axes = panel(title, 5, 3.8)
    balance = peak / roof.bandwidth
    low, high = min(*intensities, balance) / 4, max(*intensities, balance) * 4
    axes.plot([low, balance, high], [low * roof.bandwidth, peak, peak], color=inks.ink, linewidth=1.4)
    whole, tooltips = sum(each.seconds for each in operators), {}
    for number, each in enumerate(seen):
        share = each.seconds / whole
        axes.plot(
            intensities[number], rates[number], "o", markersize=5 + 18 * share**0.5, color=inks.first, alpha=0.7,
            gid=f"operator{number}",
        )  # fmt: skip
        tooltips[f"operator{number}"] = f"{each.kind}: {share:.0%} of the time, {1000 * each.seconds:.2f} ms"
        if number < NAMED:
            axes.annotate(
                fitted(each.kind, LETTERS), (intensities[number], rates[number]), (0, -16), textcoords="offset points",
                ha="center", fontsize=9.5,
            )  # fmt: skip
    axes.set(
        xscale="log", yscale="log", xlim=(low, high), ylim=(min(*rates, peak) / 4, max(*rates, peak) * 2),
        xlabel="multiply-adds per byte", ylabel="multiply-adds per second",
    )  # fmt: skip
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: large(value)))
    axes.grid(color=inks.faint, alpha=0.25)
    return figure, tooltips


def pareto_front(sizes: Sequence[float], times: Sequence[float]) -> list[int]:
    """Arms that no other beats in both, by size."""
    order = sorted(range(len(sizes)), key=lambda k: (sizes[k], times[k]))
    front: list[int] = []
    for k in order:
        if not front or times[k] < times[front[-1]]:
            front.append(k)
    return front


def _name_points(axes: Axes, names: list[str], x: list[float], y: list[float], inks: Palette) -> None:
    """Names beside their points, where there is more room, moved apart where points of like size lie close together."""
    step, middle = 0.06 * max(y), max(x) / 2
    placed: list[tuple[float, float]] = []
    for k in sorted(range(len(names)), key=lambda k: y[k]):
        height = y[k]
        for other_x, other_y in placed:
            if abs(other_x - x[k]) < middle and abs(height - other_y) < step:
                height = other_y + step
        placed.append((x[k], height))
        line = {"arrowstyle": "-", "color": inks.faint, "linewidth": 0.6} if abs(height - y[k]) > step / 4 else None
        side = 1 if x[k] < middle else -1
        axes.annotate(
            names[k], (x[k], y[k]), (x[k] + side * 0.05 * max(x), height), fontsize=9.5, va="center",
            ha="left" if side > 0 else "right", arrowprops=line,
        )  # fmt: skip


def machine_text(contents: BenchContents, mode: Mode) -> str:
    """Device, batch and rounds of a mode."""
    machine, arms = contents.machine, contents.arms
    types, batches, sizes = (
        [*dict.fromkeys(str(getattr(arm, key)) for arm in arms)] for key in ("dtype", "batch", "size")
    )
    batch = "1" if mode == "latency" else ", ".join(batches)
    return (
        f"{machine.name}, {counted(machine.threads, 'thread')}, {', '.join(types)}, batch {batch}, "
        f"{', '.join(sizes)} px, up to {contents.rounds} rounds"
    )
