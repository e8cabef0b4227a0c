"""Rows of one size in a file of the cache: each is computed once, whatever happens to the process that does it.

A row is written before the index that names it, so a kill leaves at most rows without a name, which the next process
writes over. A row whose checksum is wrong is forgotten and computed again; checksums are looked at unless the file is
known to be as the last process left it (`RowStore.seal`).
"""

import os
import weakref
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Generic, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from resnet_lab.core.errors import DataError
from resnet_lab.core.positions import open_binary, read_at, read_into, write_at
from resnet_lab.core.watcher import Watcher
from resnet_lab.data.threads import in_order

BOOT = Path("/proc/sys/kernel/random/boot_id")
"""Another text after every start of Linux; where it is missing, checksums are looked at every time."""

ROWS_A_TASK = 64

Checksums: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Numbers of rows and the CRC-32 of each, both of shape (R,)."""


class RowEntry(Protocol):
    """Content of a row, with all that its index records about it."""

    @property
    def row(self) -> int | None:
        """Its number; None where there is nothing to write."""

    @property
    def content(self) -> bytes: ...


E = TypeVar("E", bound=RowEntry)
EntryT = TypeVar("EntryT", bound=RowEntry, contravariant=True)


class Index(Protocol[EntryT]):
    """Index of the rows of a store."""

    def checksums(self) -> Checksums:
        """Checksums of all rows that are there."""

    def seal(self) -> str:
        """The store's when the last process left it; empty where that is not known."""

    def add(self, entries: Sequence[EntryT]) -> None:
        """Their rows are written."""

    def forget(self, rows: Sequence[int]) -> None:
        """They are not there any more."""


def seal_of(path: Path) -> str:
    """Fingerprint that changes whenever a file does or may have; empty where there is none.

    Every writer changes the file's times. What a power failure takes from it may not, so the seal is of one boot.
    """
    try:
        stat, boot = path.stat(), BOOT.read_text().strip()
    except OSError:
        return ""
    return f"{boot} {stat.st_ino} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"


class RowStore(Generic[E]):
    """The file at `path`, which need not exist, of rows of `nbytes`; its folder is held by this process."""

    def __init__(self, path: Path, nbytes: int, index: Index[E]) -> None:
        self.path = path
        self.nbytes = nbytes
        self.index = index

    def seal(self) -> str:
        """`seal_of` the file."""
        return seal_of(self.path)

    def check(self, what: str, watcher: Watcher, after_step: Callable[[], None] = lambda: None) -> list[int]:
        """Drop damaged rows from the index; their numbers.

        A file whose seal is unchanged is not read, and one of which nothing is known is replaced: readers of the old
        still have it open.

        Args:
            what: is checked, for the watcher.
            after_step: called now and then; what it raises ends the work.
        """
        rows, expected = self.index.checksums()
        if not len(rows):
            self.path.unlink(missing_ok=True)
            self.path.touch()
        if not len(rows) or self.index.seal() == (self.seal() or "unknown"):
            return []
        watcher.begin(what, len(rows))
        damaged: list[int] = []
        with ExitStack() as stack:
            file = stack.enter_context(self.path.open("rb")) if self.path.exists() else None

            def damaged_among(start: int) -> list[int]:
                found = []
                some = slice(start, start + ROWS_A_TASK)
                for row, checksum in zip(rows[some].tolist(), expected[some].tolist(), strict=True):
                    content = read_at(file.fileno(), self.nbytes, row * self.nbytes) if file else b""
                    if len(content) != self.nbytes or zlib.crc32(content) != checksum:
                        found.append(row)
                    watcher.advance()
                return found

            pool = stack.enter_context(ThreadPoolExecutor(os.cpu_count()))
            for found in stack.enter_context(closing(in_order(pool, damaged_among, range(0, len(rows), ROWS_A_TASK)))):
                if found:
                    self.index.forget(found)
                    damaged += found
                after_step()
        return damaged

    def fill(self, entries: Iterable[E]) -> int:
        """Write rows, and then their index; how many entries there were. An interruption keeps those before it."""
        written: list[E] = []
        descriptor = open_binary(self.path, os.O_RDWR | os.O_CREAT)
        try:
            for entry in entries:
                if entry.row is not None:
                    write_at(descriptor, entry.row * self.nbytes, entry.content)
                written.append(entry)
        finally:
            os.close(descriptor)
            self.index.add(written)
        return len(written)


class RowReader:
    """The rows of a store by number, for as long as somebody holds this, even if the file is removed or replaced.

    They are read rather than mapped: a mapped page counts as this process's own memory once it was looked at, a read
    one belongs to the system, and copying it is as fast.

    Args:
        nbytes: of a row.

    Raises:
        DataError: the file was removed, such as by clearing the cache.
    """

    def __init__(self, path: Path, nbytes: int) -> None:
        self.path = path
        self.nbytes = nbytes
        try:
            self._descriptor = open_binary(path, os.O_RDONLY)
        except OSError as error:
            raise DataError(f"{path}: cannot be opened: {error.strerror}; restart to rebuild it") from None
        weakref.finalize(self, os.close, self._descriptor)

    def gather(self, rows: NDArray[np.integer], out: Iterable[NDArray[np.uint8]]) -> None:
        """Fill as many arrays of a row's size as there are `rows`; raises `DataError` where the file ends too early."""
        for row, target in zip(rows.tolist(), out, strict=True):
            if read_into(self._descriptor, target.data, row * self.nbytes) != self.nbytes:
                raise DataError(f"{self.path}: truncated while in use; restart to repair it")
