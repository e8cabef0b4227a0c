"""Sanity check of maps: a map that random weights hardly change shows the image rather than the network.

Adebayo et al. 2018, arXiv:1810.03292, section 3: maps before and after randomising
the weights, compared by Spearman's rank correlation.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from resnet_lab.evaluation.explanation.explaining import Explainer, Explanation
from resnet_lab.network.builder import assemble
from resnet_lab.network.plugins import Registry

SEED = 181003292
"""Of the random weights; far from the seeds of runs, whose own initial weights would be no independent ones."""


class SanityCheck:
    """Compares maps with those of a second network of the same spec, whose weights are random.

    Args:
        explainer: that the maps are by.
        registry: of the network's components.
    """

    def __init__(self, explainer: Explainer, registry: Registry) -> None:
        self._random = explainer.of_network(assemble(explainer.metadata.spec, registry, seed=SEED).model.eval())

    def correlations(self, explanations: Sequence[Explanation]) -> list[float | None]:
        """Rank correlation of each explanation's first map with that of the same class by random weights.

        Raises:
            CheckpointError: the random network's outputs are not numbers.
        """
        classes = self._random.metadata.classes
        maps = [each.maps[0] for each in explanations]
        pictures = np.stack([each.picture for each in explanations])
        others = self._random.explain(pictures, wanted=[classes.index(one.name) for one in maps])
        return [rank_correlation(one.values, other.maps[0].values) for one, other in zip(maps, others, strict=True)]


def rank_correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float | None:
    """Spearman's rank correlation of two maps of one shape, in [-1, 1]; None where a map is the same everywhere."""
    if min(np.ptp(one), np.ptp(other)) == 0:
        return None
    return float(spearmanr(one.ravel(), other.ravel()).statistic)
