"""Training, validation and test parts. Legend: N images, G groups of copies.

Where an image stands follows from its content and the seed alone: the seed and the digest give a number in [0, 1), its
place, and the place's interval gives the part. So adding, removing or renaming files moves no other image, with two
exceptions: copies of a picture all have the place of the one with the smallest digest, so that they are never on both
sides, and a class that would miss a part has the picture moved there whose place is nearest.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from resnet_lab.core.columns import CategoryColumn, TextIndex
from resnet_lab.core.errors import ConfigError, DataError
from resnet_lab.core.images import ImageSet
from resnet_lab.core.records import repr_of, shortened
from resnet_lab.core.seeds import named_seeds
from resnet_lab.core.tables import rows_of
from resnet_lab.core.wording import counted
from resnet_lab.data.decoding import ImageInfo
from resnet_lab.data.image_columns import Digests, ImageColumns, distinct

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")
HELD_OUT = 0.1
"""Share of the images that goes to validation, and again to test."""

LARGEST = 2**31
"""Bytes of a split file, at most: some 30 million images."""

A_PIECE = 2**20
"""Characters of a split file that are written at a time."""


def split(
    images: ImageSet,
    examined: Sequence[ImageInfo],
    groups: NDArray[np.integer],
    seed: int,
    *,
    folds: int | None = None,
    fold: int = 0,
) -> NDArray[np.str_]:
    """The part of each image, shape (N,): `train`, `val`, `test`, or the empty text for images that cannot be used.

    80/10/10 in every class as closely as chance has it: of n images n/10 are held out each time, with a standard
    deviation of 0.3 sqrt(n). Parts that the source assigns itself stay as they are, and copies follow them.

    Args:
        groups: number of each image's group of copies, shape (N,).
        folds: make that many parts of equal size instead, of which `fold` (from 0) is the test part, the next one the
            validation part, the rest for training.

    Raises:
        ConfigError: there is no such fold.
        DataError: a class has fewer pictures than there are parts, or the source assigns a part of another name.
    """
    columns = ImageColumns.of(examined)
    usable = columns.usable
    given = np.where(usable, _given(images), "") if folds is None else np.full(len(images), "", dtype="<U5")
    slots = _share_slots(set(given.tolist())) if folds is None else _fold_slots(folds, fold)
    parts = follow_copies(given, groups, usable)
    drawn = np.flatnonzero(usable & (parts == ""))
    if len(drawn):
        parts[drawn] = _drawn(images, columns.digests[drawn], groups, drawn, slots, parts, seed)
    require_every_class(images, parts)
    return parts


def follow_copies(parts: NDArray[np.str_], groups: NDArray[np.integer], usable: NDArray[np.bool_]) -> NDArray[np.str_]:
    """Parts in which every usable image without one has that of its copies, shape (N,); of several the first."""
    open_ones, followed = usable & (parts == ""), parts.copy()
    for part in reversed(PARTS):
        if len(own := groups[parts == part]):
            followed[open_ones & np.isin(groups, own)] = part
    return followed


Slots = Sequence[tuple[Part, float]]
"""Neighbouring intervals of [0, 1): the part that each stands for, and its width."""


def _given(images: ImageSet) -> NDArray[np.str_]:
    if images.parts is None:
        return np.full(len(images), "", dtype="<U5")
    column = CategoryColumn.of(images.parts)
    for part in column.names:
        if part not in (*PARTS, ""):
            path = images.paths[int(np.argmax(column.codes == column.code(part)))]
            raise DataError(f"{images.name}: {path} is in the part {part!r}; parts are {', '.join(PARTS)}")
    return column.array().astype("<U5")


def _share_slots(given: set[str]) -> Slots:
    held_out: list[tuple[Part, float]] = [(part, HELD_OUT) for part in ("val", "test") if part not in given]
    return [*held_out, ("train", 1 - sum(width for _, width in held_out))]


def _fold_slots(folds: int, fold: int) -> Slots:
    if not (folds >= 3 and 0 <= fold < folds):
        raise ConfigError(
            f"fold {fold} of {folds}: there must be at least 3 folds (test, validation, training), and they are "
            "counted from 0"
        )
    held_out: dict[int, Part] = {fold: "test", (fold + 1) % folds: "val"}
    return [(held_out.get(number, "train"), 1 / folds) for number in range(folds)]


def _drawn(
    images: ImageSet,
    digests: Digests,
    groups: NDArray[np.integer],
    members: NDArray[np.int64],
    slots: Slots,
    parts: NDArray[np.str_],
    seed: int,
) -> NDArray[np.str_]:
    """The parts of the images at `members`, by the places of their groups; those of others are in `parts`.

    Args:
        digests: of the images at `members`.
    """
    group = np.unique(groups[members], return_inverse=True)[1]
    place = named_seeds(seed, map(b"split of ".__add__, _smallest(digests, group))) / 2**63
    edges = np.cumsum([0.0, *(width for _, width in slots)])
    slot = np.clip(np.searchsorted(edges, place, side="right") - 1, 0, len(slots) - 1)
    names = np.array([part for part, _ in slots], dtype="<U5")

    label, own = np.divmod(np.unique(images.labels[members] * len(place) + group), len(place))
    of_one_class = np.bincount(own) == 1  # each class came with each of its groups
    has_part = np.stack([np.bincount(images.labels[parts == name], minlength=len(images.classes)) for name in names])
    for pieces in np.split(np.arange(len(label)), np.flatnonzero(np.diff(label)) + 1):
        number = label[pieces[0]]
        who, there = f"{images.name}: class {images.classes[number]!r}", has_part[:, number] > 0
        _fill_slots(who, own[pieces], of_one_class, place, slot, edges, there)
    return names[slot[group]]


def _smallest(digests: Digests, group: NDArray[np.int64]) -> list[bytes]:
    """The smallest digest of each group, in hexadecimal digits, of length G."""
    order = np.lexsort((distinct(digests)[1], group))
    smallest = digests[order[np.flatnonzero(np.diff(group[order], prepend=-1))]]
    digits = smallest.tobytes().hex().encode()
    return [digits[start : start + 64] for start in range(0, len(digits), 64)]


def _fill_slots(
    who: str,
    own: NDArray[np.int64],
    of_one_class: NDArray[np.bool_],
    place: NDArray[np.float64],
    slot: NDArray[np.int64],
    edges: NDArray[np.float64],
    there: NDArray[np.bool_],
) -> None:
    """Give a class a group in each slot, changing `slot` in place: the group whose place is nearest moves.

    Args:
        who: the class, as messages name it.
        own: the groups of the class.
        of_one_class: of each group, shape (G,); moving another would change two classes.
        place, slot: of each group, shape (G,).
        there: whether the class has images of the slot's part already, shape (number of slots,).
    """
    if len(own) < np.sum(~there):
        raise DataError(
            f"{who} has {counted(len(own), 'different image')}; {np.sum(~there)} parts need at least one each: "
            "add images or remove the class"
        )
    counts = np.bincount(slot[own], minlength=len(there))
    for empty in np.flatnonzero((counts == 0) & ~there):
        spare = of_one_class[own] & ((counts > 1) | there)[slot[own]]
        if not spare.any():
            raise DataError(
                f"{who} has copies of other classes' images, and too few others to be in all parts: "
                "see `resnet-lab data check`"
            )
        candidates = own[spare]
        distance = np.maximum(edges[empty] - place[candidates], place[candidates] - edges[empty + 1])
        chosen = candidates[np.argmin(distance)]
        counts[slot[chosen]] -= 1
        counts[empty] += 1
        slot[chosen] = empty


def require_every_class(images: ImageSet, parts: NDArray[np.str_]) -> None:
    """Raise `DataError` where a class misses a part."""
    for part in PARTS:
        counts = np.bincount(images.labels[parts == part], minlength=len(images.classes))
        if not counts.all():
            raise DataError(
                f"{images.name}: class {images.classes[np.argmin(counts)]!r} has no image in the {part} part; "
                "each class needs at least one in every part: add images or remove the class"
            )


def to_csv(images: ImageSet, parts: Iterable[str]) -> Iterator[bytes]:
    """The content of splits.csv in pieces: path, label, split; images that cannot be used are not in it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(("path", "label", "split"))
    labels = map(images.classes.__getitem__, images.labels.tolist())
    for path, label, part in zip(images.paths, labels, parts, strict=True):
        if part:
            writer.writerow((path, label, part))
        if text.tell() > A_PIECE:
            yield text.getvalue().encode("utf-8", "surrogateescape")
            text.seek(0)
            text.truncate()
    yield text.getvalue().encode("utf-8", "surrogateescape")


def from_csv(path: Path, images: ImageSet) -> NDArray[np.str_]:
    """The part of each image as a split file has it, shape (N,); the empty text for images that are not in it.

    Raises:
        DataError: the file cannot be read, names another part, an image in two parts, or one that is no longer there.
    """
    parts, gone = from_csv_as_far_as_there(path, images)
    if gone:
        raise DataError(f"{images.name}: {gone[0][0]} of the split in {path} is no longer there; restore it")
    return parts


def from_csv_as_far_as_there(path: Path, images: ImageSet) -> tuple[NDArray[np.str_], list[tuple[str, str]]]:
    """The same, and path and part of the images that are no longer there; raises `DataError` for anything else."""
    index = TextIndex(images.paths)
    parts = np.full(len(images), "", dtype="<U5")
    gone: list[tuple[str, str]] = []
    for line, row in rows_of(path, ("path", "split"), DataError, most=LARGEST):
        name, part = row["path"], row["split"]
        if part not in PARTS:
            raise DataError(
                f"{path}: line {line}: {shortened(name)} is in the part {repr_of(part)}; parts are {', '.join(PARTS)}"
            )
        if (position := index.get(name)) is None:
            gone.append((name, part))
            continue
        if parts[position] not in ("", part):
            raise DataError(f"{path}: {name} is in two parts, {parts[position]} and {part}; leave one of them")
        parts[position] = part
    return parts, gone
