"""Spread that a mean over seeds hides: outliers, skew, and runs that collapse. Legend: S seeds, A arms."""

from collections.abc import Sequence
from math import log, sqrt

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

FEWEST_SPREAD = 5
"""Values below which nothing is called an outlier or skewed."""

BOUND = 5.0
"""Robust standard deviations beyond which a value is an outlier: 4 to 7% of sets of 6 to 10 normal values have one."""

LEAST_DROP = 0.05
"""What a collapse loses at least, in the metric's unit, so that runs that hardly differ have none."""


def robust_deviation(deviations: Floats) -> float:
    """Standard deviation by the median absolute deviation from 0, 1.4826 times that, as of normal values."""
    return 1.4826 * float(np.median(np.abs(deviations)))


def outliers(values: Sequence[float]) -> Flags:
    """Values further from their median than `BOUND` robust standard deviations, shape (S,)."""
    deviations = np.asarray(values, dtype=float) - np.median(values)
    if len(deviations) < FEWEST_SPREAD:
        return np.zeros(len(deviations), dtype=bool)
    found: Flags = np.abs(deviations) > BOUND * robust_deviation(deviations) + 1e-12
    return found


def skewness(values: Sequence[float]) -> float | None:
    """Sample skewness G1 (Joanes and Gill 1998, doi:10.1111/1467-9884.00122); None of too few values or equal ones."""
    n, centred = len(values), np.asarray(values, dtype=float) - np.mean(values)
    if n < FEWEST_SPREAD or np.ptp(centred) <= 1e-12 * np.max(np.abs(values)):
        return None
    biased = np.mean(centred**3) / np.mean(centred**2) ** 1.5
    return float(biased * np.sqrt(n * (n - 1)) / (n - 2))


def is_skewed(values: Sequence[float]) -> bool:
    """Whether the skewness is more than twice its standard error in normal values, as in 5% of these."""
    n, found = len(values), skewness(values)
    return found is not None and abs(found) > 2 * sqrt(6 * n * (n - 1) / ((n - 2) * (n + 1) * (n + 3)))


def score_of_guessing(metric: str, classes: int) -> float:
    """Score of a network that has learned nothing, on balanced classes: of equal probabilities."""
    if metric == "log_loss":
        return log(classes)
    return 1 - 1 / classes if metric == "brier" else min(1.0, (5 if metric == "top5_accuracy" else 1) / classes)


def collapses(scores: Floats, guessing: float, *, higher_is_better: bool = True) -> Flags:
    """Runs that collapsed, shape (S, A): at chance level, or far below the other runs of their arm.

    Far is more than `BOUND` robust standard deviations below the arm's median, and `LEAST_DROP` at least. The deviation
    is that of all arms from their medians: few seeds estimate it poorly, and an arm's own hides its frequent collapses.

    Args:
        scores: shape (S, A), NaN where a trial failed or has not finished.
        guessing: score at chance level.
    """
    gains = scores if higher_is_better else -scores
    found: Flags = gains <= (guessing if higher_is_better else -guessing) + 1e-9
    finished = ~np.isnan(gains)
    whole = finished.sum(0) >= FEWEST_SPREAD
    if whole.any():
        deviations = gains[:, whole] - np.nanmedian(gains[:, whole], axis=0)
        bound = max(LEAST_DROP, BOUND * robust_deviation(deviations[finished[:, whole]]))
        found[:, whole] |= deviations < -bound
    return found


def unseen(runs: int, error: float = 0.05) -> float:
    """Greatest share of runs that may collapse although none of so many did, with an error of 5%."""
    return float(1 - error ** (1 / runs))
