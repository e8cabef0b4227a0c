"""Figures of a study's arms one by one: learning curves and class effects.

They are standalone with a title, and for a page without one.
"""

from collections.abc import Sequence
from statistics import median
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from resnet_lab.report.comparison_plots import looks
from resnet_lab.report.figure_style import Palette, above, fitted, panel, sheet
from resnet_lab.report.run_plots import ACCURACY, LOSS
from resnet_lab.report.study_plots import Span, finite, limits, name_rows
from resnet_lab.study.class_effects import ClassEffects
from resnet_lab.study.learning_curves import Curve, LearningCurves

MOST_IN_ONE = 4
"""Arms whose curves are drawn in one figure; more have one each."""

POINTS = 120
"""Most points of a line."""

COLUMNS = 4

Validated = Literal["accuracy", "loss"]
LABELS: dict[Validated, str] = {"accuracy": ACCURACY, "loss": LOSS}


def learning(found: Sequence[LearningCurves], what: Validated, inks: Palette, title: str = "") -> Figure:
    """A few arms in one: thin lines of seeds, a thick one of the mean."""
    figure, axes = panel(title)
    for each, (colour, line) in zip(found, looks(inks), strict=False):
        _draw_curve(axes, _curve(each, what), colour, line)
        axes.plot([], [], line, color=colour, linewidth=2.5, label=fitted(each.arm, 17))
    _finish(axes, scale_of_curves(found, what))
    axes.set(xlabel="epoch", ylabel=f"validation {LABELS[what]}")
    above(axes, columns=2)
    return figure


class LearningOfArms:
    """Many arms one by one, each before the baseline's mean and all on one scale.

    They take turns in one figure, since making axes takes longer than drawing curves.
    """

    def __init__(self, found: Sequence[LearningCurves], what: Validated, inks: Palette) -> None:
        self._baseline, self._what, self._inks = found[0], what, inks
        self._scale, self._epochs = scale_of_curves(found, what), span_of_epochs(found)
        self._figure = Figure(figsize=(3.2, 2.2))  # laid out by hand, as the layout engine takes longer than all else
        self._figure.subplots_adjust(left=0.15, right=0.97, bottom=0.14, top=0.96)
        self._axes = self._figure.subplots()

    def of(self, each: LearningCurves) -> Figure:
        """The figure, which shows this arm until the next is asked for."""
        for artist in (*self._axes.lines, *self._axes.collections):
            artist.remove()
        _draw_arm(self._axes, each, self._baseline, self._what, self._scale, self._inks)
        self._axes.set_xlim(self._epochs)
        self._axes.yaxis.set_major_locator(MaxNLocator(4))
        return self._figure


def learning_of_all(found: Sequence[LearningCurves], what: Validated, inks: Palette, title: str) -> Figure:
    """Many arms side by side."""
    columns = min(COLUMNS, len(found))
    rows = -(-len(found) // columns)
    figure = sheet(title, 2.7 * columns, 1.0 + 2.1 * rows)
    places = figure.subplots(rows, columns, squeeze=False).ravel()
    scale = scale_of_curves(found, what)
    for axes, each in zip(places, found, strict=False):
        _draw_arm(axes, each, found[0], what, scale, inks)
        axes.set_xlim(span_of_epochs(found))
        axes.set_title(fitted(each.arm, 26), fontsize=10)
    for axes in places[len(found) :]:
        axes.set_visible(False)
    figure.supxlabel("epoch", fontsize=11)
    figure.supylabel(f"validation {LABELS[what]}", fontsize=11)
    return figure


def span_of_epochs(found: Sequence[LearningCurves]) -> Span:
    """Range of epochs of the longest training; arms with the same budget may have different numbers of epochs."""
    longest = max((len(line) for each in found for line in each.accuracy.seeds.values()), default=1)
    room = 0.05 * (longest - 1) or 0.5
    return 1 - room, longest + room


def scale_of_curves(found: Sequence[LearningCurves], what: Validated) -> Span:
    """Scale of all arms' curves; a diverging network's would flatten all others."""
    lines = [line for each in found for line in _curve(each, what).seeds.values()]
    values = finite(value for line in lines for value in line) or [0.0, 1.0]
    if what == "accuracy":
        return max(0.0, min(values) - 0.1 * (1 - min(values))), 1.01
    usual = 2 * median(finite(line[0] for line in lines) or [1.0])
    return 0.0, min(1.05 * max(values), usual)


def _draw_arm(
    axes: Axes, each: LearningCurves, baseline: LearningCurves, what: Validated, scale: Span, inks: Palette
) -> None:
    if each is not baseline:
        mean = _curve(baseline, what).mean
        axes.plot(*_thinned(mean), "--", color=inks.second, linewidth=1.4)
    _draw_curve(axes, _curve(each, what), inks.second if each is baseline else inks.first, "-")
    _finish(axes, scale)


def _curve(each: LearningCurves, what: Validated) -> Curve:
    return each.accuracy if what == "accuracy" else each.loss


def _draw_curve(axes: Axes, curve: Curve, colour: str, line: str) -> None:
    seeds = [np.column_stack(_thinned(values)) for values in curve.seeds.values() if values]
    several = [points for points in seeds if len(points) > 1]
    axes.add_collection(LineCollection(several, colors=colour, linestyles=line, linewidths=0.9, alpha=0.45))
    for ((epoch, value),) in (points for points in seeds if len(points) == 1):
        axes.plot(epoch, value, "o", color=colour, alpha=0.45, markersize=3)
    marker = "o" if len(curve.mean) == 1 else ""
    axes.plot(*_thinned(curve.mean), line, color=colour, linewidth=2.5, marker=marker, markersize=5)


def _thinned(values: Sequence[float]) -> tuple[list[int], list[float]]:
    """Epochs from 1, and their values; of long trainings some, the first and the last among them."""
    places = np.unique(np.linspace(0, len(values) - 1, min(len(values), POINTS)).round().astype(int)).tolist()
    return [place + 1 for place in places], [values[place] for place in places]


def _finish(axes: Axes, scale: Span) -> None:
    axes.set_ylim(scale)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    axes.grid()


def classes(found: ClassEffects, inks: Palette, title: str = "") -> tuple[Figure, dict[str, str]]:
    """Differences of recall with their intervals, the largest gain first; tooltips by gid."""
    seen = sorted(
        (each for each in found.classes if each.difference is not None), key=lambda each: -(each.difference or 0.0)
    )
    figure, axes = panel(title, 5, 1.0 + 0.25 * len(seen))
    spans = [(100 * span[0], 100 * span[1]) for each in seen if (span := each.interval) is not None]
    low, high = limits([0.0, *(100 * (each.difference or 0.0) for each in seen)], spans)
    axes.axvline(0, color=inks.ink, linewidth=1)
    tooltips = {}
    for row, each in enumerate(seen):
        value = 100 * (each.difference or 0.0)
        if each.interval is not None:
            shown = [min(max(100 * end, low), high) for end in each.interval]
            axes.plot(shown, [row, row], color=inks.first, alpha=0.4, linewidth=4, solid_capstyle="butt")
        axes.plot(value, row, "o", color=inks.first, markersize=5, gid=f"class{row}")
        tooltips[f"class{row}"] = f"{each.name}: {value:+.1f} points of recall in {len(each.differences)} seeds"
    axes.set(xlabel="difference of recall (points)", xlim=(low, high))
    name_rows(axes, [each.name for each in seen], 24)
    if len(seen) > 20:
        axes.tick_params(axis="y", labelsize=9)
    return figure, tooltips
