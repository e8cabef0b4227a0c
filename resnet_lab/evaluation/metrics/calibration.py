"""Calibration of confidence. Legend: N images, K classes.

Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599, section 2: 15 bins of equal width.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 15


DRAWS = 2000
"""Test parts of a perfectly calibrated network that are simulated."""


@dataclass(frozen=True)
class Bin:
    """Images whose confidence, the probability of the predicted class, is within the bin.

    Attributes:
        low, high: its ends; `low` belongs to the bin below, but for 0.
        confidence: mean over its images.
        accuracy: share of them classified correctly.
        n: images; bins without any are left out.
    """

    low: float
    high: float
    confidence: float
    accuracy: float
    n: int


@dataclass(frozen=True)
class Calibration:
    """Calibration: distance between confidence and accuracy.

    Attributes:
        error: mean over images of that distance in their bin: the expected calibration error.
        by_chance: its range, 95% of the time, for a network with these confidences that is perfectly calibrated: of
            few images the error is never 0, and a bootstrap would add to that bias instead of removing it.
        bins: the reliability diagram.
    """

    error: float
    by_chance: tuple[float, float]
    bins: tuple[Bin, ...]


def calibration(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> Calibration:
    """Measure calibration from true classes (N,) and probabilities (N, K)."""
    bins = reliability(labels, probabilities)
    return Calibration(expected_calibration_error(bins), _by_chance(probabilities.max(1).astype(np.float64)), bins)


def _by_chance(confidences: NDArray[np.float64]) -> tuple[float, float]:
    """Bröcker and Smith 2007, "Increasing the Reliability of Reliability Diagrams", doi:10.1175/WAF993.1."""
    generator, numbers = np.random.default_rng(0), bin_of(confidences)
    order = np.argsort(numbers, kind="stable")
    starts = np.unique(numbers[order], return_index=True)[1]
    errors = []
    for _ in range(DRAWS):
        gaps = (generator.random(len(confidences)) < confidences) - confidences
        errors.append(np.abs(np.add.reduceat(gaps[order], starts)).sum() / len(confidences))
    low, high = np.quantile(errors, (0.025, 0.975))
    return float(low), float(high)


def bin_of(confidences: NDArray[np.float64]) -> NDArray[np.int64]:
    """Number of each confidence's bin, (lower end, upper end], shape (N,)."""
    return np.clip(np.ceil(confidences * BINS).astype(np.int64) - 1, 0, BINS - 1)


def reliability(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> tuple[Bin, ...]:
    """Bins of confidence with what is right in each: the reliability diagram."""
    confidences = probabilities.max(1).astype(np.float64)
    right = labels == probabilities.argmax(1)
    numbers = bin_of(confidences)
    return tuple(
        Bin(
            low=number / BINS,
            high=(number + 1) / BINS,
            confidence=float(confidences[numbers == number].mean()),
            accuracy=float(right[numbers == number].mean()),
            n=int(np.sum(numbers == number)),
        )
        for number in np.unique(numbers).tolist()
    )


def expected_calibration_error(bins: tuple[Bin, ...]) -> float:
    """Mean over images of the distance between accuracy and confidence in their bin."""
    total = sum(each.n for each in bins)
    return sum(each.n * abs(each.accuracy - each.confidence) for each in bins) / total
