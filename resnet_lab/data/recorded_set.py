"""Records of a whole set in one file of a cache folder: while nothing changes, it is read in place of the index.

The file has a header in JSON, a record of each image (`image_columns`), and a SHA-256 of both. Its key is a digest of
all that it follows from: paths and stamps of the images, and the index and pixels as the last process left them. A file
that is damaged, or of another key, is not used.
"""

import json
import os
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from resnet_lab.core.errors import DataError
from resnet_lab.core.files import write_atomically
from resnet_lab.core.positions import open_binary, read_at
from resnet_lab.core.records import LARGE, parse_json
from resnet_lab.data.image_columns import AT_ONCE, Digests, ImageColumns, Records, Words, record_type

FORMAT = 1
LENGTH, SUM = 8, 32
"""Bytes before the header, which are its length, and after the records."""

SignaturesOf = Callable[[Digests], Iterable[bytes]]


def write(path: Path, key: str, records: Iterable[Records], words: Words, channels: int) -> None:
    """Write the file; raises `RunError` where it cannot be written.

    Args:
        key: the empty text where the records are good for this process alone.
        records: in pieces.
    """
    header = json.dumps({"format": FORMAT, "key": key, "channels": channels, "words": asdict(words)}).encode()
    write_atomically(path, _summed((len(header).to_bytes(LENGTH, "big"), header), records))


def _summed(start: Iterable[bytes], records: Iterable[Records]) -> Iterator[bytes]:
    digest = sha256()
    for piece in start:
        digest.update(piece)
        yield piece
    for some in records:
        content = some.tobytes()
        digest.update(content)
        yield content
    yield digest.digest()


def read(path: Path, signatures: SignaturesOf, key: str | None = None) -> ImageColumns | None:
    """The images as they were written; None where the file is damaged or not there, or has another key."""
    try:
        file = _File(path)
        if key is not None and file.header["key"] != key:
            return None
        words = file.header["words"]
        found = Words(words["causes"], words["modes"], [tuple(kinds) for kinds in words["kinds"]])
        return ImageColumns(file.piece, file.number, found, signatures) if file.is_sound() else None
    except (OSError, ValueError, KeyError, TypeError, DataError):
        return None


class _File:
    """It stays open as long as somebody holds this, even where it is replaced or removed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = open_binary(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)
        length = int.from_bytes(self._read(0, LENGTH), "big")
        if length > LARGE:
            raise ValueError("a header that is too long")
        self.header: dict[str, Any] = parse_json(self._read(LENGTH, length))
        if self.header["format"] != FORMAT:
            raise ValueError("another format")
        self._start = LENGTH + length
        self._type = record_type(self.header["channels"])
        content = os.fstat(self._descriptor).st_size - self._start - SUM
        self.number, rest = divmod(content, self._type.itemsize)
        if rest or content < 0:
            raise ValueError("cut short")

    def piece(self, start: int, stop: int) -> Records:
        size, stop = self._type.itemsize, min(stop, self.number)
        content = self._read(self._start + start * size, max(0, stop - start) * size)
        return np.frombuffer(content, self._type)

    def is_sound(self) -> bool:
        digest, end = sha256(), self._start + self.number * self._type.itemsize
        step = AT_ONCE * self._type.itemsize
        for offset in range(0, end, step):
            digest.update(self._read(offset, min(step, end - offset)))
        return digest.digest() == self._read(end, SUM)

    def _read(self, offset: int, length: int) -> bytes:
        content = read_at(self._descriptor, length, offset)
        if len(content) != length:
            raise DataError(f"{self.path}: truncated while in use; restart to repair it")
        return content
