import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from resnet_lab.core.positions import open_binary, read_at, read_into, write_at

ROWS = [bytes([row]) * 100 for row in range(200)]


@pytest.fixture(params=["as here", "without preadv", "without any"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """This system's calls, those of an old macOS, or those of Windows."""
    missing = {"as here": (), "without preadv": ("preadv",), "without any": ("preadv", "pread", "pwrite")}
    for name in missing[request.param]:
        monkeypatch.delattr(os, name)
    return str(request.param)


@pytest.mark.usefixtures("system")
def test_threads_share_a_file(tmp_path: Path) -> None:
    descriptor = open_binary(tmp_path / "rows", os.O_RDWR | os.O_CREAT)
    memory = [bytearray(100) for _ in ROWS]
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda row: write_at(descriptor, 100 * row, ROWS[row]), reversed(range(200))))
            assert (tmp_path / "rows").read_bytes() == b"".join(ROWS)
            assert list(pool.map(lambda row: read_at(descriptor, 100, 100 * row), range(200))) == ROWS
            counts = pool.map(lambda row: read_into(descriptor, memoryview(memory[row]), 100 * row), range(200))
            assert (list(counts), memory) == ([100] * 200, [bytearray(row) for row in ROWS])
    finally:
        os.close(descriptor)


@pytest.mark.usefixtures("system")
def test_a_file_that_ends(tmp_path: Path) -> None:
    (tmp_path / "rows").write_bytes(b"one\r\ntwo\x1a")
    descriptor, memory = open_binary(tmp_path / "rows", os.O_RDONLY), bytearray(b"????????")
    try:
        assert read_at(descriptor, 10, 3) == b"\r\ntwo\x1a"
        assert read_into(descriptor, memoryview(memory), 5) == 4
        assert memory == b"two\x1a????"
        assert read_at(descriptor, 10, 9) == b""
    finally:
        os.close(descriptor)


def test_little_at_a_time_without_calls_for_positions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.delattr(os, "pwrite")
    monkeypatch.setattr(os, "write", lambda descriptor, content: write(descriptor, content[:7]))
    descriptor = open_binary(tmp_path / "rows", os.O_RDWR | os.O_CREAT)
    write_at(descriptor, 3, ROWS[9])
    os.close(descriptor)
    assert (tmp_path / "rows").read_bytes() == bytes(3) + ROWS[9]
