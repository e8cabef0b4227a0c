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
from scipy.stats import norm

from resnet_lab.evaluation.metrics.ranks import ranks_of_truth
from resnet_lab.evaluation.metrics.scores import log_losses

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
)


@dataclass(frozen=True)
class Interval:
    """A figure, and the ends of its confidence interval."""

    value: float
    low: float
    high: float


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
    """`headline` with bias-corrected and accelerated bootstrap intervals over images."""
    found = _bootstrapped(FiguresOf(labels, probabilities), len(labels), resamples, level)
    return {
        name: Interval(each.value, *_of_one_kind(labels, each.value, name, level))
        if each.value in (0, 1) and name != "log_loss"
        else each
        for name, each in found.items()
    }


def paired_intervals(
    labels: NDArray[np.int64],
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> dict[str, Interval]:
    """Differences of `headline`, second less first, of the same images, which are drawn for both together."""
    before, after = FiguresOf(labels, first), FiguresOf(labels, second)

    def differences(weights: Floats) -> dict[str, Floats]:
        old, new = before(weights), after(weights)
        return {name: new[name] - old[name] for name in new}

    return _bootstrapped(differences, len(labels), resamples, level)


def _of_one_kind(labels: NDArray[np.int64], value: float, name: str, level: float) -> tuple[float, float]:
    """Wilson's interval where all answers are right or all wrong, of which a bootstrap draws nothing but the same.

    A mean over classes is as sure as that of K^2 / sum(1 / n_k) images.
    """
    support = np.bincount(labels)
    support = support[support > 0]
    n = len(support) ** 2 / np.sum(1 / support) if name.startswith("macro") else len(labels)
    z = norm.ppf((1 + level) / 2)
    reach = float(z**2 / (n + z**2))
    return (1 - reach, 1.0) if value == 1 else (0.0, reach)


def _bootstrapped(figures: "Figures", n: int, resamples: int, level: float) -> dict[str, Interval]:
    values = figures(np.ones((1, n)))
    drawn = _stacked(figures, resampled(n, resamples))
    left_out = _stacked(figures, _jackknifed(n))
    return {
        name: Interval(float(value[0]), *accelerated(float(value[0]), drawn[name], left_out[name], level))
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


def accelerated(value: float, drawn: Floats, left_out: Floats, level: float) -> tuple[float, float]:
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
    bias = norm.ppf(below)
    pull = left_out.mean() - left_out
    spread = np.sum(pull**2) ** 1.5
    acceleration = np.sum(pull**3) / (6 * spread) if spread > 0 else 0.0
    ends = bias + norm.ppf(((1 - level) / 2, (1 + level) / 2))
    shares = norm.cdf(bias + ends / (1 - acceleration * ends))
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
        self._columns = {"accuracy": right, "log_loss": log_losses(labels, probabilities)}
        if num_classes > 5:
            self._columns["top5_accuracy"] = (ranks_of_truth(labels, probabilities) <= 5).astype(np.float64)
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
            name: formulas[name]() if name in formulas else weights @ self._columns[name] / total
            for name in self._names
        }


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)
