"""Confusion of classes. Legend: K classes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ConfusedPair:
    """Images of `true` that were taken for `predicted`: `n` of the `support` images of that class."""

    true: str
    predicted: str
    n: int
    support: int

    def __str__(self) -> str:
        return f"{self.true} taken for {self.predicted}: {self.n} of {self.support}"


@dataclass(frozen=True)
class Confusion:
    """Images of each class (rows) by the class they were taken for (columns).

    Attributes:
        counts: shape (K, K).
    """

    classes: tuple[str, ...]
    counts: NDArray[np.int64]

    @property
    def shares(self) -> NDArray[np.float64]:
        """Shares of each true class's images, shape (K, K); rows of classes without any are 0."""
        support = self.counts.sum(1, keepdims=True)
        shares: NDArray[np.float64] = np.zeros(self.counts.shape)
        np.divide(self.counts, support, out=shares, where=support > 0)
        return shares

    def by_support(self) -> NDArray[np.int64]:
        """Classes with most images first, shape (K,)."""
        return np.argsort(-self.counts.sum(1), kind="stable").astype(np.int64)

    def by_similarity(self) -> NDArray[np.int64]:
        """Classes ordered so that confused ones are adjacent, shape (K,).

        Average linkage over 1 - the larger share of one taken for the other, with the leaves in their best order.
        """
        if len(self.classes) < 3:
            return np.arange(len(self.classes))
        from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering  # a third of a second
        from scipy.spatial.distance import squareform

        distances = 1 - np.maximum(self.shares, self.shares.T)
        np.fill_diagonal(distances, 0)
        condensed = squareform(distances, checks=False)
        tree = optimal_leaf_ordering(linkage(condensed, "average"), condensed)
        return np.asarray(leaves_list(tree), dtype=np.int64)

    def pairs(self, most: int = 10) -> tuple[ConfusedPair, ...]:
        """The most confused pairs: by images, and between equals by their share of the true class."""
        support = self.counts.sum(1)
        wrong = self._mistakes
        found = [
            ConfusedPair(self.classes[true], self.classes[predicted], int(wrong[true, predicted]), int(support[true]))
            for true, predicted in np.argwhere(wrong > 0).tolist()
        ]
        return tuple(sorted(found, key=lambda pair: (-pair.n, pair.support, pair.true, pair.predicted))[:most])

    def taken_for(self) -> dict[str, tuple[str, int]]:
        """The other class that most images of a class are taken for, and how many; classes without mistakes are out."""
        return {
            name: (self.classes[int(row.argmax())], int(row.max()))
            for name, row in zip(self.classes, self._mistakes, strict=True)
            if row.max()
        }

    @property
    def _mistakes(self) -> NDArray[np.int64]:
        return self.counts - np.diag(np.diag(self.counts))


def confusion(labels: NDArray[np.int64], predictions: NDArray[np.int64], classes: tuple[str, ...]) -> Confusion:
    """Counted from true and predicted classes, both of shape (N,)."""
    size = len(classes)
    counts = np.bincount(labels * size + predictions, minlength=size * size).reshape(size, size)
    return Confusion(classes, counts.astype(np.int64))
