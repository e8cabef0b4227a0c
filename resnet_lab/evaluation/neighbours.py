"""Training images most similar to a work in a network's features.

Legend: N works, C channels, H W pixels, K classes, D features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnet_lab.data.class_names import match_classes
from resnet_lab.data.preparation import Decoded
from resnet_lab.data.split import from_csv_as_far_as_there
from resnet_lab.device import Placement
from resnet_lab.evaluation.embeddings import embeddings, unit_length
from resnet_lab.evaluation.opened_run import OpenedRun

NEIGHBOURS = 3
CANDIDATES = 200
"""Most training images of a class among which the nearest are searched."""

CANDIDATES_IN_ALL = 1000
"""The same over all classes: each costs a forward pass."""


@dataclass(frozen=True)
class Nearest:
    """Training images nearest to each of some works.

    Attributes:
        of_works: of each work, position in the source of training images and cosine distance in [0, 2]; nearest first.
        candidates: training images among which they were searched.
    """

    of_works: tuple[tuple[tuple[int, float], ...], ...]
    candidates: int


def nearest_training_images(
    opened: OpenedRun,
    placement: Placement,
    training: Decoded,
    scored: Decoded,
    positions: NDArray[np.int64],
    predicted: NDArray[np.int64],
) -> Nearest:
    """Find the nearest training images of each work's predicted class, by the features before the classifier.

    Args:
        training: the run's source.
        scored: the source of the works, which stand at `positions` in it, shape (N,).
        predicted: class of each work, shape (N,).

    Raises:
        DataError: the run's table of parts is damaged.
    """
    candidates = _candidates(opened, training, sorted(set(predicted.tolist())))
    works = _features(opened, placement, scored, positions)
    others = {k: _features(opened, placement, training, there) for k, there in candidates.items()}
    found = []
    for row, k in enumerate(predicted.tolist()):
        distances = 1 - others[k] @ works[row]
        nearest = np.argsort(distances, kind="stable")[:NEIGHBOURS]
        found.append(tuple((int(candidates[k][each]), float(distances[each])) for each in nearest))
    return Nearest(tuple(found), sum(map(len, candidates.values())))


def _candidates(opened: OpenedRun, training: Decoded, classes: Sequence[int]) -> dict[int, NDArray[np.int64]]:
    """Positions of some training images of each class: those with the lowest digests, which act as a random sample."""
    there = (from_csv_as_far_as_there(opened.run.splits, training.images)[0] == "train") & training.usable
    numbers = match_classes(training.images.classes, opened.network[0].classes).numbers
    labels = np.array(numbers, dtype=np.int64)[training.images.labels]
    digests = training.examined.digests
    most = min(CANDIDATES, CANDIDATES_IN_ALL // max(1, len(classes)))
    found = {k: np.flatnonzero(there & (labels == k)) for k in classes}
    return {k: own[np.argsort(digests[own], kind="stable")[:most]] for k, own in found.items()}


def _features(
    opened: OpenedRun, placement: Placement, decoded: Decoded, positions: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Embedding of each image, of length 1, shape (N, D)."""
    pieces = list(embeddings(opened, placement, decoded, positions, "seeking similar training images"))
    found = np.concatenate(pieces or [np.empty((0, opened.network[1].fc.in_features), np.float32)])
    return unit_length(found)
