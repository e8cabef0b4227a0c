"""Intervals over seeds and test images, both resampled from stored predictions. Legend: S seeds, B resamples."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from resnet_lab.core.errors import DataError
from resnet_lab.evaluation.metrics.headline import FiguresOf, resampled
from resnet_lab.evaluation.predictions import Predictions
from resnet_lab.study.contrasts import Contrast
from resnet_lab.study.grid import Grid
from resnet_lab.study.statistics import LEVEL

RESAMPLES = 1000

Resampled = NDArray[np.float64]
"""A score in each of B resamples of the test images, shape (B,)."""


def image_interval(contrast: Contrast, drawn: Grid[Resampled]) -> tuple[float, float] | None:
    """Percentile interval of a contrast over seeds and, within each, over test images, both resampled.

    Args:
        drawn: as `drawn_scores` gives them.
    """
    needed = np.flatnonzero(contrast.weights).tolist()
    weights = contrast.weights[needed]
    blocks = []
    for row in drawn.cells:
        whole = [each for number in needed if (each := row[number]) is not None]
        if len(whole) == len(needed):
            blocks.append(weights @ np.stack(whole))
    if len(blocks) < 2:
        return None
    differences = np.stack(blocks)  # (S, B)
    generator = np.random.default_rng(0)
    seeds = generator.integers(len(differences), size=(RESAMPLES, len(differences)))
    images = generator.integers(differences.shape[1], size=seeds.shape)
    low, high = np.quantile(differences[seeds, images].mean(1), ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(low), float(high)


def drawn_scores(predicted: Grid[Predictions], metric: str) -> Grid[Resampled]:
    """The metric in every resample of the test images, which all arms of a seed share.

    Raises:
        DataError: arms of one seed were tested on different images.
    """
    return Grid(predicted.seeds, predicted.arms, tuple(tuple(_drawn(row, metric)) for row in predicted.cells))


def _drawn(row: Sequence[Predictions | None], metric: str) -> list[Resampled | None]:
    """Draw resamples of one seed's arms."""
    there = [each for each in row if each is not None]
    if any((each.paths, each.digests) != (there[0].paths, there[0].digests) for each in there):
        raise DataError("arms of one seed were tested on different images: the data changed while the study ran")
    figures = [None if each is None else FiguresOf(each.labels, each.probabilities, [metric]) for each in row]
    pieces: list[list[Resampled]] = [[] for _ in row]
    for weights in resampled(len(there[0]), RESAMPLES) if there else ():
        for figure, own in zip(figures, pieces, strict=True):
            if figure is not None:
                own.append(figure(weights)[metric])
    return [np.concatenate(own) if own else None for own in pieces]
