"""Scores of predictions. Pure functions; all values are in [0, 1]."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_fscore_support


@dataclass(frozen=True)
class ClassScores:
    """One class: precision, recall, F1 and the number of images that truly are of it."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Scores:
    """What `score` returns.

    Attributes:
        accuracy: share of images classified rightly.
        macro_accuracy: mean over the classes present of the share of their images classified rightly.
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
    """Mean over the classes present in `labels` of the share of their images predicted rightly; shapes (N,)."""
    support = np.bincount(labels, minlength=num_classes)
    right = np.bincount(labels[labels == predictions], minlength=num_classes)
    present = support > 0
    return float(np.mean(right[present] / support[present]))


def score(labels: NDArray[np.int64], predictions: NDArray[np.int64], classes: tuple[str, ...]) -> Scores:
    """All scores of predicted against true labels; both of shape (N,), N at least 1."""
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predictions, labels=np.arange(len(classes)), zero_division=0
    )
    return Scores(
        accuracy=float(np.mean(labels == predictions)),
        macro_accuracy=macro_accuracy(labels, predictions, len(classes)),
        macro_precision=float(precision.mean()),
        macro_recall=float(recall.mean()),
        macro_f1=float(f1.mean()),
        n=len(labels),
        classes=tuple(
            ClassScores(name, float(p), float(r), float(f), int(s))
            for name, p, r, f, s in zip(classes, precision, recall, f1, support, strict=True)
        ),
    )
