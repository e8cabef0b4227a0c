"""Two-dimensional map of the embeddings of scored images. Legend: N images, D features, K classes."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_lab.core.errors import ConfigError, RunError
from resnet_lab.device import Placement
from resnet_lab.evaluation.embeddings import embeddings, unit_length
from resnet_lab.evaluation.opened_run import OpenedRun
from resnet_lab.evaluation.predictions import Predictions
from resnet_lab.evaluation.scored_images import ScoredImages

FEWEST = 20
"""Images below which there is no map: a neighbourhood would be half of it."""

MOST = 2000
"""Images on a map, at most: t-SNE takes some 15 s on a core for so many, and a page can hold them."""

NEIGHBOURS = 5
"""Nearest neighbours that vote on a class, and that trustworthiness looks at."""

PERPLEXITY = 30.0


@dataclass(frozen=True)
class EmbeddingMap:
    """Images on a map by t-SNE, and how far to trust it.

    Attributes:
        positions: without unit, shape (N, 2).
        labels, predicted: classes, shape (N,).
        paths: of the images in their source.
        scored: images of which these are a sample; N where they are all.
        width: features of an embedding.
        perplexity: of t-SNE.
        knn_accuracy: share of images whose nearest neighbours in the embedding, themselves left out, vote for their
            class, [0, 1]; independent of the map.
        trustworthiness: of neighbourhoods on the map, [0, 1].
    """

    classes: tuple[str, ...]
    positions: NDArray[np.float32]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    paths: tuple[str, ...]
    scored: int
    width: int
    perplexity: float
    knn_accuracy: float
    trustworthiness: float
    neighbours: int = NEIGHBOURS

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether the network classified each image correctly, shape (N,)."""
        return np.asarray(self.labels == self.predicted)

    @property
    def accuracy(self) -> float:
        """The network's on these images."""
        return float(self.right.mean())

    @property
    def counts(self) -> dict[int, int]:
        """Images of each class that has any, the largest class first."""
        counts = np.bincount(self.labels, minlength=len(self.classes))
        return {k: int(counts[k]) for k in np.argsort(-counts, kind="stable").tolist() if counts[k]}

    @property
    def largest_share(self) -> float:
        """Accuracy of always predicting the largest class."""
        return max(self.counts.values()) / len(self)

    def as_json(self) -> dict[str, Any]:
        return {
            "n": len(self),
            "scored": self.scored,
            "perplexity": self.perplexity,
            "neighbours": self.neighbours,
            "knn_accuracy": self.knn_accuracy,
            "accuracy": self.accuracy,
            "largest_share": self.largest_share,
            "trustworthiness": self.trustworthiness,
            "images": [
                {"path": path, "class": self.classes[label], "predicted": self.classes[named], "x": x, "y": y}
                for path, label, named, (x, y) in zip(
                    self.paths, self.labels.tolist(), self.predicted.tolist(), self.positions.tolist(), strict=True
                )
            ],
        }


def require_packages() -> None:
    """Raise `ConfigError` where no map can be made, as scikit-learn is not installed."""
    if find_spec("sklearn") is None:
        raise ConfigError('a map of embeddings needs the package scikit-learn: pip install "resnet-lab[map]"')


def map_embeddings(opened: OpenedRun, predictions: Predictions, placement: Placement) -> EmbeddingMap:
    """Map scored images by their embeddings; of more than `MOST`, those with the lowest digests, a random sample.

    Args:
        predictions: of the run's best weights.

    Raises:
        RunError: there are fewer than `FEWEST` images, or their embeddings cannot be told apart.
        DataError: an image is no longer what was scored.
    """
    if len(predictions) < FEWEST:
        raise RunError(
            f"{opened.folder}: a map of embeddings takes at least {FEWEST} scored images, got {len(predictions)}; "
            "leave --map out, or score more images with --split or --data"
        )
    numbers = np.sort(np.argsort(np.array(predictions.digests), kind="stable")[:MOST]).astype(np.int64)
    decoded = opened.decoded(predictions.origin.source)
    positions = ScoredImages(predictions, decoded).positions(numbers)
    found = np.concatenate(list(embeddings(opened, placement, decoded, positions, "embedding images for the map")))
    if not np.isfinite(found).all():
        raise RunError(f"{opened.folder}: embeddings are not finite, so that there is no map of them; leave --map out")
    if not np.ptp(unit_length(found), axis=0).any():
        raise RunError(
            f"{opened.folder}: all embeddings point in one direction, so that there is no map; leave --map out"
        )
    watcher = opened.sources.watcher
    watcher.begin("arranging the map", 1)
    made = _map_of(found, predictions, numbers)
    watcher.advance()
    return made


def _map_of(found: NDArray[np.float32], predictions: Predictions, numbers: NDArray[np.int64]) -> EmbeddingMap:
    """Map of some of the predicted images by their embeddings, shape (N, D)."""
    directions, labels = unit_length(found), predictions.labels[numbers]
    perplexity = min(PERPLEXITY, (len(numbers) - 1) / 3)
    positions = _arranged(directions, perplexity)
    return EmbeddingMap(
        classes=predictions.classes,
        positions=positions,
        labels=labels,
        predicted=predictions.predicted[numbers],
        paths=tuple(predictions.paths[number] for number in numbers.tolist()),
        scored=len(predictions),
        width=found.shape[1],
        perplexity=perplexity,
        knn_accuracy=float((_vote(directions, labels) == labels).mean()),
        trustworthiness=_trustworthiness(directions, positions),
    )


def _arranged(directions: NDArray[np.float32], perplexity: float) -> NDArray[np.float32]:
    """Positions by t-SNE (van der Maaten and Hinton 2008), from the first two principal components, shape (N, 2)."""
    from sklearn.manifold import TSNE

    return np.asarray(TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(directions), np.float32)


def _trustworthiness(directions: NDArray[np.float32], arranged: NDArray[np.float32]) -> float:
    """Share of neighbourhoods kept, less a penalty for intruders by their rank (Venna and Kaski 2001)."""
    from sklearn.manifold import trustworthiness

    return float(trustworthiness(directions, arranged, n_neighbors=NEIGHBOURS))


def _vote(directions: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Most frequent class among each image's nearest neighbours without itself, the first of equals, shape (N,)."""
    from sklearn.neighbors import NearestNeighbors

    nearest = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(directions).kneighbors(return_distance=False)
    votes = np.eye(labels.max() + 1, dtype=np.int64)[labels[nearest]].sum(1)  # (N, K)
    return np.asarray(votes.argmax(1))
