"""Training, validation and test parts."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from resnet_lab.errors import DataError
from resnet_lab.images import ImageSet

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")
HELD_OUT = 0.1
"""Share of each class that goes to validation, and again to test."""


def stratified(images: ImageSet, seed: int) -> NDArray[np.str_]:
    """The part of each image, shape (N,): 80/10/10 in every class, at least one image of each class in each part.

    A class's split depends on the seed and its own images alone.

    Raises:
        DataError: a class has fewer images than there are parts.
    """
    parts = np.full(len(images), "train", dtype="<U5")
    for label, name in enumerate(images.classes):
        members = np.flatnonzero(images.labels == label)
        if len(members) < len(PARTS):
            raise DataError(
                f"{images.name}: class {name!r} has {len(members)} images; {len(PARTS)} parts need at least one each: "
                "add images or remove the class"
            )
        held_out = max(1, round(HELD_OUT * len(members)))
        shuffled = np.random.default_rng([seed, *name.encode()]).permutation(members)
        parts[shuffled[:held_out]] = "val"
        parts[shuffled[held_out : 2 * held_out]] = "test"
    return parts


def to_csv(images: ImageSet, parts: Sequence[str] | NDArray[np.str_]) -> str:
    """The text of splits.csv: path, label, split."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(("path", "label", "split"))
    for path, label, part in zip(images.paths, images.labels, parts, strict=True):
        writer.writerow((path, images.classes[label], part))
    return text.getvalue()


def members_of(part: Part, path: Path, images: ImageSet) -> NDArray[np.int64]:
    """Indices into `images` of a part, as splits.csv at `path` has it.

    Raises:
        DataError: the file cannot be read, or names an image that is no longer there.
    """
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            rows = [row["path"] for row in csv.DictReader(file) if row["split"] == part]
    except (OSError, KeyError, csv.Error) as error:
        raise DataError(f"{path}: not a readable split file ({error}); it has the columns path, label, split") from None
    index = {name: position for position, name in enumerate(images.paths)}
    for name in rows:
        if name not in index:
            raise DataError(f"{images.name}: {name} of the split in {path} is no longer there; put it back")
    return np.array([index[name] for name in rows], dtype=np.int64)
