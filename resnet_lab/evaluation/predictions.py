"""Predictions on labelled images, made once and kept in a file. Legend: N images, K classes.

The file is safetensors: `labels` (N,) int64 and `probabilities` (N, K) float32, and in its metadata under
`resnet_lab_predictions` JSON of the classes, each image's path and SHA-256, and of what made them.
"""

import csv
import io
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ConfigDict

from resnet_lab.core.errors import CheckpointError
from resnet_lab.core.files import make_folder
from resnet_lab.core.records import ClassNames, Entries, Record, Tuple, validated
from resnet_lab.network.checkpoint import read_sealed, write_sealed

FORMAT = 1
KEY = "resnet_lab_predictions"
TOLERANCE = 1e-3
"""Greatest difference from 1 of the sum of an image's probabilities."""


class Origin(Record):
    """Origin of predictions.

    Attributes:
        weights: SHA-256 of the weights file, or `checkpoint.digest_of` weights that no file has.
        source: of the images.
        part: `train`, `val`, `test`, or `all` of the source.
        device: as in `Placement.record`: device, precision, layout and the like; and `runtime`, `torch` or `onnx`.
        epoch: that the weights are of; None where the run has no record of it.
        created: date and time in UTC, ISO 8601.
        versions: of the packages that took part.
        gone: images of the part that were no longer there, or could not be read.
        absent: classes of which the source has none.
        views: names of test-time augmentations, over whose views probabilities are means.
    """

    weights: str
    source: str
    part: str
    device: dict[str, Any]
    epoch: int | None
    created: str
    versions: Entries[str]
    gone: int = 0
    absent: Tuple[str] = ()
    views: Tuple[str] = ()


class _Header(Record):
    """The description in a file of predictions."""

    model_config = ConfigDict(extra="ignore")
    classes: ClassNames
    paths: Tuple[str]
    digests: Tuple[str]
    origin: Origin


@dataclass(frozen=True)
class Predictions:
    """Predictions of a network for labelled images.

    Attributes:
        paths: of the images in their source.
        digests: SHA-256 of each image's content.
        labels: true classes, shape (N,).
        probabilities: shape (N, K).
    """

    classes: tuple[str, ...]
    paths: tuple[str, ...]
    digests: tuple[str, ...]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    origin: Origin

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The most probable class of each image, shape (N,)."""
        return np.asarray(self.probabilities.argmax(1), dtype=np.int64)

    @property
    def confidences(self) -> NDArray[np.float32]:
        """The probability of that class, shape (N,)."""
        return np.asarray(self.probabilities.max(1))

    def answers(self, number: int, most: int) -> list[tuple[str, float]]:
        """The most probable classes of an image with their probabilities, and the true one in any case."""
        row, truth = self.probabilities[number], int(self.labels[number])
        best = np.argsort(-row, kind="stable")[:most].tolist()
        return [(self.classes[k], float(row[k])) for k in (*best, *([truth] if truth not in best else []))]

    def write(self, path: Path) -> None:
        """Replace the file at `path`; raises `RunError` where it cannot be written."""
        header = {
            "format": FORMAT,
            "classes": list(self.classes),
            "paths": list(self.paths),
            "digests": list(self.digests),
            "origin": self.origin.model_dump(mode="json"),
        }
        tensors = {"labels": torch.from_numpy(self.labels), "probabilities": torch.from_numpy(self.probabilities)}
        make_folder(path.parent)
        write_sealed(path, KEY, header, tensors)

    def as_csv(self) -> str:
        """One row per image: path, true and predicted class, confidence, and the probability of every class."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(("path", "true", "predicted", "confidence", *(f"p({name})" for name in self.classes)))
        for path, true, predicted, row in zip(self.paths, self.labels, self.predicted, self.probabilities, strict=True):
            values = [f"{value:.7g}" for value in (row[predicted], *row)]
            table.writerow((path, self.classes[true], self.classes[predicted], *values))
        return text.getvalue()

    @classmethod
    def read(cls, path: Path) -> "Predictions":
        """Read a file of `write`.

        Raises:
            CheckpointError: no such file, not one of ours, damaged, too new, or with numbers that are no probabilities.
        """
        header, tensors = read_sealed(path, KEY, FORMAT, "predictions")
        described = validated(_Header, header, str(path), CheckpointError)
        images, classes = len(described.paths), len(described.classes)
        labels, probabilities = (tensors.get(name, torch.empty(0)) for name in ("labels", "probabilities"))
        shapes = (tuple(labels.shape), tuple(probabilities.shape), len(described.digests))
        kinds = (labels.dtype, probabilities.dtype)
        if shapes != ((images,), (images, classes), images) or kinds != (torch.int64, torch.float32):
            raise CheckpointError(f"{path}: the predictions are not of the {images} images and {classes} classes named")
        if images and not (labels.min() >= 0 and labels.max() < classes):
            raise CheckpointError(f"{path}: the predictions have a label that is none of their {classes} classes")
        if not probabilities.isfinite().all():
            raise CheckpointError(
                f"{path}: the predictions hold non-finite probabilities, which name no class; remove the file and "
                "score the run again with `resnet-lab eval`"
            )
        if (probabilities < 0).any() or ((probabilities.sum(1) - 1).abs() > TOLERANCE).any():
            raise CheckpointError(
                f"{path}: the predictions hold probabilities that are negative or do not add up to 1; remove the file "
                "and score the run again with `resnet-lab eval`"
            )
        return cls(
            classes=described.classes,
            paths=described.paths,
            digests=described.digests,
            labels=labels.numpy(),
            probabilities=probabilities.numpy(),
            origin=described.origin,
        )


def weights_digest(path: Path) -> str:
    """SHA-256 of a weights file, by which predictions know theirs.

    Raises:
        CheckpointError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot read the weights file: {error.strerror}") from None
