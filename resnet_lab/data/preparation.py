"""A prepared source: found, decoded once, checked, split. Legend: N images, C channels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from math import sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnet_lab.core.errors import DataError
from resnet_lab.core.images import ImageSet
from resnet_lab.core.watcher import SILENT, Watcher
from resnet_lab.data import split as splitting
from resnet_lab.data.cache import bytes_needed, store_at_one_depth
from resnet_lab.data.cache_folders import bytes_free, cache_folder
from resnet_lab.data.config import DataConfig
from resnet_lab.data.copies import Copies, Grouping, describe_groups, group_copies
from resnet_lab.data.decoding import ImageInfo
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.data.pixels import DecodedPixels, Pixels, StoredPixels
from resnet_lab.data.split import Part

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
    examined: tuple[ImageInfo, ...]
    pixels: Pixels
    folder: Path

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Shape (N,)."""
        return np.array([not each.cause for each in self.examined], dtype=bool)

    @property
    def bad(self) -> list[tuple[str, str]]:
        """Path and cause of each file that cannot be used."""
        unreadable = [
            (path, each.cause) for path, each in zip(self.images.paths, self.examined, strict=True) if each.cause
        ]
        return sorted([*self.images.left_out, *unreadable])

    @property
    def fingerprint(self) -> str:
        """First 16 hexadecimal digits of a SHA-256 over the classes and every usable image's label and content."""
        content = sorted(
            f"{each.digest} {label}"
            for each, label in zip(self.examined, self.images.labels, strict=True)
            if not each.cause
        )
        return sha256("\n".join((*self.images.classes, *content)).encode("utf-8", "surrogateescape")).hexdigest()[:16]


@dataclass(frozen=True)
class Prepared(Decoded):
    """Decoded images, split.

    Attributes:
        grouping: which images are copies.
        parts: `train`, `val`, `test`, or the empty text for images that are left out, shape (N,).
    """

    grouping: Grouping
    parts: NDArray[np.str_]

    def positions(self, part: Part) -> NDArray[np.int64]:
        return np.flatnonzero(self.parts == part)

    @property
    def copies(self) -> list[Copies]:
        return describe_groups(self.images, self.examined, self.grouping.groups)

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel over the training part, on a scale of [0, 1]."""
        return channel_statistics(
            [self.examined[position] for position in self.positions("train")], self.pixels.image_format
        )


def decode_all(images: ImageSet, image_format: ImageFormat, config: DataConfig, watcher: Watcher = SILENT) -> Decoded:
    """Decode every image once, onto the disk where they fit.

    Raises:
        DataError: no image can be used, or with `strict` one cannot; the cache cannot be written, or its disk is too
            full for `disk`.
    """
    on_disk = config.cache != "stream" and _fits(images, image_format, config, watcher)
    stored, image_format = store_at_one_depth(images, image_format, keep_pixels=on_disk, watcher=watcher)
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
        images = replace(images, parts=tuple(splitting.from_csv(config.split_file, images).tolist()))
    decoded = decode_all(images, image_format, config, watcher)
    if images.parts is not None and config.split_file is not None:
        new = sum(not part and usable for part, usable in zip(images.parts, decoded.usable.tolist(), strict=True))
        if new:
            watcher.say(f"{new} images are not in {config.split_file}; they go with their copies or into training")
    grouping = group_copies(decoded.examined, near=config.near_copies == "on", folder=decoded.folder)
    parts = splitting.split(images, decoded.examined, grouping.groups, seed, folds=config.folds, fold=config.fold)
    prepared = Prepared(decoded.images, decoded.examined, decoded.pixels, decoded.folder, grouping, parts)
    _report_copies(prepared.copies, watcher)
    if grouping.remark:
        watcher.say(grouping.remark)
    return prepared


def channel_statistics(
    examined: Sequence[ImageInfo], image_format: ImageFormat
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, on a scale of [0, 1], from exact sums of integers."""
    number = len(examined) * image_format.size * image_format.size
    means, deviations = [], []
    for channel in range(image_format.channels):
        total = sum(each.sums[channel] for each in examined)
        squares = sum(each.squares[channel] for each in examined)
        means.append(total / number / 255)
        deviations.append(sqrt((squares * number - total * total) / number**2) / 255)
    return tuple(means), tuple(deviations)


def _fits(images: ImageSet, image_format: ImageFormat, config: DataConfig, watcher: Watcher) -> bool:
    needed, free = bytes_needed(images, image_format), bytes_free()
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
