"""Two runs on the same images: what the second mended and what it broke. Legend: N images."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_lab.core.errors import DataError
from resnet_lab.data.class_names import Match, match_classes
from resnet_lab.evaluation.metrics import Paired, paired
from resnet_lab.evaluation.metrics.headline import LEVEL, RESAMPLES, Interval, intervals
from resnet_lab.evaluation.predictions import Predictions

NAMED = 3
"""Images that an error names of each kind."""


@dataclass(frozen=True)
class Comparison:
    """Predictions of two runs, of the same images in the same order, and how they differ.

    Attributes:
        headlines: figures of the first and the second.
        own: the second's predictions of the same images, with the classes in its own order.
        places: of each class of the first, where it stands among the second's own.
        notes: classes of the second that are called otherwise in the first.
    """

    first: Predictions
    second: Predictions
    headlines: tuple[dict[str, Interval], dict[str, Interval]]
    paired: Paired
    own: Predictions
    places: tuple[int, ...]
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Every number, and the images fixed and broken by the second."""
        test = self.paired.test
        return {
            "n": len(self.first),
            "notes": list(self.notes),
            "figures": {
                name: {
                    "first": self.headlines[0][name].value,
                    "second": self.headlines[1][name].value,
                    "difference": each.value,
                    "interval": each.ends,
                    "method": each.method,
                }
                for name, each in self.paired.differences.items()
            },
            "level": LEVEL,
            "resamples": RESAMPLES,
            "sign_test": asdict(test),
            "fixed": [self.answers_for(number) for number in self.paired.fixed.tolist()],
            "broken": [self.answers_for(number) for number in self.paired.broken.tolist()],
        }

    def answers_for(self, number: int) -> dict[str, Any]:
        """An image, its true class, and what each network takes it for."""
        classes = self.first.classes
        return {
            "path": self.first.paths[number],
            "true": classes[self.first.labels[number]],
            **{
                name: {"predicted": classes[each.predicted[number]], "confidence": float(each.confidences[number])}
                for name, each in (("first", self.first), ("second", self.second))
            },
        }


def compare(
    first: Predictions, second: Predictions, names: tuple[str, str], class_map: Mapping[str, str] | None = None
) -> Comparison:
    """Compare what two runs made of the same images; images and classes may be in different order.

    Args:
        names: of the two, for errors.
        class_map: as `match_classes` takes it.

    Raises:
        DataError: they are of different classes, images or labels.
    """
    match = match_classes(second.classes, first.classes, class_map)
    if match.unknown or match.missing:
        raise DataError(
            f"{names[0]} and {names[1]} know different classes: only the first {sorted(match.missing) or 'none'}, "
            f"only the second {sorted(match.unknown) or 'none'}; compare runs on the same data"
        )
    own, second = second, with_classes(second, first.classes, match)
    order = _matching(first, second, names)
    own, second = _reordered(own, order), _reordered(second, order)
    return Comparison(
        first,
        second,
        (intervals(first.labels, first.probabilities), intervals(second.labels, second.probabilities)),
        paired(first.labels, first.probabilities, second.probabilities),
        own,
        tuple(np.argsort(match.numbers).tolist()),
        match.remarks,
    )


def with_classes(predictions: Predictions, classes: tuple[str, ...], match: Match) -> Predictions:
    """The same predictions with the classes of another network, in its order.

    Args:
        match: of the predictions' classes with `classes`, one to one.
    """
    numbers = np.array(match.numbers)
    return replace(
        predictions,
        classes=classes,
        labels=numbers[predictions.labels],
        probabilities=np.ascontiguousarray(predictions.probabilities[:, np.argsort(numbers)]),
    )


def _matching(first: Predictions, second: Predictions, names: tuple[str, str]) -> NDArray[np.int64]:
    """Position of each image of the first in the second, shape (N,)."""
    one, other = (dict(zip(each.paths, each.digests, strict=True)) for each in (first, second))
    true = [dict(zip(each.paths, each.labels.tolist(), strict=True)) for each in (first, second)]
    both = [path for path in first.paths if path in other]
    differing = {
        f"scored by {names[0]} alone": [path for path in first.paths if path not in other],
        f"scored by {names[1]} alone": [path for path in second.paths if path not in one],
        "of another content": [path for path in both if one[path] != other[path]],
        "of another class": [path for path in both if true[0][path] != true[1][path]],
    }
    found = [
        f"{len(paths)} {what} ({', '.join(paths[:NAMED])}{', ...' if len(paths) > NAMED else ''})"
        for what, paths in differing.items()
        if paths
    ]
    if found:
        raise DataError(
            f"{names[0]} and {names[1]} were scored on different images: {'; '.join(found)}; "
            "train both with the same --split-file, or score both with `resnet-lab eval --data`"
        )
    place = {path: number for number, path in enumerate(second.paths)}
    return np.array([place[path] for path in first.paths], dtype=np.int64)


def _reordered(predictions: Predictions, order: NDArray[np.int64]) -> Predictions:
    return Predictions(
        classes=predictions.classes,
        paths=tuple(predictions.paths[number] for number in order),
        digests=tuple(predictions.digests[number] for number in order),
        labels=predictions.labels[order],
        probabilities=predictions.probabilities[order],
        origin=predictions.origin,
    )
