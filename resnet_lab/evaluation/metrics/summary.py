"""All figures about predictions. Legend: N images, K classes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_lab.evaluation.metrics.abundance import Abundance, abundance
from resnet_lab.evaluation.metrics.calibration import Calibration, calibration
from resnet_lab.evaluation.metrics.confusion import Confusion, confusion
from resnet_lab.evaluation.metrics.headline import LEVEL, RESAMPLES, Interval, intervals
from resnet_lab.evaluation.metrics.ranks import Rank, rank_table
from resnet_lab.evaluation.metrics.scores import ClassScores, score


@dataclass(frozen=True)
class Summary:
    """Summary of predictions of N images.

    Attributes:
        headline: figures over all classes, with their intervals.
        abundance: None where the numbers of training images are not known.
    """

    n: int
    headline: dict[str, Interval]
    classes: tuple[ClassScores, ...]
    confusion: Confusion
    calibration: Calibration
    ranks: tuple[Rank, ...]
    abundance: Abundance | None

    def as_json(self) -> dict[str, Any]:
        """Every number."""
        return {
            "headline": {**{name: each.value for name, each in self.headline.items()}, "n": self.n},
            "intervals": {
                "level": LEVEL,
                "resamples": RESAMPLES,
                "methods": {name: each.method for name, each in self.headline.items()},
                **{name: each.ends for name, each in self.headline.items()},
            },
            "classes": [asdict(row) for row in self.classes],
            "confusion": {"classes": list(self.confusion.classes), "counts": self.confusion.counts.tolist()},
            "pairs": [asdict(pair) for pair in self.confusion.pairs()],
            "calibration": asdict(self.calibration),
            "ranks": [asdict(row) for row in self.ranks],
            "abundance": None if self.abundance is None else asdict(self.abundance),
        }


def summarise(
    labels: NDArray[np.int64],
    probabilities: NDArray[np.float32],
    classes: tuple[str, ...],
    train_images: Sequence[int] | None = None,
) -> Summary:
    """Everything from true classes (N,) and probabilities (N, K), N at least 1.

    Args:
        train_images: of each class, shape (K,).
    """
    predictions = probabilities.argmax(1).astype(np.int64)
    rows = score(labels, predictions, classes).classes
    return Summary(
        n=len(labels),
        headline=intervals(labels, probabilities),
        classes=rows,
        confusion=confusion(labels, predictions, classes),
        calibration=calibration(labels, probabilities),
        ranks=rank_table(labels, probabilities),
        abundance=None
        if train_images is None
        else abundance(classes, train_images, [row.recall for row in rows], [row.support for row in rows]),
    )
