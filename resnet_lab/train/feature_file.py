"""The features of one part of a set on disk. Legend: N images, V views, C channels, H W pixels of a feature map.

`PART.features` has a row for each image and view: H x W x C numbers, or C where they are pooled. `PART.sums` has for
each row 2^32 + the CRC-32 of its bytes, and 0 where there is none yet.
"""

import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from resnet_lab.core.positions import open_binary, write_at
from resnet_lab.core.records import read_json
from resnet_lab.core.watcher import Watcher
from resnet_lab.data.cache_folders import ABOUT, CacheError
from resnet_lab.data.loader import Loader
from resnet_lab.data.row_store import Checksums, RowReader, RowStore
from resnet_lab.data.split import Part
from resnet_lab.data.threads import in_order
from resnet_lab.train.feature_loader import feature_loader
from resnet_lab.train.freezing import PartlyFrozen, features_of

AHEAD = 4
"""Batches of features that wait to be written while the next is computed."""

_THERE = np.uint64(1 << 32)


@dataclass(frozen=True, slots=True)
class Feature:
    """One image's in one view."""

    row: int
    content: bytes
    checksum: int


class Sums:
    """The index of the rows of a part: their checksums, and its seal in the folder's `ABOUT`.

    Args:
        length: rows there can be.
    """

    def __init__(self, folder: Path, part: Part, length: int) -> None:
        self.path = folder / f"{part}.sums"
        self.part = part
        self.length = length

    def checksums(self) -> Checksums:
        sums = np.fromfile(self.path, dtype=np.uint64)[: self.length] if self.path.exists() else np.empty(0, np.uint64)
        rows = np.flatnonzero(sums >> np.uint64(32) == 1)
        return rows, (sums[rows] - _THERE).astype(np.int64)

    def seal(self) -> str:
        try:
            about = read_json(self.path.parent / ABOUT, CacheError)
            return str(about["seals"][self.part])
        except (CacheError, KeyError, TypeError):
            return ""

    def add(self, entries: Sequence[Feature]) -> None:
        self._write([(entry.row, int(_THERE) + entry.checksum) for entry in entries])

    def forget(self, rows: Sequence[int]) -> None:
        self._write([(row, 0) for row in rows])

    def _write(self, sums: Sequence[tuple[int, int]]) -> None:
        descriptor = open_binary(self.path, os.O_RDWR | os.O_CREAT)
        try:
            for row, value in sums:
                write_at(descriptor, row * _THERE.itemsize, np.uint64(value).tobytes())
        finally:
            os.close(descriptor)


class FeatureFile:
    """The features of one part.

    Args:
        images, views: how many there are; row i V + v is view v of image i.
        shape: of one image's features: C H W, or C.
    """

    def __init__(
        self, folder: Path, part: Part, images: int, views: int, shape: tuple[int, ...], dtype: torch.dtype
    ) -> None:
        self.part = part
        self.views = views
        self.shape = shape
        self.dtype = dtype
        self.length = images * views
        self.sums = Sums(folder, part, self.length)
        self.store = RowStore(folder / f"{part}.features", prod(shape) * dtype.itemsize, self.sums)

    def missing(self) -> NDArray[np.bool_]:
        """Whether each row has yet to be computed, shape (N, V), by the checksums."""
        missing = np.ones(self.length, dtype=bool)
        missing[self.sums.checksums()[0]] = False
        return missing.reshape(-1, self.views)

    def fill(self, network: PartlyFrozen, images: Loader, watcher: Watcher, after_step: Callable[[], None]) -> None:
        """Compute and write what is missing or damaged; raises `OSError`, and what `after_step` raises."""
        self.store.check(f"checking stored features, {self.part}", watcher, after_step)
        missing = self.missing()
        if not missing.any():
            return
        watcher.begin(f"computing frozen features, {self.part}", int(missing.sum()))
        with (
            ThreadPoolExecutor(1) as pool,
            closing(in_order(pool, self._keep, features_of(network, images, missing), AHEAD)) as kept,
        ):
            for number in kept:
                for _ in range(number):
                    watcher.advance()
                after_step()

    def _keep(self, computed: tuple[NDArray[np.int64], NDArray[np.uint8]]) -> int:
        def entries() -> Iterator[Feature]:
            for row, features in zip(computed[0].tolist(), computed[1], strict=True):
                content = features.tobytes()
                yield Feature(row, content, zlib.crc32(content))

        return self.store.fill(entries())

    def loader(self, images: Loader) -> Loader:
        """Serves what `images` does, as features."""
        reader = RowReader(self.store.path, self.store.nbytes)
        return feature_loader(images, reader, self.views, self.shape, self.dtype)
