"""Plots of the sizes of images."""

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from resnet_lab.data.description import Sizes
from resnet_lab.report.figure_style import PAGE, THOUSANDS, inline_svg, panel, styled

DATA, MARK = PAGE.first, PAGE.second
ASPECTS = {1 / 4: "1:4", 1 / 2: "1:2", 1.0: "1:1", 2.0: "2:1", 4.0: "4:1"}
BARS = np.geomspace(1 / 4.2, 4.2, 42)
"""Edges of the bars of aspects, the middle one around 1; broader and narrower pictures count in the outermost."""

MARGIN = 0.12
"""Around the logarithms of the smallest and the largest size."""


def size_plots(sizes: Sizes, side: int) -> list[Markup]:
    """Heights against widths, and aspects; none where all images are of one size.

    Args:
        side: of the square that images are brought into, in pixels.
    """
    if all(spread.smallest == spread.largest for spread in sizes.spreads.values()):
        return []
    with styled(PAGE):
        return [_heights_against_widths(sizes, side), _aspects(sizes)]


def _heights_against_widths(sizes: Sizes, side: int) -> Markup:
    figure, axes = _axes("width (pixels)", "height (pixels)")
    shades = LinearSegmentedColormap.from_list("shades", [(*matplotlib.colors.to_rgb(DATA), at) for at in (0.3, 1)])
    widths, heights = np.log10(sizes.widths), np.log10(sizes.heights)
    low, high = _padded(np.concatenate([widths, heights, [np.log10(side)]]))
    cells = axes.hexbin(widths, heights, gridsize=36, mincnt=1, extent=(low, high, low, high), bins="log", cmap=shades)
    cells.set_linewidth((0.2, 0.2))  # two, as matplotlib loses a single cell that it takes for a marker
    axes.set(xlim=(low, high), ylim=(low, high))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator(_round_sizes(low, high)))
        axis.set_major_formatter(lambda value, _: f"{10**value:,.0f}")
    for line in (axes.axvline, axes.axhline):
        line(np.log10(side), color=MARK, linestyle="--", linewidth=1.2)
    axes.annotate(
        f"{side}", (np.log10(side), 1), xycoords=("data", "axes fraction"), color=MARK, ha="center", va="bottom"
    )
    width, height = sizes.spreads["width"], sizes.spreads["height"]
    return inline_svg(
        figure,
        "sizes",
        f"Heights against widths: widths from {width.smallest:,.0f} to {width.largest:,.0f} pixels, "
        f"heights from {height.smallest:,.0f} to {height.largest:,.0f}",
    )


def _padded(logarithms: NDArray[np.float64]) -> tuple[float, float]:
    return float(logarithms.min()) - MARGIN, float(logarithms.max()) + MARGIN


def _round_sizes(low: float, high: float) -> list[float]:
    """Logarithms of sizes to write at an axis: 1, 2, 5, 10, ... or, over more than two decades, powers of ten."""
    steps = (1, 2, 5) if high - low < 2.3 else (1,)
    sizes = [np.log10(step) + decade for decade in range(6) for step in steps]
    return [float(size) for size in sizes if low <= size <= high]


def _aspects(sizes: Sizes) -> Markup:
    figure, axes = _axes("width : height", "images")
    axes.set_xscale("log")
    axes.hist(np.clip(sizes.widths / sizes.heights, BARS[0], BARS[-1]), bins=BARS.tolist(), color=DATA)
    axes.axvline(1, color=MARK, linestyle="--", linewidth=1.2)
    axes.annotate("square", (1, 1), xycoords=("data", "axes fraction"), color=MARK, ha="center", va="bottom")
    axes.xaxis.set_major_locator(FixedLocator(list(ASPECTS)))
    axes.xaxis.set_major_formatter(FixedFormatter(list(ASPECTS.values())))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(THOUSANDS)
    spread = sizes.spreads["aspect"]
    return inline_svg(
        figure,
        "aspects",
        f"Width by height: from {spread.smallest:.2f} to {spread.largest:.2f}, the median is {spread.median:.2f}",
    )


def _axes(x: str, y: str) -> tuple[Figure, Axes]:
    figure, axes = panel()
    axes.set(xlabel=x, ylabel=y)
    return figure, axes
