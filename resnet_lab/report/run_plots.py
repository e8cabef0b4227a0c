"""Figures of one run, standalone with a title, or for a page without one."""

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from statistics import median

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from resnet_lab.core.errors import printable
from resnet_lab.core.figure_names import figure_name
from resnet_lab.core.history import Epoch
from resnet_lab.core.size_schedule import mark_sizes
from resnet_lab.evaluation.embedding_map import EmbeddingMap
from resnet_lab.evaluation.metrics.abundance import Abundance
from resnet_lab.evaluation.metrics.calibration import Calibration
from resnet_lab.evaluation.metrics.confusion import Confusion
from resnet_lab.evaluation.metrics.headline import NOT_SHARES, Interval
from resnet_lab.evaluation.metrics.scores import ClassScores
from resnet_lab.report.figure_style import THOUSANDS, Palette, above, fitted, outside, panel, sheet
from resnet_lab.report.text import shortened

LOSS, ACCURACY = "cross-entropy (nats)", "macro accuracy"
MARKED = 50
"""Epochs up to which each is a point on its line."""

NUMBERED = 12
"""Classes up to which a matrix has numbers in it."""

LETTERS = 24
"""Most characters of a class's name in a figure."""

DOT = 26
"""Area of an image's dot on a map in square points; a third of it on a crowded one."""

CROWDED = 500
"""Images beyond which a map is crowded."""

SHORT, LONG = 15, 36
"""Letters of names up to which a map's legend has two columns, and most of them in one."""

LABELLED = 10
"""Classes that are named among the points, at most."""


Sizes = Mapping[int, int]
"""Of the images trained on in pixels, by the first epoch of each, where they differ."""


def losses(history: Sequence[Epoch], best: int, inks: Palette, title: str = "", sizes: Sizes | None = None) -> Figure:
    """Training and validation loss against epochs."""
    figure, axes = panel(title)
    _draw_losses(axes, history, best, inks, sizes)
    return figure


def accuracies(
    history: Sequence[Epoch], best: int, inks: Palette, title: str = "", sizes: Sizes | None = None
) -> Figure:
    """Training and validation macro accuracy against epochs."""
    figure, axes = panel(title)
    _draw_accuracies(axes, history, best, inks, sizes)
    return figure


def curves(history: Sequence[Epoch], best: int, inks: Palette, title: str, sizes: Sizes | None = None) -> Figure:
    """Both in one."""
    figure = sheet(title, 10, 3.8)
    left, right = figure.subplots(1, 2)
    _draw_losses(left, history, best, inks, sizes)
    _draw_accuracies(right, history, best, inks, sizes)
    return figure


def _draw_losses(axes: Axes, history: Sequence[Epoch], best: int, inks: Palette, sizes: Sizes | None) -> None:
    train, val = [epoch.train_loss for epoch in history], [epoch.val_loss for epoch in history]
    _draw_pair(axes, history, best, inks, sizes, LOSS, train, val)
    axes.set_ylim(bottom=0)
    usual = [loss for loss in val if isfinite(loss)] or train
    top = 2 * max(train[0], median(train), median(usual))
    if any(not value <= top for value in (*train, *val)):  # a diverging network's would flatten all others
        axes.set_ylim(top=top)
        axes.set_ylabel(f"{LOSS},\nhigher ones beyond the scale")


def _draw_accuracies(axes: Axes, history: Sequence[Epoch], best: int, inks: Palette, sizes: Sizes | None) -> None:
    train = [epoch.train_macro_accuracy for epoch in history]
    val = [epoch.val_macro_accuracy for epoch in history]
    _draw_pair(axes, history, best, inks, sizes, ACCURACY, train, val)
    low = min(*train, *val)
    axes.set_ylim(max(0, low - 0.1 * (1 - low)), 1.01)


def _draw_pair(
    axes: Axes,
    history: Sequence[Epoch],
    best: int,
    inks: Palette,
    sizes: Sizes | None,
    label: str,
    train: Sequence[float],
    val: Sequence[float],
) -> None:
    numbers = [epoch.epoch for epoch in history]
    marked = len(numbers) <= MARKED
    for name, values, colour, marker in (("training", train, inks.first, "o"), ("validation", val, inks.second, "s")):
        axes.plot(numbers, values, marker=marker if marked else "", markersize=4, color=colour, label=name)
    axes.axvline(best, color=inks.faint, linestyle=":", label=f"best epoch ({best})")
    mark_sizes(axes, sizes or {}, numbers[-1], inks.faint)
    axes.set(xlabel="epoch", ylabel=label, xlim=(numbers[0] - 0.5, numbers[-1] + 0.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid()
    above(axes, columns=3)


def headline(figures: Mapping[str, Interval], inks: Palette, title: str = "") -> Figure:
    """Shares as dots with their intervals as bars."""
    shares = {name: each for name, each in figures.items() if name not in NOT_SHARES}
    figure, axes = panel(title, 7, 0.9 + 0.38 * len(shares))
    for row, each in enumerate(shares.values()):
        if each.ends is not None:
            axes.plot(each.ends, [row, row], color=inks.first, linewidth=5, alpha=0.35, solid_capstyle="butt")
        axes.plot(each.value, row, "o", color=inks.first)
        axes.annotate(f"{each.value:.3f}", (1.02, row), xycoords=("axes fraction", "data"), va="center")
    axes.set(xlim=(0, 1), xlabel="share, with its 95% interval", ylim=(len(shares) - 0.5, -0.5))
    axes.set_yticks(range(len(shares)), [figure_name(name) for name in shares])
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    return figure


def reliability(calibration: Calibration, inks: Palette, title: str = "") -> tuple[Figure, dict[str, str]]:
    """Accuracy against confidence, and the images of each bin below; tooltips of bars by gid."""
    figure = sheet(title, 5, 4.6)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    tooltips = {}
    axes.plot((0, 1), (0, 1), color=inks.faint, linestyle="--", label="perfect")
    for number, each in enumerate(calibration.bins):
        place, width = (each.low + each.high) / 2, 0.92 * (each.high - each.low)
        axes.bar(place, each.accuracy, width, color=inks.first, alpha=0.55, gid=f"bin{number}")
        axes.plot([each.low, each.high], [each.confidence] * 2, color=inks.second, linewidth=2.5)
        below.bar(place, each.n, width, color=inks.first, alpha=0.55, gid=f"count{number}")
        tooltips[f"bin{number}"] = tooltips[f"count{number}"] = (
            f"confidence {each.low:.2f} to {each.high:.2f}: {each.n} images, mean confidence {each.confidence:.3f}, "
            f"accuracy {each.accuracy:.3f}"
        )
    axes.plot([], [], color=inks.second, linewidth=2.5, label="mean confidence")
    axes.bar(0, 0, 0, color=inks.first, alpha=0.55, label="accuracy")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy")
    above(axes, columns=3)
    below.set(xlabel="confidence of the predicted class", ylabel="images")
    below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    below.yaxis.set_major_formatter(THOUSANDS)
    return figure, tooltips


def abundance(
    found: Abundance, rows: Iterable[ClassScores], inks: Palette, title: str = ""
) -> tuple[Figure, dict[str, str]]:
    """Recall against training images; tooltips of points by gid."""
    figure, axes = panel(title, 7, 4.2)
    intervals = {row.name: (row.recall_low, row.recall_high) for row in rows}
    faint = 0.45 if len(found.classes) <= NUMBERED else 0.25
    tooltips = {}
    for number, (name, images, recall, support) in enumerate(
        zip(found.classes, found.train_images, found.recalls, found.supports, strict=True)
    ):
        low, high = intervals[name]
        axes.plot([images, images], [low, high], color=inks.first, linewidth=1.2, alpha=faint)
        axes.plot(images, recall, "o", color=inks.first, gid=f"class{number}")
        tooltips[f"class{number}"] = (
            f"{shortened(name, 80)}: recall {recall:.3f} ({low:.3f} to {high:.3f}) of {support} images, "
            f"{images:,} training images"
        )
    axes.set(xlabel="training images of the class", ylabel="recall, with Wilson's 95% interval")
    axes.set_ylim(min(0.5, *(intervals[name][0] for name in found.classes)) - 0.03, 1.03)
    _scale(axes, found.train_images)
    axes.grid()
    _name_points(figure, axes, found)
    return figure, tooltips


def _scale(axes: Axes, images: Sequence[int]) -> None:
    """Logarithmic where classes differ greatly, with ticks at round numbers."""
    low, high = min(images), max(images)
    if low > 0 and high > 5 * low:
        axes.set_xscale("log")
        steps = (1, 2, 5) if high < 200 * low else (1,)
        ticks = [step * 10**decade for decade in range(8) for step in steps]
        axes.set_xlim(low / 1.25, high * 1.25)
        axes.set_xticks([tick for tick in ticks if low / 1.25 <= tick <= high * 1.25])
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        around = max(1, 0.12 * (high - low), 0.02 * high)
        axes.set_xlim(low - around, high + around)
        axes.xaxis.set_major_locator(MaxNLocator(7, integer=True, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(THOUSANDS)


def _name_points(figure: Figure, axes: Axes, found: Abundance) -> None:
    """Write names next to points where they cover neither points nor names; the lowest and highest recalls first."""
    points = np.column_stack([found.train_images, found.recalls])
    figure.draw_without_rendering()
    there = axes.transData.transform(points)
    pixel = figure.dpi / 72
    taken = [Bbox.from_bounds(x - 5 * pixel, y - 5 * pixel, 10 * pixel, 10 * pixel) for x, y in there]
    frame, named = axes.get_window_extent(), 0
    for place in np.argsort(-np.abs(points[:, 1] - np.median(points[:, 1])), kind="stable").tolist():
        text = axes.annotate(
            fitted(found.classes[place], LETTERS),
            points[place],
            xytext=(7, 0),
            textcoords="offset points",
            fontsize=10.5,
            annotation_clip=False,
        )
        for shift, side in (((7, 0), "left"), ((-7, 0), "right"), ((5, 10), "left"), ((5, -10), "left")):
            text.set(position=shift, horizontalalignment=side, verticalalignment="center")
            box = text.get_window_extent()
            if frame.x0 <= box.x0 and box.x1 <= frame.x1 and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                named += 1
                break
        else:
            text.remove()
        if named == LABELLED:
            return


def confusion(found: Confusion, order: Sequence[int], inks: Palette, title: str) -> Figure:
    """Rows of true classes by columns of predicted ones, as shares of the row."""
    size = len(order)
    side = min(14.0, max(4.5, 0.24 * size + 2.5))
    figure, axes = panel(title, side + 1.2, side)
    shares = found.shares[np.ix_(order, order)]
    image = axes.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    if size <= NUMBERED:
        for row, column in np.ndindex(size, size):
            if share := shares[row, column]:
                colour = "black" if share > 0.55 else "white"
                number = found.counts[order[row], order[column]]
                axes.text(column, row, f"{share:.0%}\n{number:,}", ha="center", va="center", color=colour, fontsize=9)
    names = [fitted(found.classes[k], LETTERS) for k in order]
    small = 12.0 if size <= NUMBERED else 8.0
    axes.set_xticks(range(size), names, rotation=90 if size > 4 else 0, fontsize=small if size > 4 else 9)
    axes.set_yticks(range(size), names, fontsize=small)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    figure.colorbar(image, ax=axes, label="share of the true class's images", shrink=0.8)
    return figure


def embedding_map(found: EmbeddingMap, inks: Palette, title: str = "") -> Figure:
    """Images as dots in the colour of their class, mistakes as crosses; of many classes the largest are coloured."""
    figure, axes = panel(title, 5, 5)
    classes = list(found.counts)
    coloured, rest = classes[: len(inks.runs)], classes[len(inks.runs) :]
    groups = [(found.classes[k], [k], ink) for k, ink in zip(coloured, inks.runs, strict=False)]
    if rest:
        groups.append(("other classes" if len(rest) > 1 else found.classes[rest[0]], rest, inks.faint))
    for name, members, ink in groups:
        own = np.isin(found.labels, members)
        _draw_images(axes, found, own, ink, behind=members is rest)
        axes.scatter([], [], s=DOT, color=ink, linewidths=0, label=f"{fitted(name, LONG)} ({own.sum():,})")
    axes.scatter([], [], s=DOT, marker="x", color=inks.ink, linewidths=1.2, label="mistake")
    axes.set_aspect("equal", adjustable="datalim")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color=inks.faint)
    outside(figure, axes, columns=2 if all(fitted(name, SHORT) == printable(name) for name, _, _ in groups) else 1)
    return figure


def _draw_images(axes: Axes, found: EmbeddingMap, own: NDArray[np.bool_], ink: str, *, behind: bool) -> None:
    """Draw some images of a map in one colour; `behind` the others, and paler where they are many."""
    many = len(found) > CROWDED
    size, alpha, order = DOT / 3 if many else DOT, 0.4 if behind and many else 0.8, 1 if behind else 2
    for which, marker, width in ((own & found.right, "o", 0), (own & ~found.right, "x", 0.9 if many else 1.2)):
        x, y = found.positions[which].T
        axes.scatter(x, y, s=size, marker=marker, color=ink, alpha=alpha, linewidths=width, zorder=order)
