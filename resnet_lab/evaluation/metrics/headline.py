"""Headline figures of predictions, each with an interval over images. Legend: N images, K classes, B resamples.

A resample is a row of weights: how often each image is in it. All figures are functions of such weights, so that those
of thousands of resamples are a few matrix products; the figures themselves are those of one row of ones.

Efron 1987, "Better Bootstrap Confidence Intervals", doi:10.1080/01621459.1987.10478410.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import ndtr, ndtri

from resnet_lab.evaluation.metrics.proportions import (
    Ends,
    bonett_price,
    bonett_price_over_classes,
    wilson,
    wilson_over_classes,
)
from resnet_lab.evaluation.metrics.ranks import ranks_of_truth
from resnet_lab.evaluation.metrics.scores import brier_scores, log_losses, true_probabilities

Floats = NDArray[np.float64]
Figures = Callable[[Floats], dict[str, Floats]]
"""Weights (B, N) to figures by name, each (B,)."""

RESAMPLES = 2000
LEVEL = 0.95
SEED = 0
"""The same predictions give the same intervals."""

SIMULTANEOUS = 2**22
"""Weights that are in memory at a time."""

JACKKNIFED = 400
"""Groups of images that are left out in turn, at most; the images themselves where they are no more."""

NAMES = (
    "accuracy",
    "macro_accuracy",
    "macro_precision",
    "macro_recall",
    "macro_f1",
    "weighted_precision",
    "weighted_recall",
    "weighted_f1",
    "top5_accuracy",
    "log_loss",
    "brier",
    "mean_p_true",
)
NOT_SHARES = ("log_loss", "brier")
"""Figures that are no shares or probabilities; of both lower is better."""

OF_PROBABILITIES = {"log_loss": log_losses, "brier": brier_scores, "mean_p_true": true_probabilities}
"""Figures that are means over images of a value of their probabilities."""

SHARES = {"accuracy": "accuracy", "weighted_recall": "accuracy", "top5_accuracy": "top5_accuracy"}
"""Figures that are shares of images, by the images that they count."""

CLASS_MEANS = ("macro_accuracy", "macro_recall")
RATIOS = ("macro_precision", "macro_f1", "weighted_precision", "weighted_f1")

FEWEST = 5
"""Images of a class, or right or wrong answers, below which a bootstrap draws too little variety to hold."""

FEWEST_CHANGED = 10
"""The same of images on which two networks differ."""

BOOTSTRAP = "BCa bootstrap over images"
WILSON = "Wilson"
WILSON_OVER_CLASSES = "Wilson over classes"
BONETT_PRICE = "Bonett-Price"
BONETT_PRICE_OVER_CLASSES = "Bonett-Price over classes"
SMALL_CLASS = f"none: a class has fewer than {FEWEST} images"
FEW_MISTAKES = f"none: fewer than {FEWEST} images are classified wrongly, or correctly"
FEW_CHANGED = f"none: the two differ on fewer than {FEWEST_CHANGED} images"


@dataclass(frozen=True)
class Interval:
    """A figure with its confidence interval.

    Attributes:
        ends: None where no interval would hold.
        method: how the interval was computed, or why there is none.
    """

    value: float
    ends: Ends | None
    method: str = BOOTSTRAP


def headline(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> dict[str, float]:
    """The figures of `NAMES` of true classes (N,) and probabilities (N, K); `top5_accuracy` for K over 5 alone.

    A precision, recall or F1 whose denominator is 0 counts as 0, which is scikit-learn's `zero_division=0`; the means
    over classes are over all K. `macro_accuracy` is over the classes that have images: `balanced_accuracy_score`.
    """
    figures = FiguresOf(labels, probabilities)
    return {name: float(values[0]) for name, values in figures(np.ones((1, len(labels)))).items()}


def intervals(
    labels: NDArray[np.int64],
    probabilities: NDArray[np.float32],
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> dict[str, Interval]:
    """`headline` with intervals over images.

    They are bias-corrected and accelerated bootstrap intervals, but where the images do not vary enough: with fewer
    than `FEWEST` of a class, or right, or wrong. There, shares and their means over classes have Wilson's interval, and
    the other figures have none.
    """
    n, num_classes = probabilities.shape
    found = _bootstrapped(FiguresOf(labels, probabilities), n, resamples, level)
    sizes = _sizes(labels)
    few_answers, small = _few(found["accuracy"].value, n), bool(sizes.min() < FEWEST)
    for name, each in found.items():
        if name in SHARES and _few(each.value, n):
            found[name] = Interval(each.value, wilson(each.value, n, level), WILSON)
        elif name in CLASS_MEANS and (small or few_answers):
            ends = wilson_over_classes(found["macro_accuracy"].value, sizes, level)
            found[name] = Interval(each.value, _of_all_classes(name, ends, sizes, num_classes), WILSON_OVER_CLASSES)
        elif name in RATIOS and small:
            found[name] = Interval(each.value, None, SMALL_CLASS)
        elif (name in RATIOS or name in OF_PROBABILITIES) and few_answers:
            found[name] = Interval(each.value, None, FEW_MISTAKES)
    return found


def paired_intervals(
    labels: NDArray[np.int64],
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> dict[str, Interval]:
    """Differences of `headline`, second less first, of the same images.

    Shares and their means over classes have the interval of Bonett and Price; the other figures a bootstrap interval
    that draws the same images for both, or none where these vary too little.
    """
    before, after = FiguresOf(labels, first), FiguresOf(labels, second)

    def differences(weights: Floats) -> dict[str, Floats]:
        old, new = before(weights), after(weights)
        return {name: new[name] - old[name] for name in new}

    found = _bootstrapped(differences, len(labels), resamples, level)
    sizes = _sizes(labels)
    few_changed = np.sum(first.argmax(1) != second.argmax(1)) < FEWEST_CHANGED
    for name, each in found.items():
        if name in SHARES:
            ends = _paired_share(before, after, name, level)
            found[name] = Interval(each.value, ends, BONETT_PRICE)
        elif name in CLASS_MEANS:
            ends = _paired_class_mean(labels, before, after, level)
            ends = _of_all_classes(name, ends, sizes, first.shape[1])
            found[name] = Interval(each.value, ends, BONETT_PRICE_OVER_CLASSES)
        elif name in RATIOS and sizes.min() < FEWEST:
            found[name] = Interval(each.value, None, SMALL_CLASS)
        elif few_changed if name in RATIOS else _few_differ(before.of_images[name], after.of_images[name]):
            found[name] = Interval(each.value, None, FEW_CHANGED)
    return found


def _few_differ(before: Floats, after: Floats) -> bool:
    return bool(np.sum(before != after) < FEWEST_CHANGED)


def _few(share: float, n: int) -> bool:
    return min(share, 1 - share) * n < FEWEST - 0.5


def _sizes(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    support = np.bincount(labels)
    return support[support > 0]


def _of_all_classes(name: str, ends: Ends, sizes: NDArray[np.int64], num_classes: int) -> Ends:
    """Ends for a mean over the classes with images, scaled where the figure is a mean over all."""
    share = len(sizes) / num_classes if name == "macro_recall" else 1.0
    return share * ends[0], share * ends[1]


def _paired_share(before: "FiguresOf", after: "FiguresOf", name: str, level: float) -> Ends:
    mended = after.of_images[SHARES[name]] - before.of_images[SHARES[name]]
    return bonett_price(float(mended.mean()), float(np.abs(mended).mean()), len(mended), level)


def _paired_class_mean(labels: NDArray[np.int64], before: "FiguresOf", after: "FiguresOf", level: float) -> Ends:
    mended = after.of_images["accuracy"] - before.of_images["accuracy"]
    support = np.bincount(labels)
    there = support > 0
    differences, disagreements = (
        np.bincount(labels, weights=values)[there] / support[there] for values in (mended, np.abs(mended))
    )
    return bonett_price_over_classes(differences, disagreements, support[there], level)


def _bootstrapped(figures: "Figures", n: int, resamples: int, level: float) -> dict[str, Interval]:
    values = figures(np.ones((1, n)))
    drawn = _stacked(figures, resampled(n, resamples))
    left_out = _stacked(figures, _jackknifed(n))
    return {
        name: Interval(float(value[0]), accelerated(float(value[0]), drawn[name], left_out[name], level))
        for name, value in values.items()
    }


def resampled(n: int, resamples: int) -> Iterator[Floats]:
    """Weights of `resamples` draws of n images with replacement, in pieces of shape (b, N)."""
    generator = np.random.default_rng(SEED)
    size = max(1, SIMULTANEOUS // n)
    for start in range(0, resamples, size):
        rows = min(size, resamples - start)
        drawn = generator.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
        # transposed in memory, as a product with a sparse matrix wants them: else each product copies them
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64, order="F")


def accelerated(value: float, drawn: Floats, left_out: Floats, level: float) -> Ends:
    """Ends of the BCa interval: Efron 1987, section 3.

    Args:
        value: of all images.
        drawn: values of resamples, shape (B,).
        left_out: values without one image or group each.
    """
    below = (np.mean(drawn < value) + np.mean(drawn <= value)) / 2
    if not 0 < below < 1:  # all resamples are alike, or all on one side
        low, high = np.quantile(drawn, ((1 - level) / 2, (1 + level) / 2))
        return float(low), float(high)
    bias = ndtri(below)
    pull = left_out.mean() - left_out
    spread = np.sum(pull**2) ** 1.5
    acceleration = np.sum(pull**3) / (6 * spread) if spread > 0 else 0.0
    ends = bias + ndtri(((1 - level) / 2, (1 + level) / 2))
    shares = ndtr(bias + ends / (1 - acceleration * ends))
    low, high = np.quantile(drawn, shares)
    return float(low), float(high)


def _stacked(figures: "Figures", pieces: Iterator[Floats]) -> dict[str, Floats]:
    found = [figures(weights) for weights in pieces]
    return {name: np.concatenate([piece[name] for piece in found]) for name in found[0]}


def _jackknifed(n: int) -> Iterator[Floats]:
    groups = np.random.default_rng(SEED).permutation(np.arange(n) % JACKKNIFED)
    size = max(1, SIMULTANEOUS // n)
    number = min(n, JACKKNIFED)
    for start in range(0, number, size):
        yield (groups != np.arange(start, min(start + size, number))[:, None]).astype(np.float64)


class FiguresOf:
    """The figures of predictions, as a function of weights (B, N) of the images: by name, each (B,).

    Args:
        labels: true classes, shape (N,).
        probabilities: shape (N, K).
        names: of the figures that are wanted.

    Attributes:
        of_images: value of each image, (N,), of the figures that are means over images.
    """

    def __init__(
        self, labels: NDArray[np.int64], probabilities: NDArray[np.float32], names: Sequence[str] = NAMES
    ) -> None:
        n, num_classes = probabilities.shape
        predictions = probabilities.argmax(1)
        right = (labels == predictions).astype(np.float64)
        ones = np.ones(n)
        # three marks a row, so that one product counts images, right ones and predictions of every class
        values = np.stack((ones, right, ones), axis=1).ravel()
        places = np.stack((labels, labels + num_classes, predictions + 2 * num_classes), axis=1).ravel()
        self._marks = csr_array((values, places, np.arange(0, 3 * n + 1, 3)), shape=(n, 3 * num_classes))
        self.of_images = {"accuracy": right}
        self.of_images |= {name: of_images(labels, probabilities) for name, of_images in OF_PROBABILITIES.items()}
        if num_classes > 5:
            self.of_images["top5_accuracy"] = (ranks_of_truth(labels, probabilities) <= 5).astype(np.float64)
        self._names = [name for name in names if name != "top5_accuracy" or num_classes > 5]

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        total = weights.sum(1)
        support, right, predicted = np.split(weights @ self._marks, 3, axis=1)
        share = support / total[:, None]
        precision, recall = partial(_ratio, right, predicted), partial(_ratio, right, support)
        f1 = partial(_ratio, 2 * right, support + predicted)
        formulas: dict[str, Callable[[], Floats]] = {
            "macro_accuracy": lambda: recall().sum(1) / (support > 0).sum(1),
            "macro_precision": lambda: precision().mean(1),
            "macro_recall": lambda: recall().mean(1),
            "macro_f1": lambda: f1().mean(1),
            "weighted_precision": lambda: (share * precision()).sum(1),
            "weighted_recall": lambda: right.sum(1) / total,
            "weighted_f1": lambda: (share * f1()).sum(1),
        }
        return {
            name: formulas[name]() if name in formulas else weights @ self.of_images[name] / total
            for name in self._names
        }


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)
