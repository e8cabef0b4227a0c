"""Compared with the images decoded one by one, whatever was done to the cache in between."""

import errno
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import filelock
import numpy as np
import PIL
import pytest
from numpy.typing import NDArray
from PIL import Image

from resnet_lab.core.cache_location import cache_folder
from resnet_lab.core.errors import DataError
from resnet_lab.core.images import ImageSet
from resnet_lab.data import cache, filling, row_store
from resnet_lab.data.cache import Stored, bytes_needed, store
from resnet_lab.data.cache_folders import bytes_free, clear, entries
from resnet_lab.data.decoding import NO_MEMORY, ImageInfo, decode, to_array
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.data.ledger import Ledger
from tests.data.drawn_sets import painted
from tests.data.folder_sets import Listener, fill, set_of

FORM = ImageFormat(8)
ROOT = Path(__file__).parents[2]


def pixels(stored: Stored, image_format: ImageFormat = FORM) -> NDArray[np.uint8]:
    assert stored.pixels is not None
    return np.fromfile(stored.pixels, np.uint8).reshape(-1, *image_format.shape)[stored.rows]


def decoded(images: ImageSet, image_format: ImageFormat = FORM) -> NDArray[np.uint8]:
    return np.stack([to_array(images.read(position), image_format) for position in range(len(images))])


def is_right(stored: Stored, images: ImageSet, image_format: ImageFormat = FORM) -> bool:
    """Whether pixels and what decoding found are those of decoding each image now."""
    expected = tuple(decode(images.read(position), image_format)[1] for position in range(len(images)))
    return np.array_equal(pixels(stored, image_format), decoded(images, image_format)) and stored.examined == expected


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fill(tmp_path / "images", 12)


def one_entry() -> Path:
    (entry,) = entries()
    return entry.folder


def test_every_image_is_decoded_once(folder: Path) -> None:
    reads: list[str] = []
    listener = Listener()
    first = store(set_of(folder, reads), FORM, watcher=listener)
    assert sorted(reads) == sorted(path.name for path in folder.iterdir())
    assert (listener.phases, listener.steps) == ([("decoding", 12)], 12)
    assert is_right(first, set_of(folder))
    reads.clear()
    second = store(set_of(folder, reads), FORM, watcher=listener)
    assert reads == []
    assert is_right(second, set_of(folder))
    assert listener.notes == []


def test_a_set_that_did_not_change_is_read_from_one_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = store(set_of(folder), FORM)
    before = (one_entry() / "set.records").stat()
    with monkeypatch.context() as patch:
        patch.setattr(cache, "Ledger", None)
        again = store(set_of(folder), FORM)
        assert bytes_needed(set_of(folder), FORM) == 0
    assert is_right(again, set_of(folder))
    assert again.rows.tolist() == first.rows.tolist()
    assert (one_entry() / "set.records").stat().st_ino == before.st_ino
    os.utime(one_entry() / "set.records", (2e9, 2e9))
    assert entries()[0].used == datetime.fromtimestamp(2e9, UTC), "its time is that of the last use"


def touched(entry: Path, images: Path) -> None:
    os.utime(images / "0004.png", (1, 1))


def renamed(entry: Path, images: Path) -> None:
    (images / "0004.png").rename(images / "4.png")


def removed(entry: Path, images: Path) -> None:
    (images / "0004.png").unlink()


def touched_index(entry: Path, images: Path) -> None:
    os.utime(entry / "index.sqlite")


def touched_pixels(entry: Path, images: Path) -> None:
    os.utime(entry / "pixels.u8")


def removed_records(entry: Path, images: Path) -> None:
    (entry / "set.records").unlink()


def damaged_records(entry: Path, images: Path) -> None:
    content = bytearray((entry / "set.records").read_bytes())
    content[len(content) // 2] ^= 1
    (entry / "set.records").write_bytes(content)


@pytest.mark.parametrize(
    "change", [touched, renamed, removed, touched_index, touched_pixels, removed_records, damaged_records]
)
def test_what_is_known_of_a_set_is_used_only_while_nothing_changes(
    folder: Path, change: Callable[[Path, Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    store(set_of(folder), FORM)
    change(one_entry(), folder)
    runs: list[int] = []
    run = filling.Filling.run
    monkeypatch.setattr(filling.Filling, "run", lambda self: (runs.append(1), run(self)))
    assert is_right(store(set_of(folder), FORM), set_of(folder))
    assert is_right(store(set_of(folder), FORM), set_of(folder))
    assert runs == [1]


def test_signatures_come_from_the_index_for_as_long_as_it_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for seed in range(3):
        painted(seed, 90, 70).save(folder / f"{seed}.png")
    stored = store(set_of(folder), FORM)
    assert is_right(stored, set_of(folder))
    assert all(len(signature) == 1024 for signature in stored.examined.signatures(np.arange(3)))
    clear()
    entry = stored.folder
    with pytest.raises(DataError) as failure:
        list(stored.examined.signatures(np.arange(3)))
    assert str(failure.value) == f"{entry}: the index changed while in use; restart to repair it"
    assert stored.examined.usable.all(), "all else is held"


def test_a_set_without_stamps_is_read_but_not_decoded_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(set_of(folder, stamped=False), FORM)
    reads: list[str] = []
    monkeypatch.setattr(filling, "decode", None)
    again = store(set_of(folder, reads, stamped=False), FORM)
    assert len(reads) == 12
    assert is_right(again, set_of(folder))


def test_decoded_images_are_stored_too(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (5, 9, 9, 3), dtype=np.uint8)
    names, labels = tuple("abcde"), np.zeros(5, np.int64)
    images = ImageSet("arrays", ("one",), names, labels, lambda position: Image.fromarray(noise[position]))
    assert is_right(store(images, FORM), images)
    assert is_right(store(images, FORM), images)


def test_a_changed_file_is_decoded_again_and_a_renamed_one_is_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(set_of(folder), FORM)
    (folder / "0003.png").rename(folder / "moved.png")
    Image.new("RGB", (10, 10), (1, 2, 3)).save(folder / "0005.png")
    shutil.copy(folder / "0001.png", folder / "copy.png")
    reads: list[str] = []
    digests: list[str] = []

    def counted(content: bytes, image_format: ImageFormat, digest: str) -> Any:
        digests.append(digest)
        return decode(content, image_format, digest)

    monkeypatch.setattr(filling, "decode", counted)
    stored = store(set_of(folder, reads), FORM)
    assert sorted(reads) == ["0005.png", "copy.png", "moved.png"]
    assert digests == [sha256((folder / "0005.png").read_bytes()).hexdigest()]
    assert is_right(stored, set_of(folder))
    names = [Path(path).name for path in set_of(folder).paths]
    assert stored.rows[names.index("copy.png")] == stored.rows[names.index("0001.png")]
    assert stored.rows[names.index("0005.png")] == 12, "the old row stays as it is for those who read it"


def test_the_same_content_with_another_time_is_not_decoded_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(set_of(folder), FORM)
    os.utime(folder / "0004.png", (1, 1))
    reads: list[str] = []
    monkeypatch.setattr(filling, "decode", None)
    assert is_right(store(set_of(folder, reads), FORM), set_of(folder))
    assert reads == ["0004.png"]
    reads.clear()
    store(set_of(folder, reads), FORM)
    assert reads == []


def test_images_that_cannot_be_used_are_known_too(folder: Path) -> None:
    (folder / "0002.png").write_bytes(b"words")
    (folder / "0007.png").unlink()
    (folder / "0007.png").symlink_to("0007.png")
    files = sorted(folder.iterdir())
    images = set_of(folder)
    reads: list[str] = []

    def read(position: int) -> bytes:
        reads.append(files[position].name)
        return files[position].read_bytes()

    images = ImageSet("set", ("one",), tuple(map(str, files)), np.zeros(12, np.int64), read, lambda i: str(i))
    stored = store(images, FORM)
    causes = {position: each.cause for position, each in enumerate(stored.examined) if each.cause}
    assert causes == {2: "not an image of a known format", 7: "Too many levels of symbolic links"}
    assert stored.examined[2].digest == sha256(b"words").hexdigest()
    assert stored.examined[7].digest == ""
    assert stored.rows[[2, 7]].tolist() == [-1, -1]
    reads.clear()
    store(images, FORM)
    assert reads == ["0007.png"], "what could not be read may be readable now"


def test_causes_that_may_pass_are_not_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "0002.png").write_bytes(b"words")
    with monkeypatch.context() as patch:

        def short_of_memory(content: bytes, image_format: ImageFormat, digest: str) -> Any:
            if content == (folder / "0001.png").read_bytes():
                return None, ImageInfo(digest, NO_MEMORY)
            return decode(content, image_format, digest)

        patch.setattr(filling, "decode", short_of_memory)
        assert [each.cause for each in store(set_of(folder), FORM).examined[:2]] == ["", NO_MEMORY]
    reads: list[str] = []
    assert store(set_of(folder, reads), FORM).examined[1].cause == ""
    assert reads == ["0001.png"]
    reads.clear()
    monkeypatch.setattr(PIL, "__version__", "another")
    store(set_of(folder, reads), FORM)
    assert reads == ["0002.png"], "another Pillow may open it"
    reads.clear()
    store(set_of(folder, reads), FORM)
    assert reads == []


def test_forms_do_not_disturb_each_other(folder: Path) -> None:
    image_formats = [ImageFormat(8), ImageFormat(9), ImageFormat(8, 1), ImageFormat(8, fit="pad")]
    for _ in range(2):
        for image_format in image_formats:
            assert is_right(store(set_of(folder), image_format), set_of(folder), image_format)
    expected = store(set_of(folder), FORM, keep_pixels=False)
    assert expected.pixels is None
    assert expected.rows.tolist() == [-1] * 12
    assert expected.examined == store(set_of(folder), FORM).examined
    assert sorted(entry.kind for entry in entries()) == [*["images"] * 4, "index"]


def test_names_that_are_no_text(tmp_path: Path) -> None:
    """POSIX names are bytes; Python carries those that are not UTF-8 as lone surrogates."""
    folder = fill(tmp_path / os.fsdecode(b"\xff\xfe"), 3)
    (folder / "0001.png").rename(folder / os.fsdecode(b"\xe9t\xe9.png"))
    store(set_of(folder), FORM)
    reads: list[str] = []
    assert is_right(store(set_of(folder, reads), FORM), set_of(folder))
    assert reads == []
    assert entries()[0].source == str(folder)
    assert clear([str(folder)]) > 0


def test_a_cache_in_a_folder_of_an_odd_name(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RESNET_LAB_CACHE", str(tmp_path / os.fsdecode(b"a?b#c%20\xff")))
    store(set_of(folder), FORM)
    assert bytes_needed(set_of(folder), FORM) == 0
    assert len(entries()) == 1


def flip_pixel(entry: Path) -> None:
    with (entry / "pixels.u8").open("r+b") as file:
        file.seek(5 * FORM.nbytes + 7)
        value = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([value ^ 1]))


def flip_pixel_and_set_the_time_back(entry: Path) -> None:
    status = (entry / "pixels.u8").stat()
    flip_pixel(entry)
    os.utime(entry / "pixels.u8", ns=(status.st_atime_ns, status.st_mtime_ns))


def cut_pixels(entry: Path) -> None:
    os.truncate(entry / "pixels.u8", 9 * FORM.nbytes + 3)


def lose_pixels(entry: Path) -> None:
    (entry / "pixels.u8").unlink()


def change_record(entry: Path) -> None:
    with sqlite3.connect(entry / "index.sqlite") as index:
        index.execute("UPDATE images SET told = replace(told, '\"width\": 10', '\"width\": 11') WHERE row = 4")
    index.close()


@pytest.mark.parametrize(
    ("damage", "number", "rows_after"),
    [
        (flip_pixel, 1, 12),
        (flip_pixel_and_set_the_time_back, 1, 12),
        (cut_pixels, 3, 12),
        (lose_pixels, 12, 12),
        (change_record, 1, 13),  # which row was meant is not believed either
    ],
)
def test_damaged_images_are_found_and_decoded_again(
    folder: Path, damage: Callable[[Path], None], number: int, rows_after: int
) -> None:
    before = pixels(store(set_of(folder), FORM))
    damage(one_entry())
    listener, reads = Listener(), []
    mended = store(set_of(folder, reads), FORM, watcher=listener)
    assert listener.notes == [f"{number} damaged images in the cache are decoded again"]
    assert len(reads) == number
    assert is_right(mended, set_of(folder))
    assert np.array_equal(pixels(mended), before)
    assert (one_entry() / "pixels.u8").stat().st_size == rows_after * FORM.nbytes
    listener.notes.clear()
    store(set_of(folder), FORM, watcher=listener)
    assert listener.notes == []


def empty_index(entry: Path) -> None:
    (entry / "index.sqlite").write_bytes(b"")


def overwrite_index(entry: Path) -> None:
    (entry / "index.sqlite").write_bytes(b"no database at all" * 100)


def cut_index(entry: Path) -> None:
    os.truncate(entry / "index.sqlite", 5000)


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (empty_index, "the file is empty"),
        (overwrite_index, "file is not a database"),
        (cut_index, "database disk image is malformed"),
    ],
)
def test_a_damaged_index_is_rebuilt(folder: Path, damage: Callable[[Path], None], cause: str) -> None:
    stored = store(set_of(folder), FORM)
    before = (one_entry() / "pixels.u8").open("rb")
    damage(one_entry())
    (entry,) = entries()
    assert (entry.source, entry.image_format, entry.used, entry.images) == ("", None, None, 0)
    assert bytes_needed(set_of(folder), FORM) == 12 * FORM.nbytes
    listener, reads = Listener(), []
    (folder / "0000.png").unlink()
    again = store(set_of(folder, reads), FORM, watcher=listener)
    assert listener.notes == [f"the index of the cache is damaged ({cause}); all images are decoded again"]
    assert len(reads) == 11
    assert is_right(again, set_of(folder))
    with before:
        held = np.frombuffer(before.read(), np.uint8).reshape(-1, *FORM.shape)
    assert np.array_equal(held[stored.rows[1:]], pixels(again)), "who reads the old rows still has them"


def test_an_index_that_is_lost(folder: Path) -> None:
    store(set_of(folder), FORM)
    before = (one_entry() / "pixels.u8").open("rb")
    (one_entry() / "index.sqlite").unlink()
    left = sum(path.stat().st_size for path in one_entry().iterdir())
    assert (entries()[0].source, entries()[0].nbytes) == ("", left), "which can be cleared"
    (folder / "0000.png").unlink()
    assert is_right(store(set_of(folder), FORM), set_of(folder))
    with before:
        assert len(before.read()) == 12 * FORM.nbytes


@pytest.mark.parametrize("seed", range(25))
def test_any_damage_to_the_index_is_survived(folder: Path, seed: int) -> None:
    right = store(set_of(folder), FORM)
    path = one_entry() / "index.sqlite"
    random = np.random.default_rng(seed)
    content = bytearray(path.read_bytes())
    for place in random.integers(0, len(content) if seed % 2 else 200, 3):
        content[place] ^= random.integers(1, 256)
    path.write_bytes(content)
    found = store(set_of(folder), FORM)
    assert found.examined == right.examined
    assert is_right(found, set_of(folder))


def test_checksums_are_verified_only_where_files_changed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def phases() -> list[tuple[str, int]]:
        listener = Listener()
        assert is_right(store(set_of(folder), FORM, watcher=listener), set_of(folder))
        return listener.phases

    assert phases() == [("decoding", 12)]
    assert phases() == []
    (tmp_path / "boot").write_text("after a power failure")
    monkeypatch.setattr(row_store, "BOOT", tmp_path / "boot")
    assert phases() == [("checking the cache", 12)]
    assert phases() == []
    monkeypatch.setattr(row_store, "BOOT", tmp_path / "no such file")
    assert phases() == phases() == [("checking the cache", 12)], "a system that does not tell is not trusted"


STORE = r"""
import os, sys
from pathlib import Path
from resnet_lab.data import filling
from resnet_lab.data.cache import store
from resnet_lab.data.decoding import ImageFormat
from tests.data.folder_sets import Listener, set_of

filling.IMAGES_A_TRANSACTION = 8
class Reads(list):
    def append(self, name):
        os.write(1, f"{name}\n".encode())  # in one piece, from whichever thread
listener = Listener()
store(set_of(Path(sys.argv[1]), Reads()), ImageFormat(8), watcher=listener)
"""


def in_a_process(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", STORE, str(folder)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_kill_costs_no_image_that_was_stored(tmp_path: Path) -> None:
    folder = fill(tmp_path / "images", 400, size=64)
    process = in_a_process(folder)
    assert process.stdout is not None
    for _ in range(120):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with Ledger(one_entry()) as ledger:
        known = len(ledger)
    assert 8 <= known < 400
    reads: list[str] = []
    resumed = store(set_of(folder, reads), FORM)
    assert len(reads) == 400 - known
    assert is_right(resumed, set_of(folder))
    assert (one_entry() / "pixels.u8").stat().st_size == 400 * FORM.nbytes, "rows without a name were written over"


@pytest.mark.slow
def test_two_processes_at_once_share_the_work(tmp_path: Path) -> None:
    folder = fill(tmp_path / "images", 400, size=64)
    outputs = [process.communicate(timeout=60)[0].splitlines() for process in [in_a_process(folder) for _ in range(2)]]
    reads = [line for lines in outputs for line in lines]
    assert sorted(reads) == sorted(path.name for path in folder.iterdir()), "every image is read by one of them"
    assert is_right(store(set_of(folder), FORM), set_of(folder))


def test_waiting_is_reported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listener, acquire, tries = Listener(), filelock.FileLock.acquire, count()

    def held_once(self: filelock.FileLock, timeout: float | None = None) -> Any:
        if next(tries) == 0:
            raise filelock.Timeout(self.lock_file)
        return acquire(self, timeout=timeout)

    monkeypatch.setattr(filelock.FileLock, "acquire", held_once)
    store(set_of(folder), FORM, watcher=listener)
    assert listener.notes == ["another process is filling this part of the cache; waiting for it"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_sentence_without_partial_files(
    folder: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, write = 0, os.pwrite

    def full(descriptor: int, content: memoryview, offset: int) -> int:
        nonlocal written
        written += 1
        if written > 10:
            raise OSError(code, os.strerror(code))
        return write(descriptor, content[:100], offset)  # as a nearly full disk may

    reads: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(DataError) as failure:
            store(set_of(folder, reads), FORM)
    assert str(failure.value) == (
        f"{one_entry()}: the disk of the cache is full; free some space, `resnet-lab data cache clear`, "
        "or name another place in RESNET_LAB_CACHE"
    )
    with Ledger(one_entry()) as ledger:
        known = len(ledger)
    reads.clear()
    assert is_right(store(set_of(folder, reads), FORM), set_of(folder))
    assert known == 5
    assert len(reads) == 12 - known, "what was decoded before is kept"


def test_a_full_disk_for_the_index(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Ledger, *arguments: object) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "add", full)
        with pytest.raises(DataError, match="the disk of the cache is full"):
            store(set_of(folder), FORM)
    assert is_right(store(set_of(folder), FORM), set_of(folder))


def test_a_cache_that_cannot_be_made(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RESNET_LAB_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(DataError) as failure:
        store(set_of(folder), FORM)
    assert str(failure.value) == (
        f"{cache._folder(str(folder), FORM, True)}: the cache cannot be used: Not a directory; "
        "name another place in RESNET_LAB_CACHE"
    )
    assert entries() == []


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_cache_that_may_not_be_written(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o500)
    with pytest.raises(DataError, match="the cache cannot be used: Permission denied; name another place in"):
        store(set_of(folder), FORM)


def test_an_index_that_may_not_be_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(set_of(folder), FORM)
    (folder / "0000.png").unlink()

    def refuses(self: Ledger, **about: str) -> None:
        error = sqlite3.OperationalError("attempt to write a readonly database")
        error.sqlite_errorcode = sqlite3.SQLITE_READONLY
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "set_facts", refuses)
        patch.setattr(os, "access", lambda *arguments: False)
        with pytest.raises(DataError, match="the cache cannot be used: attempt to write a readonly database; name"):
            store(set_of(folder), FORM)
    reads: list[str] = []
    store(set_of(folder, reads), FORM)
    assert reads == [], "and nothing of it was thrown away"


def test_an_interruption_keeps_what_was_decoded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Impatient(Listener):
        def advance(self) -> None:
            super().advance()
            if self.steps == 5:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store(set_of(folder), FORM, watcher=Impatient())
    reads: list[str] = []
    assert is_right(store(set_of(folder, reads), FORM), set_of(folder))
    assert len(reads) == 8


def test_a_bug_of_a_source_is_not_swallowed(folder: Path) -> None:
    def fails(position: int) -> bytes:
        raise ZeroDivisionError

    images = ImageSet("set", ("one",), ("a",), np.zeros(1, np.int64), fails)
    with pytest.raises(ZeroDivisionError):
        store(images, FORM)


def test_what_would_be_needed_is_what_was_not_seen(folder: Path) -> None:
    images = set_of(folder)
    assert bytes_needed(images, FORM) == 12 * 8 * 8 * 3
    assert not cache_folder().exists(), "asking leaves nothing behind"
    store(images, FORM)
    assert bytes_needed(images, FORM) == 0
    for path in sorted(fill(folder.parent / "more", 15).iterdir())[12:]:
        path.rename(folder / path.name)
    assert bytes_needed(set_of(folder), FORM) == 3 * 8 * 8 * 3
    assert bytes_needed(images, ImageFormat(8, 1)) == 12 * 8 * 8


@pytest.mark.parametrize("place", ["", "not/yet/there"])
def test_space_is_that_of_the_disk_of_the_cache(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESNET_LAB_CACHE", str(tmp_path / place))
    monkeypatch.setattr(shutil, "disk_usage", {tmp_path: SimpleNamespace(free=1234)}.__getitem__)
    assert bytes_free() == 1234


def test_a_cache_below_a_file_is_on_the_disk_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RESNET_LAB_CACHE", str(tmp_path / "file" / "cache"))
    assert 0 < bytes_free() < shutil.disk_usage(tmp_path).total


def test_a_changed_file_needs_its_space_again(folder: Path) -> None:
    images = set_of(folder)
    store(images, FORM)
    assert bytes_needed(images, FORM) == 0
    first = Path(images.paths[0])
    first.write_bytes(first.read_bytes() + b" ")
    assert bytes_needed(images, FORM) == FORM.nbytes
    first.unlink()
    assert bytes_needed(images, FORM) == FORM.nbytes
