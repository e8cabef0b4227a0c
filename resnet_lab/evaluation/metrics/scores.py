"""Scores of predictions; all shares are in [0, 1]. Legend: N images, K classes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import precision_recall_fscore_support


@dataclass(frozen=True)
class ClassScores:
    """One class: precision, recall, F1 and the number of images that truly are of it.

    Attributes:
        recall_low, recall_high: ends of Wilson's 95% interval of the recall (Wilson 1927, doi:10.2307/2276774); 0 and 1
            for a class without images.
    """

    name: str
    precision: float
    recall: float
    f1: float
    support: int
    recall_low: float
    recall_high: float


@dataclass(frozen=True)
class Scores:
    """Result of `score`.

    Attributes:
        accuracy: share of images classified correctly.
        macro_accuracy: mean over the classes present of the share of their images classified correctly.
        macro_precision, macro_recall, macro_f1: means over all classes; an undefined ratio counts as 0.
        n: images.
        classes: each class's own scores.
    """

    accuracy: float
    macro_accuracy: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    n: int
    classes: tuple[ClassScores, ...]

    def headline(self) -> dict[str, float | int]:
        """The figures over all classes, by name."""
        return {
            "accuracy": self.accuracy,
            "macro_accuracy": self.macro_accuracy,
            "macro_precision": self.macro_precision,
            "macro_recall": self.macro_recall,
            "macro_f1": self.macro_f1,
            "n": self.n,
        }


def macro_accuracy(labels: NDArray[np.int64], predictions: NDArray[np.int64], num_classes: int) -> float:
    """Mean over the classes present in `labels` of the share of their images predicted correctly; shapes (N,)."""
    support = np.bincount(labels, minlength=num_classes)
    right = np.bincount(labels[labels == predictions], minlength=num_classes)
    present = support > 0
    return float(np.mean(right[present] / support[present]))


def score(labels: NDArray[np.int64], predictions: NDArray[np.int64], classes: tuple[str, ...]) -> Scores:
    """All scores of predicted against true labels; both of shape (N,), N at least 1."""
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predictions, labels=np.arange(len(classes)), zero_division=0
    )
    right = np.bincount(labels[labels == predictions], minlength=len(classes))
    return Scores(
        accuracy=float(np.mean(labels == predictions)),
        macro_accuracy=macro_accuracy(labels, predictions, len(classes)),
        macro_precision=float(precision.mean()),
        macro_recall=float(recall.mean()),
        macro_f1=float(f1.mean()),
        n=len(labels),
        classes=tuple(
            ClassScores(name, float(p), float(r), float(f), int(s), *_wilson(int(hits), int(s)))
            for name, p, r, f, s, hits in zip(classes, precision, recall, f1, support, right, strict=True)
        ),
    )


def _wilson(hits: int, n: int) -> tuple[float, float]:
    if not n:
        return 0.0, 1.0
    interval = binomtest(hits, n).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def log_losses(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    """Each image's cross-entropy in nats, shape (N,); probabilities are clipped to the precision of their type.

    That is scikit-learn's choice: from the machine epsilon of their type to 1 less that.
    """
    own = np.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0]
    tiny = np.finfo(probabilities.dtype).eps
    return -np.log(np.clip(own, tiny, 1 - tiny).astype(np.float64))
