"""Plots of a bench: time against multiply-adds, and the time of each stage."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from resnet_lab.core.files import make_folder, write_atomically
from resnet_lab.core.wording import counted

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "0.5"
STAGES = ("#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00", "#CC79A7", "#F0E442", "#000000")
"""Okabe and Ito's colour-blind safe palette."""

MODES = {"latency": "inference of one image", "infer": "inference of a batch", "train": "training step"}


def write_plots(content: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write each plot as PNG and SVG; the files come back.

    Args:
        content: what `bench.results.as_json` gives.

    Raises:
        RunError: the folder or a file cannot be written.
    """
    make_folder(folder)
    figures = {f"time-{mode}": time_against_macs(content, mode) for mode in content["control"]}
    if any("profile" in arm for arm in content["arms"]):
        figures["stages"] = time_of_stages(content)
    written = []
    for name, figure in figures.items():
        for kind in ("png", "svg"):
            picture = io.BytesIO()
            figure.savefig(picture, format=kind, dpi=150)
            written.append(folder / f"{name}.{kind}")
            write_atomically(written[-1], picture.getvalue())
    return written


def time_against_macs(content: Mapping[str, Any], mode: str) -> Figure:
    """Milliseconds of each arm with their quartiles against its multiply-adds, those on the Pareto front joined.

    On the grey line time grows as multiply-adds do, from the baseline.
    """
    arms = [arm for arm in content["arms"] if mode in arm]
    figure, axes = _figure(7.5, 5)
    macs = [arm["macs"] / 1e9 for arm in arms]
    times = [arm[mode]["median_ms"] for arm in arms]
    halves = [arm[mode]["iqr_ms"] / 2 for arm in arms]
    axes.errorbar(macs, times, yerr=halves, fmt="o", color=BLUE, markersize=6, elinewidth=1.2, capsize=3, zorder=3)
    axes.plot(macs[0], times[0], "o", color=ORANGE, markersize=9, zorder=4, label=f"baseline: {arms[0]['name']}")
    reach = [0, 1.05 * max(macs)]
    axes.plot(
        reach, [x * times[0] / macs[0] for x in reach], ":", color=GREY, label="time proportional to multiply-adds"
    )
    front = _front(macs, times)
    if len(front) > 1:
        axes.plot([macs[k] for k in front], [times[k] for k in front], color=BLUE, alpha=0.4, label="Pareto front")
    _name_points(axes, [arm["name"] for arm in arms], macs, times)
    axes.set(
        xlabel="multiply-adds for one image (10$^9$)", ylabel=f"{MODES[mode]} (ms, median and quartiles)",
        title=f"Measured time against multiply-adds\n{_machine(content, mode)}", xlim=(0, 1.35 * max(macs)),
        ylim=(0, 1.12 * max(time + half for time, half in zip(times, halves, strict=True))),
    )  # fmt: skip
    axes.legend(frameon=False, loc="upper left", fontsize=8)
    return figure


def time_of_stages(content: Mapping[str, Any]) -> Figure:
    """Milliseconds of each stage of each arm, operators timed one by one."""
    arms = [arm for arm in content["arms"] if "profile" in arm]
    figure, axes = _figure(7.5, 1.6 + 0.38 * len(arms))
    names = list(dict.fromkeys(stage for arm in arms for stage in arm["profile"]["stages"]))
    left = [0.0] * len(arms)
    for name, colour in zip(names, STAGES * (len(names) // len(STAGES) + 1), strict=False):
        widths = [1000 * arm["profile"]["stages"].get(name, 0.0) for arm in arms]
        axes.barh([arm["name"] for arm in arms], widths, left=left, color=colour, label=name, height=0.7)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.set(
        xlabel="inference of a batch, operators one by one (ms)",
        title=f"Time of each stage\n{_machine(content, 'infer')}",
    )
    figure.legend(loc="outside lower center", ncols=min(6, len(names)), frameon=False, fontsize=8)
    return figure


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    return figure, axes


def _front(macs: list[float], times: list[float]) -> list[int]:
    """Arms that no other beats in both, by multiply-adds."""
    order = sorted(range(len(macs)), key=lambda k: (macs[k], times[k]))
    front: list[int] = []
    for k in order:
        if not front or times[k] < times[front[-1]]:
            front.append(k)
    return front


def _name_points(axes: Axes, names: list[str], x: list[float], y: list[float]) -> None:
    """Names right of their points, moved apart where points of like multiply-adds lie close together."""
    step = 0.045 * max(y)
    placed: list[tuple[float, float]] = []
    for k in sorted(range(len(names)), key=lambda k: y[k]):
        height = y[k]
        for other_x, other_y in placed:
            if abs(other_x - x[k]) < 0.3 * max(x) and abs(height - other_y) < step:
                height = other_y + step
        placed.append((x[k], height))
        axes.annotate(
            names[k], (x[k], y[k]), (x[k] + 0.03 * max(x), height), fontsize=8, va="center",
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.6} if abs(height - y[k]) > step / 4 else None,
        )  # fmt: skip


def _machine(content: Mapping[str, Any], mode: str) -> str:
    machine, arms = content["machine"], content["arms"]
    types, batches, sizes = ([*dict.fromkeys(str(arm[key]) for arm in arms)] for key in ("dtype", "batch", "size"))
    batch = "1" if mode == "latency" else ", ".join(batches)
    return (
        f"{machine['name']}, {counted(machine['threads'], 'thread')}, {', '.join(types)}, batch {batch}, "
        f"{', '.join(sizes)} px, up to {content['rounds']} rounds"
    )
