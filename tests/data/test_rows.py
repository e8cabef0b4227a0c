"""Against zlib on the rows as they were written."""

import os
import zlib
from pathlib import Path
from time import sleep

import pytest

from resnet_lab.data import rows
from resnet_lab.data.rows import Rows


def written(path: Path, number: int) -> tuple[Rows, list[bytes]]:
    contents = [os.urandom(24) for _ in range(number)]
    file = Rows(path, 24)
    with file.writing() as write:
        for row in reversed(range(number)):
            write(row, contents[row])
    assert path.read_bytes() == b"".join(contents)
    return file, contents


def test_damaged_rows_are_found_among_many(tmp_path: Path) -> None:
    file, contents = written(tmp_path / "rows", 300)
    checksums = [(row, zlib.crc32(content)) for row, content in enumerate(contents)]
    steps: list[None] = []
    assert file.damaged(checksums, lambda: steps.append(None)) == []
    assert len(steps) == 300
    with file.writing() as write:
        write(130, bytes(24))
    os.truncate(tmp_path / "rows", 298 * 24 + 1)
    assert file.damaged(checksums, lambda: None) == [130, 298, 299]
    (tmp_path / "rows").unlink()
    assert file.damaged(checksums, lambda: None) == list(range(300))


def test_a_write_that_is_cut_short_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "pwrite", lambda file, content, offset: os.pwrite(file, content[:5], offset))
    written(tmp_path / "rows", 3)


def test_the_seal_is_that_of_this_file_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, contents = written(tmp_path / "rows", 3)
    (tmp_path / "boot").write_text("first\n")
    monkeypatch.setattr(rows, "BOOT", tmp_path / "boot")
    seals = [file.seal()]
    assert file.seal() == seals[0]
    status = file.path.stat()
    sleep(0.02)  # a tick of the clock of file times
    file.path.write_bytes(b"".join(contents))
    os.utime(file.path, ns=(status.st_atime_ns, status.st_mtime_ns))
    seals.append(file.seal())
    file.path.rename(tmp_path / "moved")
    assert file.seal() == ""
    file.path.write_bytes(b"".join(contents))
    seals.append(file.seal())
    (tmp_path / "boot").write_text("second\n")
    seals.append(file.seal())
    assert len(set(seals)) == 4
    (tmp_path / "boot").unlink()
    assert file.seal() == ""
