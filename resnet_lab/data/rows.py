"""A file of decoded images, one row of S x S x C bytes each."""

import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from os import pwrite
from pathlib import Path
from typing import TypeAlias

from resnet_lab.data.threads import in_order

BOOT = Path("/proc/sys/kernel/random/boot_id")
"""Another text after every start of the system."""

ROWS_A_TASK = 64

Write: TypeAlias = Callable[[int, bytes], None]


class Rows:
    """The file at `path`, which need not exist; `nbytes` is the size of a row."""

    def __init__(self, path: Path, nbytes: int) -> None:
        self.path = path
        self.nbytes = nbytes

    def seal(self) -> str:
        """What changes whenever the file does or may have; empty where nothing can be said.

        Every writer changes the file's times. What a power failure takes from it may not, so the seal is of one boot.
        """
        try:
            stat, boot = self.path.stat(), BOOT.read_text().strip()
        except OSError:
            return ""
        return f"{boot} {stat.st_ino} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"

    def damaged(self, checksums: Sequence[tuple[int, int]], advance: Callable[[], None]) -> list[int]:
        """Those rows whose CRC-32 is not the one beside them, or that are not there; `advance` is called for each."""
        with ExitStack() as stack:
            file = stack.enter_context(self.path.open("rb")) if self.path.exists() else None

            def damaged_among(some: Sequence[tuple[int, int]]) -> list[int]:
                found = []
                for row, checksum in some:
                    content = os.pread(file.fileno(), self.nbytes, row * self.nbytes) if file else b""
                    if len(content) != self.nbytes or zlib.crc32(content) != checksum:
                        found.append(row)
                    advance()
                return found

            tasks = [checksums[start : start + ROWS_A_TASK] for start in range(0, len(checksums), ROWS_A_TASK)]
            pool = stack.enter_context(ThreadPoolExecutor(os.cpu_count()))
            return [row for found in in_order(pool, damaged_among, tasks) for row in found]

    @contextmanager
    def writing(self) -> Iterator[Write]:
        """A function that writes a row's content at its place."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)

        def write(row: int, content: bytes) -> None:
            offset, rest = row * self.nbytes, memoryview(content)
            while rest:
                written = pwrite(descriptor, rest, offset)
                offset, rest = offset + written, rest[written:]

        try:
            yield write
        finally:
            os.close(descriptor)
