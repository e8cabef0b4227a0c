"""Figures of several runs, standalone with a title, or for a page without one."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from resnet_lab.core.figure_names import figure_name
from resnet_lab.core.history import Epoch
from resnet_lab.evaluation.metrics.headline import NOT_SHARES, Interval
from resnet_lab.report.figure_style import LINES, Palette, above, fitted, outside, panel
from resnet_lab.report.run_plots import ACCURACY, LETTERS, LOSS

Histories = Mapping[str, Sequence[Epoch]]
"""Epochs by the name of the run."""


def losses(histories: Histories, inks: Palette, title: str = "") -> Figure:
    """Validation losses against epochs."""
    return _validation(histories, inks, title, LOSS, lambda epoch: epoch.val_loss)


def accuracies(histories: Histories, inks: Palette, title: str = "") -> Figure:
    """Validation macro accuracies against epochs."""
    return _validation(histories, inks, title, ACCURACY, lambda epoch: epoch.val_macro_accuracy)


def _validation(histories: Histories, inks: Palette, title: str, label: str, value: Callable[[Epoch], float]) -> Figure:
    figure, axes = panel(title)
    for (name, history), (colour, line) in zip(histories.items(), looks(inks), strict=False):
        numbers = [epoch.epoch for epoch in history]
        values = [value(epoch) for epoch in history]
        axes.plot(numbers, values, line, color=colour, marker="o", markersize=3.5, label=fitted(name, 17))
    axes.set(xlabel="epoch", ylabel=f"validation {label}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid()
    above(axes, columns=2)
    return figure


def headlines(figures: Mapping[str, Mapping[str, Interval]], inks: Palette, title: str) -> Figure:
    """Shares of each run as dots with their intervals as bars."""
    names = [name for name in next(iter(figures.values())) if name not in NOT_SHARES]
    figure, axes = panel(title, 7, 1.0 + (0.2 + 0.2 * len(figures)) * len(names))
    _draw_side_by_side(
        axes,
        {run: [_row(each[name]) for name in names] for run, each in figures.items()},
        inks,
    )
    axes.set(xlim=(0, 1), xlabel="share, with its 95% interval")
    axes.set_yticks(range(len(names)), [figure_name(name) for name in names])
    outside(figure, axes, columns=2)
    return figure


def differences(found: Mapping[str, Mapping[str, Interval]], inks: Palette, title: str) -> Figure:
    """Differences to the first run, with paired intervals."""
    names = [name for name in next(iter(found.values())) if name not in NOT_SHARES]
    figure, axes = panel(title, 7, 1.0 + (0.2 + 0.2 * len(found)) * len(names))
    rows = {run: [_row(each[name]) for name in names] for run, each in found.items()}
    _draw_side_by_side(axes, rows, inks, first=1)
    axes.axvline(0, color=inks.ink, linewidth=1)
    axes.set(xlabel="difference to the first run, with its paired 95% interval")
    axes.set_yticks(range(len(names)), [figure_name(name) for name in names])
    outside(figure, axes, columns=2)
    return figure


def _row(figure: Interval) -> tuple[float, float, float]:
    """Low, value, high; a bar without length where there is no interval."""
    low, high = figure.ends or (figure.value, figure.value)
    return low, figure.value, high


def recalls(
    classes: Sequence[str], found: Mapping[str, Sequence[tuple[float, float, float]]], inks: Palette, title: str
) -> Figure:
    """Recall of each class by run, with Wilson's intervals: low, value, high."""
    figure, axes = panel(title, 7, 1.0 + (0.12 + 0.14 * len(found)) * len(classes))
    _draw_side_by_side(axes, found, inks)
    axes.set(xlim=(0, 1), xlabel="recall, with Wilson's 95% interval")
    axes.set_yticks(range(len(classes)), [fitted(name, LETTERS) for name in classes])
    outside(figure, axes, columns=2)
    return figure


def _draw_side_by_side(
    axes: Axes, rows: Mapping[str, Sequence[tuple[float, float, float]]], inks: Palette, first: int = 0
) -> None:
    """Draw low, value and high of each run and row.

    Args:
        first: number of the first run, which gives its colour.
    """
    step = 0.7 / len(rows)
    colours = [colour for colour, _ in looks(inks)][first:]
    for number, ((run, values), colour) in enumerate(zip(rows.items(), colours, strict=False)):
        places = [row + step * (number - (len(rows) - 1) / 2) for row in range(len(values))]
        axes.hlines(
            places, [low for low, _, _ in values], [high for _, _, high in values], color=colour, alpha=0.4, linewidth=4
        )
        axes.plot(
            [value for _, value, _ in values], places, "o", color=colour, markersize=5, label=fitted(run, LETTERS)
        )
    axes.set_ylim(len(next(iter(rows.values()))) - 0.5, -0.5)
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)


def looks(inks: Palette) -> list[tuple[str, str]]:
    """Colour and line of each run; no two are alike in both."""
    return list(_looks(inks))


def _looks(inks: Palette) -> Iterator[tuple[str, str]]:
    for around in range(len(LINES)):
        for number, colour in enumerate(inks.runs):
            yield colour, LINES[(number + around) % len(LINES)]
