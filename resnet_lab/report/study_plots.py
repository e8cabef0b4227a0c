"""Figures of a study: effects, interactions, cost against score, works fixed and broken.

They are standalone with a title, and for a page without one.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import inf, isfinite

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import Bbox

from resnet_lab.core.figure_names import figure_name
from resnet_lab.core.wording import large, three_digits
from resnet_lab.evaluation.metrics.headline import NOT_SHARES
from resnet_lab.report.comparison_plots import looks
from resnet_lab.report.figure_style import Palette, above, fitted, outside, panel
from resnet_lab.report.text import signed
from resnet_lab.study.interactions import Interaction
from resnet_lab.study.paired_errors import PairedErrors
from resnet_lab.study.pareto import Pareto, Point
from resnet_lab.study.statistics import Effect

LETTERS = 34
"""Most characters of an arm's or an effect's name."""

MARKERS = {"better": "^", "worse": "v", "equivalent": "s", "undecided": "o", "withheld": "X", "exploratory": "D"}
HOLLOW = ("undecided", "withheld", "exploratory")

FARTHEST = 1.0
"""Most that intervals widen a scale, by the span of the values themselves; arrows mark those that are cut off."""

LEAST = 0.1
"""Share of the costs that a plot of them spans, at least, so that equals look equal."""

MANY = 12
"""Points from which on a plot is made higher."""

Span = tuple[float, float]


def scale_of(metric: str) -> tuple[float, str]:
    """Factor for differences of a metric, and their unit."""
    return (1.0, figure_name(metric)) if metric in NOT_SHARES else (100.0, f"points of {figure_name(metric)}")


def effects(
    found: Sequence[Effect], metric: str, margin: float | None, inks: Palette, title: str = ""
) -> tuple[Figure, dict[str, str]]:
    """Differences with their intervals, verdicts as shapes, colours and words; tooltips by gid."""
    scale, unit = scale_of(metric)
    figure, axes = panel(title, 7, 1.0 + 0.36 * len(found))
    seen = [effect for effect in found if effect.difference is not None]
    values = [0.0, *(effect.difference for effect in seen if effect.difference is not None)]
    values += [end for effect in seen for end in effect.simultaneous or ()]
    values += [] if margin is None else [-margin, margin]
    spans = [effect.interval for effect in seen if effect.interval is not None]
    low, high = limits([scale * value for value in values], [(scale * one, scale * other) for one, other in spans])
    if margin is not None:
        axes.axvspan(-scale * margin, scale * margin, color=inks.faint, alpha=0.18, linewidth=0, label="margin")
    axes.axvline(0, color=inks.ink, linewidth=1)
    tooltips = {}
    for row, effect in enumerate(found):
        colour = verdict_colour(effect.verdict, inks)
        if effect.interval is not None:
            span = (scale * effect.interval[0], scale * effect.interval[1])
            _draw_span(axes, span, row, (low, high), colour)
        if effect.simultaneous is not None:
            span = (scale * effect.simultaneous[0], scale * effect.simultaneous[1])
            axes.plot(span, [row + 0.27] * 2, color=colour, linewidth=1.4, solid_capstyle="butt")
        if effect.difference is not None:
            face = "none" if effect.verdict in HOLLOW else colour
            axes.plot(
                scale * effect.difference, row, MARKERS[effect.verdict], color=colour, markerfacecolor=face,
                markeredgewidth=1.8, markersize=9, gid=f"effect{row}",
            )  # fmt: skip
            tooltips[f"effect{row}"] = f"{effect.name}: {signed(scale * effect.difference, 2)} {unit}, {effect.verdict}"
        axes.annotate(effect.verdict, (1.02, row), xycoords=("axes fraction", "data"), va="center", fontsize=11)
    axes.plot([], [], color=inks.faint, alpha=0.55, linewidth=5, label="95% interval")
    axes.plot([], [], color=inks.faint, linewidth=1.4, label="simultaneous")
    axes.set(xlabel=f"difference ({unit})", xlim=(low, high))
    name_rows(axes, [effect.name for effect in found], LETTERS)
    outside(figure, axes, columns=3)
    return figure, tooltips


def name_rows(axes: Axes, names: Sequence[str], letters: int) -> None:
    """Rows from top to bottom."""
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(range(len(names)), [fitted(name, letters) for name in names])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


def verdict_colour(verdict: str, inks: Palette) -> str:
    """Never the only sign of a verdict."""
    return {"better": inks.runs[2], "worse": inks.runs[1], "equivalent": inks.runs[0]}.get(verdict, inks.faint)


def limits(values: Sequence[float], spans: Iterable[Span], farthest: float = FARTHEST) -> Span:
    """Limits of a scale that shows all values, and as much of the intervals as keeps the values apart."""
    low, high = min(values), max(values)
    reach = farthest * (high - low) or inf
    ends = [end for span in spans for end in span]
    low, high = max(low - reach, min([low, *ends])), min(high + reach, max([high, *ends]))
    room = 0.05 * (high - low) or 1.0
    return low - room, high + room


def within_shares(span: Span, metric: str) -> Span:
    """Scores have ends, which intervals of Student's t do not know of."""
    return span if metric in NOT_SHARES else (max(span[0], -0.02), min(span[1], 1.02))


def _draw_span(axes: Axes, span: Span, row: float, within: Span, colour: str) -> None:
    """A thick line, with an arrow where it continues beyond the scale."""
    low, high = max(span[0], within[0]), min(span[1], within[1])
    axes.plot([low, high], [row, row], color=colour, alpha=0.45, linewidth=5, solid_capstyle="butt")
    for end, edge, marker in ((span[0], low, "<"), (span[1], high, ">")):
        if end != edge:
            axes.plot(edge, row, marker, color=colour, markersize=7, clip_on=False)


def interaction(pair: Interaction, metric: str, inks: Palette, title: str = "") -> Figure:
    """Means at the levels of one factor, a line for each level of the other: parallel where neither minds the other."""
    figure, axes = panel(title)
    firsts, seconds = pair.levels
    width = min(0.16, 0.5 / len(seconds))
    for number, (level, (colour, line)) in enumerate(zip(seconds, looks(inks), strict=False)):
        shift = width * (number - (len(seconds) - 1) / 2)
        there = [(place, cell) for place, first in enumerate(firsts) if (cell := pair.cells.get((first, level)))]
        seen = [(place + shift, cell.mean, cell.interval) for place, cell in there if cell.mean is not None]
        for place, _, span in seen:
            if span is not None:
                axes.plot([place] * 2, span, color=colour, alpha=0.4, linewidth=4, solid_capstyle="butt")
        label = f"{pair.second} {fitted(level, 14)}"
        axes.plot([x for x, _, _ in seen], [y for _, y, _ in seen], line, color=colour, marker="o", label=label)
    cells = [cell for cell in pair.cells.values() if cell.mean is not None]
    if cells:
        spans = [cell.interval for cell in cells if cell.interval is not None]
        axes.set_ylim(within_shares(limits([cell.mean or 0.0 for cell in cells], spans, farthest=3.0), metric))
    axes.set(xlabel=pair.first, ylabel=figure_name(metric), xlim=(-0.5, len(firsts) - 0.5))
    axes.set_xticks(range(len(firsts)), [fitted(level, 14) for level in firsts])
    axes.grid(axis="y")
    above(axes, columns=2)
    return figure


def pareto(found: Pareto, metric: str, baseline: str, inks: Palette, title: str = "") -> tuple[Figure, dict[str, str]]:
    """Score against cost with intervals, named, the front joined; tooltips of points by gid."""
    figure, axes = panel(title, 7, 4.4 if len(found.points) < MANY else 6.2)
    tooltips = {}
    for number, point in enumerate(found.points):
        is_baseline = point.arm == baseline
        colour = inks.second if is_baseline else inks.first
        for ends, other, is_flat in (
            (point.cost_interval, point.score, True),
            (point.score_interval, point.cost, False),
        ):
            if ends is not None:
                line = (ends, [other] * 2) if is_flat else ([other] * 2, ends)
                axes.plot(*line, color=colour, linewidth=1.3, alpha=0.4)
        axes.plot(
            point.cost, point.score, "D" if is_baseline else "o", color=colour, markersize=7,
            markerfacecolor=colour if point.is_front else "none", gid=f"arm{number}",
        )  # fmt: skip
        tooltips[f"arm{number}"] = f"{point.arm}: {figure_name(metric)} {point.score:.4f} at {_cost(found, point)}"
    front = sorted((point for point in found.points if point.is_front), key=lambda point: point.cost)
    front_line = ([point.cost for point in front], [point.score for point in front])
    axes.plot(*front_line, color=inks.first, alpha=0.6, linewidth=1.5, drawstyle="steps-post", label="front")
    axes.plot([], [], "D", color=inks.second, label="baseline")
    axes.set(ylabel=figure_name(metric), ylim=within_shares(_scores(found), metric))
    _scale_cost(axes, found)
    axes.grid()
    above(axes, columns=2)
    _name_points(figure, axes, found.points)
    return figure, tooltips


def _cost(found: Pareto, point: Point) -> str:
    return f"{three_digits(point.cost)} ms" if found.is_measured else f"{large(point.cost)}MACs"


def _scores(found: Pareto) -> Span:
    spans = [point.score_interval for point in found.points if point.score_interval is not None]
    return limits([point.score for point in found.points], spans)


def _scale_cost(axes: Axes, found: Pareto) -> None:
    """Logarithmic where the dearest costs many times as much as the cheapest."""
    costs = [point.cost for point in found.points]
    if max(costs) > 8 * min(costs):
        axes.set_xscale("log")
        axes.set_xlim(min(costs) / 1.4, max(costs) * 1.8)
    else:
        spans = [point.cost_interval for point in found.points if point.cost_interval is not None]
        low, high = limits(costs, spans)
        around = max(0.0, LEAST * high - (high - low)) / 2
        axes.set_xlim(low - around - 0.05 * (high - low), high + around + 0.25 * (high - low))
        axes.xaxis.set_major_locator(MaxNLocator(7))
    if found.is_measured:
        axes.set_xlabel("latency of one image (ms, median with its 95% interval)")
    else:
        axes.set_xlabel("multiply-adds of one image (counted: no latency was measured)")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: large(value)))


def _name_points(figure: Figure, axes: Axes, points: Sequence[Point]) -> None:
    """Names next to their points, moved to where they cover the fewest others, those of the front first."""
    figure.draw_without_rendering()
    pixel = figure.dpi / 72
    there = axes.transData.transform([(point.cost, point.score) for point in points])
    taken = [Bbox.from_bounds(x - 5 * pixel, y - 5 * pixel, 10 * pixel, 10 * pixel) for x, y in there]
    frame = axes.get_window_extent()
    front = sorted(tuple(there[k]) for k in range(len(points)) if points[k].is_front)
    lines = [Bbox.from_extents(one[0], one[1] - pixel, other[0], one[1] + pixel) for one, other in pairwise(front)]
    for place in sorted(range(len(points)), key=lambda k: not points[k].is_front):
        point = points[place]
        text = axes.annotate(
            fitted(point.arm, LETTERS), (point.cost, point.score), xytext=(0, 0), textcoords="offset points",
            fontsize=9.5 if len(points) < MANY else 8.5, va="center", ha="center", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "linewidth": 0.6, "alpha": 0.5, "shrinkA": 0, "shrinkB": 3},
        )  # fmt: skip
        size = Text.get_window_extent(text)  # without the line to the point
        shifts = _shifts(size.width / pixel, size.height / pixel)
        boxes = [_box(there[place], shift, size, pixel) for shift in shifts]
        best = min(range(len(boxes)), key=lambda number: _crowding(boxes[number], taken, lines, frame))
        box, shift = boxes[best], shifts[best]
        taken.append(box)
        text.set_position(shift)
        if np.hypot(max(0.0, abs(shift[0]) - size.width / pixel / 2), shift[1]) < 16 and text.arrow_patch is not None:
            text.arrow_patch.set_visible(False)


def _shifts(width: float, height: float) -> list[tuple[float, float]]:
    """Offsets of the middle of a name from its point, in points of type: the nearest first."""
    beside = width / 2 + 8
    near = [(beside, 0.0), (-beside, 0.0), (0.0, height), (0.0, -height), (beside, height), (beside, -height)]
    far = [
        (side * (beside + 6 * ring if ring % 2 else 0.35 * width), rise * height * ring)
        for ring in range(1, 12)
        for side in (1, -1, 0)
        for rise in (1, -1)
    ]
    return near + far


def _box(at: Sequence[float], shift: Span, size: Bbox, pixel: float) -> Bbox:
    x, y = at[0] + shift[0] * pixel - size.width / 2, at[1] + shift[1] * pixel - size.height / 2
    return Bbox.from_bounds(x, y, size.width, size.height)


def _crowding(box: Bbox, taken: Sequence[Bbox], lines: Sequence[Bbox], frame: Bbox) -> float:
    """Overlap of a name: a line counts half as much as a point or a name, and leaving the frame is ruled out."""
    inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
    covered = box.count_overlaps(taken) + (0.5 * box.count_overlaps(lines) if lines else 0.0)
    return float(covered + (0 if inside else 1000))


def errors(found: Sequence[PairedErrors], inks: Palette, title: str = "") -> Figure:
    """Works that each arm has fixed, to the right, and broken, to the left: means over seeds, each seed a dot."""
    seen = [each for each in found if each.counts]
    figure, axes = panel(title, 7, 1.0 + 0.36 * len(seen))
    kinds = ((1, "fixed", inks.runs[2]), (-1, "broken", inks.runs[1]))
    most = max((max(count.fixed, count.broken) for each in seen for count in each.counts), default=0) or 1
    for sign, kind, colour in kinds:
        numbers = [[getattr(count, kind) for count in each.counts] for each in seen]
        means = [float(np.mean(of_seeds)) for of_seeds in numbers]
        axes.barh(range(len(seen)), [sign * mean for mean in means], 0.62, color=colour, alpha=0.5, label=kind)
        dots = [(sign * number, row) for row, of_seeds in enumerate(numbers) for number in of_seeds]
        axes.plot([x for x, _ in dots], [row for _, row in dots], "o", color=colour, markersize=3.5)
        for row, (mean, of_seeds) in enumerate(zip(means, numbers, strict=True)):
            axes.annotate(
                f"{mean:.1f}", (sign * max(of_seeds), row), (sign * 6, 0), textcoords="offset points",
                ha="left" if sign > 0 else "right", va="center", fontsize=9.5,
            )  # fmt: skip
    axes.axvline(0, color=inks.ink, linewidth=1)
    axes.set(xlim=(-1.35 * most, 1.35 * most), xlabel="test works of a seed, against the baseline")
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{abs(value):.0f}"))
    name_rows(axes, [each.arm for each in seen], LETTERS)
    outside(figure, axes, columns=2)
    return figure


def finite(values: Iterable[float]) -> list[float]:
    """Finite values."""
    return [value for value in values if isfinite(value)]
