"""Effects of a study's contrasts on the recall of each class.

Legend: S seeds, A arms, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnet_lab.study.contrasts import Contrast
from resnet_lab.study.results import StudyFindings
from resnet_lab.study.statistics import t_interval

Span = tuple[float, float]


@dataclass(frozen=True)
class ClassEffect:
    """Effect of a contrast on the recall of one class.

    Attributes:
        images: test images of the class, per seed; seeds without any are left out.
        differences: of the recall, per seed.
        difference, interval: their mean and its 95% t interval; None without seeds, or with a single one.
    """

    name: str
    images: tuple[int, ...]
    differences: tuple[float, ...]
    difference: float | None
    interval: Span | None


@dataclass(frozen=True)
class ClassEffects:
    """Effects of one contrast on all classes, without verdicts: nothing is adjusted for the number of classes.

    Attributes:
        kind: `main` or `arm`.
    """

    name: str
    kind: str
    classes: tuple[ClassEffect, ...]


def class_effects(found: StudyFindings) -> list[ClassEffects]:
    """Effects of the main-effect contrasts, and of each arm that is not one of these under another name.

    None where no trial has predictions.
    """
    if not found.predicted.values():
        return []
    recalls, images = _recalls(found)
    classes = found.predicted.values()[0].classes
    kept: list[Contrast] = []
    for contrast in (each for family in found.study.families for each in family if each.kind != "interaction"):
        if not any(np.allclose(contrast.weights, other.weights) for other in kept):
            kept.append(contrast)
    return [ClassEffects(each.name, each.kind, _on_classes(each, classes, recalls, images)) for each in kept]


def _on_classes(
    contrast: Contrast, classes: Sequence[str], recalls: NDArray[np.float64], images: NDArray[np.int64]
) -> tuple[ClassEffect, ...]:
    needed = contrast.weights != 0
    values = np.einsum("sak,a->sk", recalls[:, needed], contrast.weights[needed])  # (S, K)
    support = images[:, needed].max(1)  # (S, K)
    made = []
    for k, name in enumerate(classes):
        whole = ~np.isnan(values[:, k])
        differences = values[whole, k].tolist()
        made.append(
            ClassEffect(
                name,
                tuple(support[whole, k].tolist()),
                tuple(differences),
                float(np.mean(differences)) if differences else None,
                t_interval(differences),
            )
        )
    return tuple(made)


def _recalls(found: StudyFindings) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Recall (NaN where there is none) and number of test images per class, both of shape (S, A, K)."""
    number = len(found.predicted.values()[0].classes)
    shape = (len(found.predicted.seeds), len(found.predicted.arms), number)
    recalls, images = np.full(shape, np.nan), np.zeros(shape, dtype=np.int64)
    for s, row in enumerate(found.predicted.cells):
        for a, each in enumerate(row):
            if each is not None:
                support = np.bincount(each.labels, minlength=number)
                right = np.bincount(each.labels[each.predicted == each.labels], minlength=number)
                np.divide(right, support, out=recalls[s, a], where=support > 0)
                images[s, a] = support
    return recalls, images
