"""Reads and writes at a position of an open file, which threads may share.

POSIX has calls for both. Windows has none: there one thread at a time moves the file's position and reads.
"""

import os
from pathlib import Path
from threading import Lock

BINARY = getattr(os, "O_BINARY", 0)
"""Flag without which Windows translates line ends."""

_moving = Lock()


def open_binary(path: Path, flags: int) -> int:
    """Descriptor of a file, for the functions below; raises `OSError`."""
    return os.open(path, flags | BINARY, 0o666)


def read_at(descriptor: int, length: int, offset: int) -> bytes:
    """Bytes from there, fewer where the file ends; raises `OSError`."""
    if hasattr(os, "pread"):
        content: bytes = os.pread(descriptor, length, offset)
        return content
    with _moving:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, length)


def read_into(descriptor: int, target: memoryview, offset: int) -> int:
    """Fill memory from there; how many bytes that were, fewer where the file ends. Raises `OSError`."""
    if hasattr(os, "preadv"):
        number: int = os.preadv(descriptor, [target], offset)
        return number
    content = read_at(descriptor, target.nbytes, offset)
    target.cast("B")[: len(content)] = content
    return len(content)


def write_at(descriptor: int, offset: int, content: bytes) -> None:
    """Write all of it, however little the system takes at a time; raises `OSError`."""
    rest = memoryview(content)
    while rest:
        if hasattr(os, "pwrite"):
            written = os.pwrite(descriptor, rest, offset)
        else:
            with _moving:
                os.lseek(descriptor, offset, os.SEEK_SET)
                written = os.write(descriptor, rest)
        offset, rest = offset + written, rest[written:]
