"""Suspected label errors: images ranked by how little held-out predictions agree with their labels.

Legend: N images, K classes.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, get_args
from warnings import catch_warnings, simplefilter

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from resnet_lab.core.errors import ConfigError, DataError, RunError
from resnet_lab.core.records import Record, validated
from resnet_lab.core.tables import RESTORE, rows_of
from resnet_lab.evaluation.predictions import Predictions

LabelQuality = Literal["self_confidence", "normalized_margin", "confidence_weighted_entropy"]
LABEL_QUALITIES: tuple[LabelQuality, ...] = get_args(LabelQuality)
FOLDER, TABLE, PAGE = "suspects", "suspects.csv", "suspects.html"
"""Name of the folder within that of a run or study, and in it of the ranked list and of the page."""


@dataclass(frozen=True)
class HeldOut:
    """Mean held-out predictions, of each image by networks that were not trained on it.

    Attributes:
        digests: SHA-256 of each image's content.
        labels: given classes, shape (N,).
        probabilities: means over an image's predictions, shape (N, K).
        counts: predictions that each mean is of, shape (N,).
        trainings: whose predictions these are.
    """

    classes: tuple[str, ...]
    paths: tuple[str, ...]
    digests: tuple[str, ...]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    counts: NDArray[np.int64]
    trainings: int


class Suspect(Record):
    """An image in the ranked list.

    Attributes:
        rank: from 1, the least credible label first.
        label, suggested: the given and the most probable class, which may be the same.
        p_label, p_suggested: their mean held-out probabilities.
        score: cleanlab's label quality in [0, 1]; low where the label is not credible.
        flagged: whether cleanlab estimates that the label is wrong.
        predictions: number of held-out predictions.
    """

    rank: Annotated[int, Field(ge=1)]
    path: str
    label: str
    suggested: str
    p_label: Annotated[float, Field(ge=0, le=1)]
    p_suggested: Annotated[float, Field(ge=0, le=1)]
    score: Annotated[float, Field(ge=0, le=1)]
    flagged: bool
    predictions: Annotated[int, Field(ge=1)]
    sha256: str


def mean_of(predictions: Sequence[Predictions]) -> HeldOut:
    """Average the predictions for each image, in the order of the paths.

    Args:
        predictions: on test parts, which no network among them was trained on; at least one.

    Raises:
        DataError: an image has other content or another label in one of them than in another.
    """
    first, classes = predictions[0], predictions[0].classes
    place: dict[str, int] = {}
    known: list[tuple[str, int]] = []
    for each in predictions:
        if each.classes != classes:
            raise DataError(f"predictions are of the classes {classes} and of {each.classes}; they must be of the same")
        for path, digest, label in zip(each.paths, each.digests, each.labels.tolist(), strict=True):
            position = place.setdefault(path, len(known))
            if position == len(known):
                known.append((digest, label))
            elif known[position] != (digest, label):
                raise DataError(
                    f"{first.origin.source}: {path} has another content or label in one training than in another; "
                    "train all on the same images"
                )
    sums, counts = np.zeros((len(known), len(classes))), np.zeros(len(known), dtype=np.int64)
    for each in predictions:
        positions = [place[path] for path in each.paths]
        sums[positions] += each.probabilities
        counts[positions] += 1
    order = sorted(place, key=place.__getitem__)
    by_path = sorted(range(len(order)), key=order.__getitem__)
    return HeldOut(
        classes,
        tuple(order[at] for at in by_path),
        tuple(known[at][0] for at in by_path),
        np.array([known[at][1] for at in by_path], dtype=np.int64),
        (sums / sums.sum(1, keepdims=True))[by_path],
        counts[by_path],
        len(predictions),
    )


def require_cleanlab() -> None:
    """Raise `ConfigError` where cleanlab is not installed."""
    if find_spec("cleanlab") is None:  # importing it takes seconds
        raise ConfigError('suspects are ranked by the package cleanlab: pip install "resnet-lab[cleanlab]"')


def rank_suspects(held_out: HeldOut, quality: LabelQuality = "self_confidence") -> tuple[Suspect, ...]:
    """All images, the least credible label first.

    Scores and flags are those of confident learning (Northcutt, Jiang and Chuang 2021, arXiv:1911.00068), as cleanlab
    computes them.

    Args:
        quality: cleanlab's score: the probability of the label (`self_confidence`), its margin to the most probable
            other class (`normalized_margin`), or its share of the prediction's entropy (`confidence_weighted_entropy`).

    Raises:
        ConfigError: cleanlab is not installed.
    """
    require_cleanlab()
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    labels, probabilities = held_out.labels, held_out.probabilities
    scores = np.clip(get_label_quality_scores(labels, probabilities, method=quality), 0, 1)
    with catch_warnings():
        simplefilter("ignore", UserWarning)  # that nothing is flagged in a class of one image, or none
        flagged = find_label_issues(labels, probabilities, n_jobs=1)
    suggested = probabilities.argmax(1)
    return tuple(
        Suspect(
            rank=rank,
            path=held_out.paths[at],
            label=held_out.classes[labels[at]],
            suggested=held_out.classes[suggested[at]],
            p_label=float(probabilities[at, labels[at]]),
            p_suggested=float(probabilities[at, suggested[at]]),
            score=float(scores[at]),
            flagged=bool(flagged[at]),
            predictions=int(held_out.counts[at]),
            sha256=held_out.digests[at],
        )
        for rank, at in enumerate(np.argsort(scores, kind="stable").tolist(), 1)
    )


def as_csv(suspects: Sequence[Suspect]) -> bytes:
    """One row per image, the attributes of `Suspect`."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(Suspect.model_fields)
    for each in suspects:
        values = each.model_dump().values()
        table.writerow([f"{value:.7g}" if isinstance(value, float) else value for value in values])
    return text.getvalue().encode("utf-8", "surrogateescape")


def read_suspects(path: Path) -> list[Suspect]:
    """The rows of a file of `as_csv`; raises `RunError` where it is damaged."""
    return [
        validated(Suspect, row, f"{path}: line {line}: damaged", RunError, RESTORE)
        for line, row in rows_of(path, tuple(Suspect.model_fields), RunError)
    ]


def flagged_of(run: Path, predictions: Predictions) -> dict[int, Suspect]:
    """Suspects that are flagged in the list of a run folder, by their number among predictions; none without a list.

    Raises:
        RunError: the list is damaged.
    """
    path = run / FOLDER / TABLE
    if not path.exists():
        return {}
    flagged = {(each.path, each.sha256, each.label): each for each in read_suspects(path) if each.flagged}
    names = [predictions.classes[label] for label in predictions.labels.tolist()]
    images = zip(predictions.paths, predictions.digests, names, strict=True)
    return {number: flagged[image] for number, image in enumerate(images) if image in flagged}
