"""A prepared source: found, decoded once, checked, split. Legend: N images, C channels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from math import sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnet_lab.core.cache_location import cache_folder
from resnet_lab.core.columns import CategoryColumn
from resnet_lab.core.errors import DataError
from resnet_lab.core.images import ImageSet
from resnet_lab.core.watcher import SILENT, Watcher
from resnet_lab.data import split as splitting
from resnet_lab.data.cache import bytes_needed, store_at_one_depth
from resnet_lab.data.cache_folders import bytes_free
from resnet_lab.data.config import DataConfig
from resnet_lab.data.copies import Copies, Grouping, describe_groups, group_copies
from resnet_lab.data.image_columns import AT_ONCE, ImageColumns, distinct, hexadecimal
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.data.pixels import DecodedPixels, Pixels, StoredPixels
from resnet_lab.data.split import Part
from resnet_lab.data.stamps import Stamps, stamps_of

FREE_SHARE = 0.9
"""Share of the disk's free space that the cache may take."""


@dataclass(frozen=True)
class Decoded:
    """All images of a source, decoded.

    Attributes:
        examined: properties found by decoding each image.
        folder: of the cache, which holds that.
    """

    images: ImageSet
    examined: ImageColumns
    pixels: Pixels
    folder: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "examined", ImageColumns.of(self.examined))

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Shape (N,)."""
        return self.examined.usable

    @property
    def bad(self) -> list[tuple[str, str]]:
        """Path and cause of each file that cannot be used."""
        unreadable = [(self.images.paths[position], cause) for position, cause in self.examined.causes()]
        return sorted([*self.images.left_out, *unreadable])

    @property
    def fingerprint(self) -> str:
        """First 16 hexadecimal digits of a SHA-256 over the classes and every usable image's label and content."""
        digests, usable = self.examined.digests, np.flatnonzero(self.usable)
        labels = self.images.labels[usable]
        by_text = np.argsort(np.argsort([str(label) for label in range(len(self.images.classes))]))
        order = np.lexsort((by_text[labels], distinct(digests[usable])[1]))
        found = sha256("\n".join(self.images.classes).encode("utf-8", "surrogateescape"))
        for start in range(0, len(order), AT_ONCE):
            some = order[start : start + AT_ONCE]
            pairs = zip(hexadecimal(digests[usable[some]]), labels[some].tolist(), strict=True)
            found.update("".join(f"\n{digest} {label}" for digest, label in pairs).encode())
        return found.hexdigest()[:16]


@dataclass(frozen=True)
class Prepared(Decoded):
    """Decoded images, split.

    Attributes:
        grouping: which images are copies.
        part_column: `train`, `val`, `test`, or the empty text for images that are left out, of length N.
    """

    grouping: Grouping
    part_column: CategoryColumn

    @property
    def parts(self) -> NDArray[np.str_]:
        """The part of each image, shape (N,)."""
        return self.part_column.array()

    def positions(self, part: Part) -> NDArray[np.int64]:
        return np.flatnonzero(self.part_column.codes == self.part_column.code(part))

    @property
    def copies(self) -> list[Copies]:
        return describe_groups(self.images, self.examined, self.grouping.groups)

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel over the training part, on a scale of [0, 1]."""
        train = self.positions("train")
        sums, squares = (self.examined.column(name)[train].sum(axis=0) for name in ("sums", "squares"))
        return channel_statistics(len(train), sums.tolist(), squares.tolist(), self.pixels.image_format)


def decode_all(images: ImageSet, image_format: ImageFormat, config: DataConfig, watcher: Watcher = SILENT) -> Decoded:
    """Decode every image once, onto the disk where they fit.

    Raises:
        DataError: no image can be used, or with `strict` one cannot; the cache cannot be written, or its disk is too
            full for `disk`.
    """
    stamps = stamps_of(images)
    on_disk = config.cache != "stream" and _fits(images, image_format, config, stamps, watcher)
    stored, image_format = store_at_one_depth(images, image_format, keep_pixels=on_disk, stamps=stamps, watcher=watcher)
    pixels = (
        DecodedPixels(images, image_format)
        if stored.pixels is None
        else StoredPixels(stored.pixels, stored.rows, image_format)
    )
    decoded = Decoded(images, stored.examined, pixels, stored.folder)
    _report_bad(decoded, config.strict, watcher)
    return decoded


def prepare(
    images: ImageSet, image_format: ImageFormat, config: DataConfig, seed: int, watcher: Watcher = SILENT
) -> Prepared:
    """Decode and split a set. Images that are not in the split file go with their copies, or else into training.

    Raises:
        DataError: as `decode_all`; or the set cannot be split, or is not that of the split file.
    """
    for note in images.notes:
        watcher.say(note)
    if config.split_file is not None:
        images = replace(images, parts=splitting.from_csv(config.split_file, images).tolist())
    decoded = decode_all(images, image_format, config, watcher)
    if images.parts is not None and config.split_file is not None:
        new = int(np.sum((CategoryColumn.of(images.parts).array() == "") & decoded.usable))
        if new:
            watcher.say(f"{new} images are not in {config.split_file}; they go with their copies or into training")
    grouping = group_copies(decoded.examined, near=config.near_copies == "on", folder=decoded.folder)
    parts = splitting.split(images, decoded.examined, grouping.groups, seed, folds=config.folds, fold=config.fold)
    column = CategoryColumn(parts.tolist())
    prepared = Prepared(decoded.images, decoded.examined, decoded.pixels, decoded.folder, grouping, column)
    _report_copies(prepared.copies, watcher)
    if grouping.remark:
        watcher.say(grouping.remark)
    return prepared


def channel_statistics(
    images: int, sums: Sequence[int], squares: Sequence[int], image_format: ImageFormat
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, on a scale of [0, 1], from exact sums of integers.

    Args:
        sums, squares: of each channel's values 0 to 255 over all images, and of their squares, shape (C,).
    """
    number = images * image_format.size * image_format.size
    means, deviations = [], []
    for total, square in zip(sums, squares, strict=True):
        means.append(total / number / 255)
        deviations.append(sqrt((square * number - total * total) / number**2) / 255)
    return tuple(means), tuple(deviations)


def _fits(
    images: ImageSet, image_format: ImageFormat, config: DataConfig, stamps: Stamps | None, watcher: Watcher
) -> bool:
    needed, free = bytes_needed(images, image_format, stamps), bytes_free()
    if needed <= FREE_SHARE * free:
        return True
    problem = (
        f"{len(images)} decoded images would take {_size(needed)} and the disk of {cache_folder()} has "
        f"{_size(free)} free"
    )
    if config.cache == "disk":
        raise DataError(
            f"{problem}; free some space, `resnet-lab data cache clear`, name another place in RESNET_LAB_CACHE, "
            "or decode them in every epoch with --cache stream"
        )
    watcher.say(f"{problem}: they are decoded in every epoch")
    return False


def _report_bad(decoded: Decoded, strict: bool, watcher: Watcher) -> None:
    bad, found = decoded.bad, len(decoded.images) + len(decoded.images.left_out)
    if not bad:
        return
    first = f"the first {bad[0][0]} ({bad[0][1]})"
    if strict or not decoded.usable.any():
        raise DataError(
            f"{decoded.images.name}: {len(bad)} of {found} files cannot be used, {first}; "
            "repair or remove them: `resnet-lab data check` lists all"
        )
    watcher.say(
        f"{len(bad)} of {found} files cannot be used and are left out, {first}; `resnet-lab data check` lists all"
    )


def _report_copies(copies: Sequence[Copies], watcher: Watcher) -> None:
    if copies:
        conflicts = sum(each.conflict for each in copies)
        watcher.say(
            f"{len(copies)} pictures are there more than once"
            + (f", {conflicts} of them under several labels" if conflicts else "")
            + ": see `resnet-lab data check`"
        )


def _size(nbytes: float) -> str:
    return f"{nbytes / 2**30:.1f} GiB" if nbytes >= 2**30 else f"{nbytes / 2**20:.1f} MiB"
