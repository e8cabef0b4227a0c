import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from resnet_lab.core import files
from resnet_lab.core.errors import RunError
from resnet_lab.core.files import refuse_other, refuse_unwritable, refuse_unwritable_folder, refuse_ways_out


def test_content_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for content in (b"first and longer", b"second"):
        files.write_atomically(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_in_between_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, error: BaseException
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises((RunError, KeyboardInterrupt)) as failure:
        files.write_atomically(path, b"new")
    if isinstance(error, OSError):
        assert str(failure.value) == f"{path}: cannot be written: No space left on device"
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    previous = os.umask(0o027)
    try:
        files.write_atomically(tmp_path / "a", b"")
    finally:
        os.umask(previous)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_windows_opens_no_folder_and_has_no_modes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def open_file(path: os.PathLike[str], flags: int, mode: int = 0o777) -> int:
        if os.path.isdir(path):
            raise PermissionError(13, "Permission denied")
        return opened(path, flags, mode)

    monkeypatch.setattr(os, "open", open_file)
    monkeypatch.delattr(os, "umask")
    monkeypatch.setattr(files, "sys", SimpleNamespace(platform="win32"))
    files.write_atomically(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


def test_new_files_alone_are_written(tmp_path: Path) -> None:
    path = tmp_path / "a"
    files.write_new(path, b"first")
    (tmp_path / "dangling").symlink_to("nowhere")
    for existing in (path, tmp_path, tmp_path / "dangling"):
        with pytest.raises(RunError) as failure:
            files.write_new(existing, b"second")
        assert str(failure.value) == (
            f"{existing} exists already and is left as it is; choose another name or remove it"
        )
    assert path.read_bytes() == b"first"


@pytest.mark.parametrize(
    ("name", "cause"), [("absent/a.txt", "No such file or directory"), ("file/a.txt", "Not a directory")]
)
def test_a_place_that_cannot_be_written_to(tmp_path: Path, name: str, cause: str) -> None:
    (tmp_path / "file").touch()
    for write in (files.write_atomically, files.write_new):
        with pytest.raises(RunError) as failure:
            write(tmp_path / name, b"new")
        assert str(failure.value) == f"{tmp_path}/{name}: cannot be written: {cause}"


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("absent/a.txt", "cannot be written: No such file or directory"),
        ("file/a.txt", "cannot be written: Not a directory"),
        ("folder", "is a folder; name the file to write"),
        ("n" * 250, "cannot be written: File name too long"),
    ],
)
def test_a_place_for_a_file_is_tried_before_it_is_written(tmp_path: Path, name: str, cause: str) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder").mkdir()
    there = sorted(os.listdir(tmp_path))
    refuse_unwritable(tmp_path / "new.txt")
    refuse_unwritable(tmp_path / "file")
    with pytest.raises(RunError) as failure:
        refuse_unwritable(tmp_path / name)
    assert str(failure.value).removeprefix(f"{tmp_path / name}").lstrip(": ") == cause
    assert (sorted(os.listdir(tmp_path)), (tmp_path / "file").read_text()) == (there, "kept")


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("file", "Not a directory"),
        ("file/a/b", "Not a directory"),
        ("a/" + "n" * 256, "File name too long"),
        ("lost", "No such file or directory"),
    ],
)
def test_a_place_for_a_folder_is_tried_before_it_is_made(tmp_path: Path, name: str, cause: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "lost").symlink_to("nowhere")
    refuse_unwritable_folder(tmp_path)
    refuse_unwritable_folder(tmp_path / "a" / "b")
    with pytest.raises(RunError) as failure:
        refuse_unwritable_folder(tmp_path / name)
    assert str(failure.value) == f"{tmp_path / name}: the folder cannot be made or written: {cause}"
    assert sorted(os.listdir(tmp_path)) == ["file", "lost"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        for refuse in (refuse_unwritable, refuse_unwritable_folder):
            with pytest.raises(RunError, match="Permission denied"):
                refuse(tmp_path / "a.txt")
        with pytest.raises(RunError) as failure:
            files.write_atomically(tmp_path / "a.txt", b"new")
    finally:
        tmp_path.chmod(0o700)
    assert str(failure.value) == f"{tmp_path}/a.txt: cannot be written: Permission denied"


def test_ways_out_of_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "inner" / "link").symlink_to("../a.txt")
    (folder / "to_inner").symlink_to(folder / "inner")
    (folder / "loop").symlink_to("loop")
    refuse_ways_out(folder)
    (tmp_path / "also_run").symlink_to(folder)
    refuse_ways_out(tmp_path / "also_run")
    refuse_ways_out(tmp_path / "absent")
    for name, target in (("inner/up", "../.."), ("neighbour", "../run2"), ("root", "/")):
        (folder / name).symlink_to(target)
        with pytest.raises(RunError) as caught:
            refuse_ways_out(folder)
        real = os.path.realpath(folder / name)
        assert str(caught.value) == (
            f"{folder}/{name} is a link out of {folder}, to {real}; put the file itself in its place"
        )
        (folder / name).unlink()
    os.mkfifo(folder / "inner" / "pipe")
    with pytest.raises(RunError) as caught:
        refuse_ways_out(folder)
    assert str(caught.value) == f"{folder}/inner/pipe is neither a file nor a folder; remove it"


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    refuse_other(tmp_path / "new", "study.json")
    (tmp_path / ".study.json.x").touch()
    (tmp_path / "trials").mkdir()
    refuse_other(tmp_path, "study.json")
    (tmp_path / "cats").mkdir()
    with pytest.raises(RunError) as failure:
        refuse_other(tmp_path, "study.json")
    assert str(failure.value) == (
        f"{tmp_path} is a folder of something else: it holds no study.json; name a new one with --out"
    )
    (tmp_path / "study.json").touch()
    refuse_other(tmp_path, "study.json")
