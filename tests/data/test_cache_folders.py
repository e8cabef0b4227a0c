"""The cache's content is listed and cleared, and nothing else."""

import errno
import json
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import filelock
import pytest

from resnet_lab.core.cache_location import cache_folder, code_folder
from resnet_lab.core.errors import DataError, RunError
from resnet_lab.core.watcher import SILENT
from resnet_lab.data.cache import bytes_needed, store
from resnet_lab.data.cache_folders import CacheError, clear, entries, held
from resnet_lab.data.image_format import ImageFormat
from tests.data.folder_sets import fill, set_of
from tests.data.test_cache import FORM, is_right, one_entry


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fill(tmp_path / "images", 12)


class StopError(Exception):
    pass


def test_a_folder_is_held_by_one_process(tmp_path: Path) -> None:
    place = cache_folder() / "frozen" / "0123456789abcdef"

    def stop() -> None:
        raise StopError

    with held(place, SILENT):
        assert place.is_dir()
        with pytest.raises(StopError), held(place, SILENT, stop):
            pass
    with held(place, SILENT, stop):
        pass


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OSError(errno.EDQUOT, "Disk quota exceeded"),
            "the disk of the cache is full; free some space, `resnet-lab data cache clear`, or name another place in "
            "RESNET_LAB_CACHE",
        ),
        (
            RunError("about.json: cannot be written: Read-only file system"),
            "the cache cannot be used: about.json: cannot be written: Read-only file system; name another place in "
            "RESNET_LAB_CACHE",
        ),
    ],
)
def test_errors_within_are_reported(error: Exception, message: str) -> None:
    place = cache_folder() / "frozen" / "0123456789abcdef"
    with pytest.raises(CacheError) as failure, held(place, SILENT):
        raise error
    assert str(failure.value) == f"{place}: {message}"


def test_entries_describe_the_content(tmp_path: Path) -> None:
    assert entries() == []
    assert clear() == 0
    small, large = fill(tmp_path / "small", 3), fill(tmp_path / "large", 7)
    store(set_of(small), ImageFormat(8, 1, "crop"))
    store(set_of(large), ImageFormat(32))
    first, second = entries()
    assert (first.source, first.image_format, first.images) == (str(large), ImageFormat(32), 7)
    assert (second.source, second.image_format, second.images) == (str(small), ImageFormat(8, 1, "crop"), 3)
    for entry in (first, second):
        assert entry.nbytes == sum(path.stat().st_size for path in entry.folder.iterdir())
        assert entry.used is not None
        assert timedelta(seconds=-2) < datetime.now(UTC) - entry.used < timedelta(seconds=60)


def test_clearing_one_source_and_all(tmp_path: Path) -> None:
    folders = [fill(tmp_path / name, 3) for name in ("a", "b", "c")]
    for folder in folders:
        store(set_of(folder), FORM)
        store(set_of(folder), ImageFormat(9))
    sizes = {entry.folder: entry.nbytes for entry in entries() if entry.source == str(folders[0])}
    assert clear([str(folders[0])]) == sum(sizes.values())
    assert len(entries()) == 4
    chosen = entries()[0].folder
    clear([chosen.name])
    assert len(entries()) == 3
    assert not chosen.exists()
    assert clear() > 0
    assert entries() == []
    assert is_right(store(set_of(folders[0]), FORM), set_of(folders[0]))


def test_clearing_touches_nothing_else(folder: Path) -> None:
    store(set_of(folder), FORM)
    decoded_images, entry = cache_folder() / "decoded", one_entry()
    (decoded_images / "notes").mkdir()
    (decoded_images / "0123456789abcdef").mkdir()
    (decoded_images / "0123456789abcdef" / "index.sqlite").write_text("")
    (decoded_images / "0123456789abcdef" / "thesis.txt").write_text("mine")
    (decoded_images / "fedcba9876543210").symlink_to(folder)
    (decoded_images / "00000000000000ff").write_text("a file")
    assert [found.folder for found in entries()] == [entry]
    clear()
    assert not entry.exists()
    assert len(list(decoded_images.iterdir())) == 4
    assert len(list(folder.iterdir())) == 12


def test_clearing_a_name_that_is_not_there(folder: Path) -> None:
    store(set_of(folder), FORM)
    with pytest.raises(DataError) as failure:
        clear([f"{folder}z"])
    assert str(failure.value) == f"{folder}z: the cache holds nothing of that name; did you mean {str(folder)!r}?"
    assert len(entries()) == 1


def test_clearing_what_is_being_filled(folder: Path) -> None:
    store(set_of(folder), FORM)
    entry = one_entry()
    with filelock.FileLock(cache_folder() / "locks" / entry.name), pytest.raises(DataError) as failure:
        clear()
    assert str(failure.value) == (
        f"{entry}: another process is filling this part of the cache ({folder}); clear it when that has ended"
    )
    assert is_right(store(set_of(folder), FORM), set_of(folder))


def test_what_cannot_be_cleared(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(set_of(folder), FORM)

    def refuses(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(shutil, "rmtree", refuses)
    with pytest.raises(DataError) as failure:
        clear()
    assert str(failure.value) == f"{one_entry()}: cannot be deleted: Permission denied"


def test_the_folder_of_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("RESNET_LAB_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    if sys.platform == "linux":
        assert cache_folder() == tmp_path / "xdg" / "resnet-lab"


def test_features_and_shards_are_listed_and_cleared() -> None:
    features, shards = cache_folder() / "frozen" / "0123456789abcdef", cache_folder() / "shards"
    for folder in (features, shards):
        folder.mkdir(parents=True)
    about = {
        "source": "/paintings",
        "form": {"size": 8},
        "views": {"train": 4, "val": 1},
        "used": "2026-01-01T00:00:00+00:00",
    }
    (features / "about.json").write_text(json.dumps(about))
    (features / "train.sums").write_bytes(bytes(5 * 4 * 8))
    (features / "val.sums").write_bytes(bytes(2 * 8))
    (features / "train.features").write_bytes(bytes(1000))
    (shards / "a.tar").write_bytes(bytes(5000))
    first, second = entries()
    assert (first.kind, first.images, first.nbytes) == ("shards", 1, 5000)
    assert (second.kind, second.source, second.images, second.image_format) == (
        "features",
        "/paintings",
        7,
        ImageFormat(8),
    )
    (features / "about.json").write_text("{")
    assert (entries()[1].kind, entries()[1].source, entries()[1].image_format) == ("features", "", None)
    clear()
    assert entries() == []
    assert not features.exists()
    assert not shards.exists()


def test_compiled_code_is_listed_and_cleared() -> None:
    (code_folder() / "fxgraph" / "ab").mkdir(parents=True)
    (code_folder() / "fxgraph" / "ab" / "code").write_bytes(bytes(3000))
    (code_folder() / "main.so").write_bytes(bytes(500))
    (entry,) = entries()
    assert (entry.kind, entry.folder, entry.nbytes, entry.image_format, entry.source) == (
        "code",
        code_folder(),
        3500,
        None,
        "",
    )
    assert clear([code_folder().name]) == 3500
    assert not code_folder().exists()
    assert entries() == []


def test_a_cache_that_may_not_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(*arguments: object, **options: object) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "is_dir", locked)
    monkeypatch.setattr(Path, "exists", locked)
    with pytest.raises(DataError) as failure:
        entries()
    assert str(failure.value) == (
        f"{cache_folder()}: the cache cannot be used: Permission denied; name another place in RESNET_LAB_CACHE"
    )
    assert bytes_needed(set_of(folder), FORM) == len(set_of(folder)) * FORM.nbytes
