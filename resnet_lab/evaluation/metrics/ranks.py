"""Ranks of the true class among a network's answers. Legend: N images, K classes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LAST = 5
"""Rank up to which each has a row of its own."""


@dataclass(frozen=True)
class Rank:
    """Images whose true class is at one rank of the network's answers, or beyond the last one shown.

    Attributes:
        rank: 1 where the network is right; `LAST` + 1 stands for that and all later ones.
        n: images.
        within: share of all images whose true class is at this rank or before: top-`rank` accuracy.
        confidence: mean probability of the predicted class; None without images.
        truth: mean probability of the true class; None without images.
    """

    rank: int
    n: int
    within: float
    confidence: float | None
    truth: float | None


def ranks_of_truth(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> NDArray[np.int64]:
    """Rank of the true class by probability, from 1, shape (N,); of equals the class that comes first is ahead."""
    own = np.take_along_axis(probabilities, labels[:, None], axis=1)
    earlier = np.arange(probabilities.shape[1]) < labels[:, None]
    ahead = (probabilities > own) | ((probabilities == own) & earlier)
    ranks: NDArray[np.int64] = ahead.sum(1, dtype=np.int64) + 1
    return ranks


def rank_table(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> tuple[Rank, ...]:
    """A row for each rank that there can be."""
    ranks = np.minimum(ranks_of_truth(labels, probabilities), LAST + 1)
    confidences = probabilities.max(1).astype(np.float64)
    truths = np.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0].astype(np.float64)
    rows = []
    for rank in range(1, min(probabilities.shape[1], LAST + 1) + 1):
        there = ranks == rank
        n = int(there.sum())
        means = [float(values[there].mean()) if n else None for values in (confidences, truths)]
        rows.append(Rank(rank, n, float(np.mean(ranks <= rank)), *means))
    return tuple(rows)
