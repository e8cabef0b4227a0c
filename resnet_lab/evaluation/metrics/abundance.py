"""Whether classes with more training images are recognised better. Legend: K classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

FEWEST = 4
"""Classes below which a correlation is not informative: of three, one order in six is perfect by chance."""

PERMUTATIONS = 1999
SIMULTANEOUS = 2**20
"""Recalls that are in memory at a time."""

TOLERANCE = 1e-9
"""Correlations nearer than this are equal."""


@dataclass(frozen=True)
class Abundance:
    """Training images against recall, by class.

    Attributes:
        classes: those that have images in the evaluated part.
        train_images, recalls, supports: of each of them.
        correlation: Spearman's rank correlation of the first two; None for fewer than `FEWEST` classes, or where all
            are equal.
        p_value: two-sided, of that correlation where right and wrong answers are permuted over all images: the
            hypothesis is that all classes have one recall. Recalls of few images have ties and gaps that those of many
            do not have, so that recalls permuted over classes would make a correlation of these alone.
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
        order = _standardised(np.array(images))
        correlation = float(_standardised(np.array(values)) @ order)
        p_value = _p_value(correlation, order, np.array(numbers), round(float(np.dot(values, numbers))))
    return Abundance(names, images, values, numbers, correlation, p_value)


def _p_value(correlation: float, order: NDArray[np.float64], supports: NDArray[np.int64], right: int) -> float:
    """Twice the smaller tail, the observed correlation among the permuted ones."""
    draw = np.random.default_rng(0)
    size = max(1, SIMULTANEOUS // len(supports))
    permuted = np.concatenate(
        [
            _standardised(
                draw.multivariate_hypergeometric(supports, right, size=min(size, PERMUTATIONS - start)) / supports
            )
            @ order
            for start in range(0, PERMUTATIONS, size)
        ]
    )
    below, above = np.sum(permuted <= correlation + TOLERANCE), np.sum(permuted >= correlation - TOLERANCE)
    return min(1.0, 2 * (1 + int(min(below, above))) / (1 + PERMUTATIONS))


def _standardised(values: NDArray[Any]) -> NDArray[np.float64]:
    """Ranks with mean 0 and length 1 along the last axis, so that a correlation is a sum of products; 0 of equals."""
    ranks = rankdata(values, axis=-1) - (values.shape[-1] + 1) / 2
    length = np.linalg.norm(ranks, axis=-1, keepdims=True)
    standardised: NDArray[np.float64] = np.divide(ranks, length, out=np.zeros_like(ranks), where=length > 0)
    return standardised
