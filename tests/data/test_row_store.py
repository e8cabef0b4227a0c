"""Compared with zlib on the rows as they were written."""

import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep

import numpy as np
import pytest

from resnet_lab.core.errors import DataError
from resnet_lab.core.watcher import SILENT, Watcher
from resnet_lab.data import row_store
from resnet_lab.data.row_store import Checksums, RowReader, RowStore


@dataclass
class Row:
    row: int | None
    content: bytes


@dataclass
class Index:
    """Index in memory."""

    known: dict[int, int] = field(default_factory=dict)
    kept_seal: str = ""
    added: list[int] = field(default_factory=list)

    def checksums(self) -> Checksums:
        return np.array(list(self.known), dtype=np.int64), np.array(list(self.known.values()), dtype=np.int64)

    def seal(self) -> str:
        return self.kept_seal

    def add(self, entries: Sequence[Row]) -> None:
        self.added.append(len(entries))
        self.known |= {entry.row: zlib.crc32(entry.content) for entry in entries if entry.row is not None}

    def forget(self, rows: Sequence[int]) -> None:
        for row in rows:
            del self.known[row]


class Counter(Watcher):
    steps = 0
    begun: tuple[tuple[str, int], ...] = ()

    def begin(self, what: str, total: int, done: int = 0) -> None:
        self.begun += ((what, total),)

    def advance(self) -> None:
        self.steps += 1


def written(path: Path, number: int) -> tuple[RowStore[Row], Index, list[bytes]]:
    contents = [os.urandom(24) for _ in range(number)]
    index = Index()
    store = RowStore(path, 24, index)
    assert store.fill(Row(row, contents[row]) for row in reversed(range(number))) == number
    assert path.read_bytes() == b"".join(contents)
    return store, index, contents


def test_damaged_rows_are_found_among_many_and_forgotten(tmp_path: Path) -> None:
    store, index, contents = written(tmp_path / "rows", 300)
    counter = Counter()
    assert store.check("checking", counter) == []
    assert (counter.begun, counter.steps) == ((("checking", 300),), 300)
    store.fill([Row(130, bytes(24))])
    index.known[130] = zlib.crc32(contents[130])
    os.truncate(tmp_path / "rows", 298 * 24 + 1)
    assert sorted(store.check("checking", SILENT)) == [130, 298, 299]
    assert sorted(index.known) == [row for row in range(298) if row != 130]
    (tmp_path / "rows").unlink()
    assert len(store.check("checking", SILENT)) == 297
    assert index.known == {}


def test_a_sealed_file_is_not_read(tmp_path: Path) -> None:
    store, index, _ = written(tmp_path / "rows", 3)
    counter = Counter()
    index.kept_seal = store.seal()
    assert store.check("checking", counter) == []
    assert counter.begun == ()


def test_an_unknown_file_is_replaced(tmp_path: Path) -> None:
    store, index, contents = written(tmp_path / "rows", 3)
    reader = RowReader(tmp_path / "rows", 24)
    index.known.clear()
    assert store.check("checking", SILENT) == []
    assert (tmp_path / "rows").read_bytes() == b""
    found = np.zeros((3, 24), np.uint8)
    reader.gather(np.arange(3), found)
    assert found.tobytes() == b"".join(contents), "who reads the old one has it open still"


def test_an_interrupted_check_has_forgotten_what_it_found(tmp_path: Path) -> None:
    store, index, _ = written(tmp_path / "rows", 200)
    store.fill([Row(3, bytes(24)), Row(150, bytes(24))])
    index.known |= {3: 1, 150: 1}

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.check("checking", SILENT, interrupted)
    assert 150 not in index.known, "which is among the first that are looked at"
    assert 3 in index.known


def test_the_index_gets_rows_once_they_are_written(tmp_path: Path) -> None:
    def interrupted() -> Iterator[Row]:
        yield Row(0, b"a" * 24)
        yield Row(None, b"")
        raise KeyboardInterrupt

    index = Index()
    with pytest.raises(KeyboardInterrupt):
        RowStore(tmp_path / "rows", 24, index).fill(interrupted())
    assert index.added == [2]
    assert index.known == {0: zlib.crc32(b"a" * 24)}
    assert (tmp_path / "rows").read_bytes() == b"a" * 24


def test_rows_are_read_by_number(tmp_path: Path) -> None:
    _, _, contents = written(tmp_path / "rows", 5)
    reader, rows = RowReader(tmp_path / "rows", 24), np.array([3, 0, 3])
    found = np.zeros((3, 24), np.uint8)
    reader.gather(rows, found)
    assert [row.tobytes() for row in found] == [contents[row] for row in rows]
    os.truncate(tmp_path / "rows", 3 * 24 + 23)
    with pytest.raises(DataError) as failure:
        reader.gather(rows, found)
    assert str(failure.value) == f"{tmp_path}/rows: truncated while in use; restart to repair it"


def test_an_interrupted_write_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, content, offset: write(file, content[:5], offset))
    written(tmp_path / "rows", 3)


def test_the_seal_is_that_of_this_file_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, _, contents = written(tmp_path / "rows", 3)
    (tmp_path / "boot").write_text("first\n")
    monkeypatch.setattr(row_store, "BOOT", tmp_path / "boot")
    seals = [store.seal()]
    assert store.seal() == seals[0]
    status = store.path.stat()
    sleep(0.02)  # a tick of the clock of file times
    store.path.write_bytes(b"".join(contents))
    os.utime(store.path, ns=(status.st_atime_ns, status.st_mtime_ns))
    seals.append(store.seal())
    store.path.rename(tmp_path / "moved")
    assert store.seal() == ""
    store.path.write_bytes(b"".join(contents))
    seals.append(store.seal())
    (tmp_path / "boot").write_text("second\n")
    seals.append(store.seal())
    assert len(set(seals)) == 4
    (tmp_path / "boot").unlink()
    assert store.seal() == ""
