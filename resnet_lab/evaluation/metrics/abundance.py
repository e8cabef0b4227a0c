"""Whether classes with more training images are recognised better. Legend: K classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import permutation_test, rankdata

FEWEST = 4
"""Classes below which a correlation says nothing: of three, one order in six is perfect by chance."""


@dataclass(frozen=True)
class Abundance:
    """Training images against recall, by class.

    Attributes:
        classes: those that have images in the evaluated part.
        train_images, recalls, supports: of each of them.
        correlation: Spearman's rank correlation of the first two; None for fewer than `FEWEST` classes, or where all
            are equal.
        p_value: of a two-sided permutation test of it.
    """

    classes: tuple[str, ...]
    train_images: tuple[int, ...]
    recalls: tuple[float, ...]
    supports: tuple[int, ...]
    correlation: float | None
    p_value: float | None


def abundance(
    classes: Sequence[str], train_images: Sequence[int], recalls: Sequence[float], supports: Sequence[int]
) -> Abundance:
    """Recall of all classes, each given by its position; those without evaluated images are left out."""
    rows = [row for row in zip(classes, train_images, recalls, supports, strict=True) if row[3]]
    names, images, values, numbers = zip(*rows, strict=True)
    correlation = p_value = None
    if len(rows) >= FEWEST and len(set(images)) > 1 and len(set(values)) > 1:
        ranks = _standardised(values)
        test = permutation_test(
            (_standardised(images),),
            lambda order, axis: np.sum(order * ranks, axis=axis),
            vectorized=True,
            permutation_type="pairings",
            n_resamples=9999,
            rng=np.random.default_rng(0),
        )
        correlation, p_value = float(test.statistic), float(test.pvalue)
    return Abundance(names, images, values, numbers, correlation, p_value)


def _standardised(values: Sequence[float]) -> NDArray[np.float64]:
    """Ranks with mean 0 and length 1, so that a correlation is a sum of products."""
    ranks = rankdata(values) - (len(values) + 1) / 2
    standardised: NDArray[np.float64] = ranks / np.linalg.norm(ranks)
    return standardised
