"""Common parts of all sources: labels that can be written, parts, and splits put together. Legend: N images."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from resnet_lab.core.columns import CategoryColumn, TextColumn
from resnet_lab.core.errors import DataError
from resnet_lab.core.images import ImageSet

PART_OF = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val", "development": "val",
    "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
"""Names that sources give their parts, in any case."""

FILLERS = frozenset({"set", "data", "dataset", "split", "part", "image", "images", "img", "imgs", "folder"})
"""Words without meaning next to the name of a part: `training_set`, `TestImages`, `train2017`."""

SOME = 5
"""Names that a note lists before it only counts."""


_GLUED = re.compile(f"^({'|'.join(PART_OF)})(set|data|images)$")


def named_part(name: str) -> tuple[str, str]:
    """The part that a name denotes, and the other words in it, which the names of parts of one set share.

    `seg_train` gives (`train`, `seg`), `TestSet2` (`test`, ``). A name that denotes no part, or two, gives two
    empty texts.
    """
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^\W\d_a-zA-Z]+", name)]
    words = [_GLUED.sub(r"\1", word) for word in words if word not in FILLERS]
    parts = [PART_OF[word] for word in words if word in PART_OF]
    if len(parts) != 1:
        return "", ""
    return parts[0], " ".join(word for word in words if word not in PART_OF)


def part_of(name: str) -> str:
    """The part that a name without other words stands for; the empty text for any other name."""
    part, rest = named_part(name)
    return "" if rest else part


def some(names: Iterable[str]) -> str:
    """The names, or the first of them and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - SOME} more" if len(listed) > SOME else ""
    return ", ".join(listed[:SOME]) + more


def require_label(label: str, where: str) -> None:
    """Raise `DataError` where a label cannot be a line of a table or the name of a file."""
    if not label.strip():
        raise DataError(f"{where}: an empty label; name the class")
    if label.strip() in (".", ".."):
        raise DataError(f"{where}: label {label!r} is no name that a file can have; rename it")
    if any(_breaks(character) for character in label):
        raise DataError(
            f"{where}: label {label!r} holds a line break, a path separator or another control character; rename it"
        )


def require_classes(classes: Sequence[str], where: str, fewest: int = 2) -> None:
    """Raise `DataError` where there are fewer than one class, or than the two that a network can distinguish."""
    if len(classes) < fewest:
        raise DataError(f"{where} holds one class, {classes[0]!r}; a classifier needs at least two")


def numbered(labels: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Sorted classes, and each label's place in them, shape (N,)."""
    classes = tuple(sorted(set(labels)))
    number = {label: position for position, label in enumerate(classes)}
    return classes, np.array([number[label] for label in labels], dtype=np.int64)


def settled_parts(parts: Iterable[str]) -> tuple[CategoryColumn | None, list[str]]:
    """The parts that stay given, and a note on the others.

    Training images are left open where validation or test images have to come from somewhere, and no image is open yet.
    """
    column = CategoryColumn.of(parts)
    given = set(column.names)
    missing = [part for part in ("val", "test") if part not in given]
    if given <= {""} or given == {"train"}:
        return None, []
    if not missing or "" in given:
        return column, []
    note = f"the source gives no {' and no '.join(missing)} part: taken from its training images"
    return CategoryColumn("" if part == "train" else part for part in column), [note]


@dataclass(frozen=True)
class Split:
    """A part of a set as its publisher made it.

    Attributes:
        part: `train`, `val`, `test`, or the empty text where the publisher left that open.
        paths: one text an image, unique in the whole set.
        numbers: of the images' classes, shape (N,); negative where there is no label.
        read, stamp: as `ImageSet` has them.
    """

    part: str
    paths: Sequence[str]
    numbers: NDArray[np.int64]
    read: Callable[[int], bytes | Image]
    stamp: Callable[[int], str] | None = None


def joined(
    splits: Sequence[Split], names: Sequence[str], *, name: str, where: str, notes: Sequence[str] = (), fewest: int = 2
) -> ImageSet:
    """One set of all labelled images of a publisher's splits; classes without an image are left out of it.

    Args:
        names: of the classes, by number.
        where: the source as the user wrote it.
        fewest: classes that there have to be.

    Raises:
        DataError: a number without a name, a single class, or two names that differ only in what cannot be written.
    """
    if blank := [split.part for split in splits if not np.any(split.numbers >= 0)]:
        splits = [split for split in splits if np.any(split.numbers >= 0)]
        notes = [*notes, f"the {' and '.join(blank)} part has no labels and is ignored"]
    if not splits:
        raise DataError(f"{where} holds no labelled image")
    numbers = np.concatenate([split.numbers for split in splits])
    sizes = [len(split.paths) for split in splits]
    owner = np.repeat(np.arange(len(splits), dtype=np.int16), sizes)
    index = np.concatenate([np.arange(size, dtype=np.int32) for size in sizes])
    paths = TextColumn(path for split in splits for path in split.paths)
    labelled = np.flatnonzero(numbers >= 0)
    used, labels = np.unique(numbers[labelled], return_inverse=True)
    if used[-1] >= len(names):
        raise DataError(f"{where}: an image is of class number {used[-1]}, and there are {len(names)} names, from 0")
    classes = tuple(_written(names[number]) for number in used)
    require_classes(classes, where, fewest)
    if len(set(classes)) < len(classes):
        raise DataError(f"{where}: two classes are both written {_first_twice(classes)!r}")
    owner, index = owner[labelled], index[labelled]
    parts, open_notes = settled_parts(splits[number].part for number in owner.tolist())

    def read(position: int) -> bytes | Image:
        split: Split = splits[owner[position]]
        return split.read(int(index[position]))

    def stamp(position: int) -> str:
        split: Split = splits[owner[position]]
        assert split.stamp is not None
        return split.stamp(int(index[position]))

    return ImageSet(
        name=name,
        classes=classes,
        paths=TextColumn(paths[position] for position in labelled.tolist()),
        labels=labels.astype(np.int64),
        read=read,
        stamp=stamp if all(split.stamp for split in splits) else None,
        parts=parts,
        left_out=tuple((paths[position], "it has no label") for position in np.flatnonzero(numbers < 0).tolist()),
        notes=(*notes, *open_notes, *_notes(names, set(used.tolist()))),
    )


def _notes(names: Sequence[str], used: set[int]) -> list[str]:
    notes = []
    if unused := [name for number, name in enumerate(names) if number not in used]:
        notes.append(f"classes without an image: {some(map(repr, unused))}")
    if rewritten := [name for number, name in enumerate(names) if number in used and _written(name) != name]:
        notes.append(f"class names are written without path separators: {some(map(repr, rewritten))}")
    return notes


def _written(name: str) -> str:
    """A publisher's class name, which the user cannot change, in characters that every file takes."""
    return "".join(("-" if c in "/\\" else " ") if _breaks(c) else c for c in name).strip()


def _breaks(character: str) -> bool:
    return character in "/\\" or unicodedata.category(character) in ("Cc", "Zl", "Zp")


def _first_twice(classes: Sequence[str]) -> str:
    return next(name for name in classes if classes.count(name) > 1)
