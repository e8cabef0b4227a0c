"""Pictures of a training: curves.png, which is metrics.csv drawn, and the learning-rate range test."""

import io
import warnings
from collections.abc import Mapping, Sequence
from math import isfinite
from statistics import median
from typing import TYPE_CHECKING

from resnet_lab.core.errors import printable
from resnet_lab.core.history import Epoch
from resnet_lab.core.size_schedule import mark_sizes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from resnet_lab.train.find_lr import RangeTest

BLUE, ORANGE = "#0072B2", "#D55E00"  # Okabe and Ito's colour-blind safe palette
GREY = "0.5"
LOSS = "cross-entropy (nats)"
MARKED = 50
"""Epochs up to which each is a point on its line."""


def draw_curves(epochs: Sequence[Epoch], title: str, best_epoch: int, sizes: Mapping[int, int] | None = None) -> bytes:
    """PNG of losses and macro-averaged accuracies against epochs, the best one marked.

    Losses far above the others, as a diverging network's, are marks at the upper edge and leave the scale as it was.

    Args:
        sizes: of the images trained on in pixels, by the first epoch of each, where they differ.
    """
    from matplotlib.ticker import MaxNLocator

    figure = _figure(9, title)
    losses, accuracies = figure.subplots(1, 2)
    numbers = [epoch.epoch for epoch in epochs]
    for panel, label, train, val in (
        (losses, LOSS, "train_loss", "val_loss"),
        (accuracies, "macro-averaged accuracy", "train_macro_accuracy", "val_macro_accuracy"),
    ):
        for name, key, colour, marker in (("training", train, BLUE, "o"), ("validation", val, ORANGE, "s")):
            values = [getattr(epoch, key) for epoch in epochs]
            shape = marker if len(epochs) <= MARKED else ""
            panel.plot(numbers, values, marker=shape, markersize=3.5, color=colour, label=name)
        panel.axvline(best_epoch, color=GREY, linestyle=":", label=f"best epoch ({best_epoch})")
        mark_sizes(panel, sizes or {}, numbers[-1], GREY)
        panel.set(xlabel="epoch", ylabel=label, xlim=(numbers[0] - 0.5, numbers[-1] + 0.5))
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        panel.grid(alpha=0.3)
    _limit(losses, epochs)
    accuracies.set_ylim(top=1.01)
    handles, labels = losses.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return _png(figure)


def _limit(panel: "Axes", epochs: Sequence[Epoch]) -> None:
    """Let the scale end at twice what is usual, and mark what lies beyond."""
    train, val = [epoch.train_loss for epoch in epochs], [epoch.val_loss for epoch in epochs]
    usual = [loss for loss in val if isfinite(loss)] or train
    top = 2 * max(train[0], median(train), median(usual))
    panel.set_ylim(bottom=0)
    beyond = False
    for values, colour in ((train, BLUE), (val, ORANGE)):
        if numbers := [epoch.epoch for epoch, value in zip(epochs, values, strict=True) if not value <= top]:
            label = "" if beyond else "beyond the scale"
            panel.plot(numbers, [top] * len(numbers), "^", color=colour, clip_on=False, label=label)
            panel.set_ylim(top=top)
            beyond = True


def draw_range_test(result: "RangeTest", title: str) -> bytes:
    """PNG of the loss against the learning rate, with the rate that is suggested."""
    figure = _figure(6, title)
    panel = figure.subplots()
    panel.plot(result.rates, result.losses, ".", markersize=4, color=BLUE, alpha=0.4, label="each step")
    panel.plot(result.rates, result.smoothed, color=BLUE, label="smoothed")
    panel.axvline(result.suggestion, color=ORANGE, linestyle="--", label=f"suggested: {result.suggestion:.2g}")
    panel.set(xscale="log", xlabel="learning rate", ylabel=LOSS, ylim=(0, 1.5 * result.smoothed[0]))
    panel.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return _png(figure)


def _figure(width: float, title: str) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 3.6), layout="constrained")
    figure.suptitle(printable(title), parse_math=False)
    return figure


def _png(figure: "Figure") -> bytes:
    content = io.BytesIO()
    with warnings.catch_warnings():  # a typeface lacks letters of some scripts
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure.savefig(content, format="png", dpi=150)
    return content.getvalue()
