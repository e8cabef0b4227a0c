"""Image files that belong to no set: found by path, folder or pattern, and decoded a piece at a time."""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnet_lab.core.errors import DataError
from resnet_lab.data.decoding import SUFFIXES, UnreadableError, to_array, without_warnings
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.data.sources.folders import find_images, is_image, read_file
from resnet_lab.data.threads import in_order

PIECE = 64
AHEAD = 2
"""Pieces that are decoded while one is looked at."""


@dataclass(frozen=True)
class Piece:
    """Some decoded files.

    Attributes:
        files: those that could be decoded.
        pixels: of each of them, uint8, shape (number of files, S, S, C).
        bad: the others, with the cause.
    """

    files: tuple[Path, ...]
    pixels: NDArray[np.uint8]
    bad: tuple[tuple[Path, str], ...]


class ArrayPixels:
    """Decoded images in memory, shape (N, S, S, C)."""

    def __init__(self, pixels: NDArray[np.uint8], image_format: ImageFormat) -> None:
        self.image_format = image_format
        self._pixels = pixels

    def gather(self, positions: NDArray[np.int64], out: Iterable[NDArray[np.uint8]]) -> None:
        """Implements `Pixels.gather`."""
        for position, target in zip(positions.tolist(), out, strict=True):
            target[...] = self._pixels[position]


def image_files(paths: Sequence[str | Path]) -> list[Path]:
    """Files by path, those below folders, and those that patterns such as `scans/**/*.jpg` match; each once.

    Raises:
        DataError: a path that is not there, cannot be listed, or holds no image; a pattern that matches none.
    """
    return list(dict.fromkeys(file for path in paths for file in _files_of(Path(path))))


def _files_of(path: Path) -> list[Path]:
    if os.path.isdir(path):
        try:
            files = find_images(path)
        except OSError as error:
            raise DataError(f"{error.filename or path}: cannot be listed: {error.strerror}") from None
        if not files:
            raise DataError(f"{path} holds no image; images end in {', '.join(sorted(SUFFIXES))}")
        return files
    if os.path.exists(path):
        return [path]
    if not has_magic(str(path)):
        raise DataError(f"{path}: no such image or folder")
    matches = sorted(match for match in glob(str(path), recursive=True) if is_image(match) and os.path.isfile(match))
    if not matches:
        raise DataError(f"{path}: the pattern matches no image; images end in {', '.join(sorted(SUFFIXES))}")
    return [Path(match) for match in matches]


def decoded(files: Sequence[Path], image_format: ImageFormat) -> Iterator[Piece]:
    """The files in order, `PIECE` at a time; decoding runs ahead in threads."""
    with ThreadPoolExecutor(AHEAD) as pieces, ThreadPoolExecutor(os.cpu_count()) as images, without_warnings():

        def decode(some: Sequence[Path]) -> Piece:
            good, arrays, bad = [], [], []
            for file, found in zip(some, images.map(lambda path: _decode(path, image_format), some), strict=True):
                if isinstance(found, str):
                    bad.append((file, found))
                else:
                    good.append(file)
                    arrays.append(found)
            pixels = np.stack(arrays) if arrays else np.empty((0, *image_format.shape), np.uint8)
            return Piece(tuple(good), pixels, tuple(bad))

        yield from in_order(
            pieces, decode, [files[start : start + PIECE] for start in range(0, len(files), PIECE)], AHEAD
        )


def _decode(file: Path, image_format: ImageFormat) -> NDArray[np.uint8] | str:
    """Pixels, or why there are none."""
    try:
        return to_array(read_file(file), image_format)
    except UnreadableError as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)
