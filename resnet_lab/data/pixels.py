"""Decoded images by number, from the cache or decoded each time. Legend: N batch, S size, C channels."""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from resnet_lab.core.errors import DataError
from resnet_lab.core.images import ImageSet
from resnet_lab.data.decoding import UnreadableError, to_array, without_warnings
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.data.row_store import RowReader


class Pixels(Protocol):
    """Decoded images of one image format."""

    image_format: ImageFormat

    def gather(self, positions: NDArray[np.int64], out: Iterable[NDArray[np.uint8]]) -> None:
        """Fill the N arrays of `out`, each (S, S, C), with the images at `positions`, shape (N,)."""


class StoredPixels:
    """Rows of a file of the cache.

    Args:
        rows: of each image in the file, shape (number of images,).

    Raises:
        DataError: the file was removed, such as by clearing the cache.
    """

    def __init__(self, file: Path, rows: NDArray[np.integer], image_format: ImageFormat) -> None:
        self.image_format = image_format
        self.rows = rows
        self._reader = RowReader(file, image_format.nbytes)

    def gather(self, positions: NDArray[np.int64], out: Iterable[NDArray[np.uint8]]) -> None:
        self._reader.gather(self.rows[positions], out)


class DecodedPixels:
    """Images decoded whenever they are asked for, by several threads."""

    def __init__(self, images: ImageSet, image_format: ImageFormat) -> None:
        self.image_format = image_format
        self.images = images
        self._pool = ThreadPoolExecutor(os.cpu_count())

    def gather(self, positions: NDArray[np.int64], out: Iterable[NDArray[np.uint8]]) -> None:
        with without_warnings():
            decoded = self._pool.map(self._decode, positions.tolist())
            for image, target in zip(decoded, out, strict=True):
                target[...] = image

    def _decode(self, position: int) -> NDArray[np.uint8]:
        try:
            return to_array(self.images.read(position), self.image_format)
        except (UnreadableError, OSError) as error:
            cause = getattr(error, "strerror", None) or str(error)
            raise DataError(f"{self.images.paths[position]}: unreadable image ({cause}); repair or remove it") from None


def gathered(pixels: Pixels, positions: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
    """The images at `positions` in an array of their own, shape (N, S, S, C)."""
    out = np.empty((len(positions), *pixels.image_format.shape), dtype=np.uint8)
    pixels.gather(np.asarray(positions, dtype=np.int64), out)
    return out
