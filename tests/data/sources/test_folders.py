import inspect
import os
import sys
from pathlib import Path

import pytest

from resnet_lab.data import decoding
from resnet_lab.data.sources.folders import Listing, access, find_images, is_image, read_file, stamp_of

NO_ENDING = "its name does not end like an image's (.avif, .bmp, .gif, .jfif, .jpeg, .jpg, .png, .tif, .tiff, .webp)"


def test_images_by_their_ending_sorted_as_folders_are_walked(tmp_path: Path, fill) -> None:
    fill(tmp_path, "b/2.PNG", "b/1/z.jpg", "b-c/3.png", "a.webp", ".a/1.png", "b/.1.png", "b/c.png/4.png")
    (tmp_path / "b" / "notes.txt").touch()
    names = ["a.webp", "b/1/z.jpg", "b/2.PNG", "b/c.png/4.png", "b-c/3.png"]
    assert find_images(tmp_path) == sorted(tmp_path / name for name in names)
    listing = Listing(tmp_path)
    assert listing.images("b") == ["b/1/z.jpg", "b/2.PNG", "b/c.png/4.png"]
    assert listing.left_out == [("b/notes.txt", NO_ENDING)]


@pytest.mark.parametrize(("name", "is_one"), [("a.JpEg", True), ("a.avif", True), ("a.jpg.txt", False), ("jpg", False)])
def test_endings(name: str, is_one: bool) -> None:
    assert is_image(name) is is_one


def test_what_systems_leave_is_passed_over(tmp_path: Path, fill) -> None:
    fill(tmp_path, "a/1.png", "__MACOSX/a/._1.png", "__MACOSX/2.png", ".hidden/3.png", "a/.4.png")
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "notes.txt"):
        (tmp_path / "a" / name).touch()
    listing = Listing(tmp_path)
    assert listing.images("") == ["a/1.png"]
    assert [path for path, _ in listing.left_out] == ["a/notes.txt"]


def test_names_that_are_not_utf_8_and_names_that_differ_in_normal_form(tmp_path: Path) -> None:
    names = [b"a/caf\xe9.png", "a/\u00e9.png".encode(), "a/e\u0301.png".encode()]
    (tmp_path / "a").mkdir()
    for name in names:
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).write_bytes(name)
    found = Listing(tmp_path).images("a")
    assert sorted(os.fsencode(path) for path in found) == sorted(names)
    read, stamp = access(str(tmp_path), found)
    assert {read(index) for index in range(3)} == set(names)
    assert len({stamp(index) for index in range(3)}) == 3


def test_links_are_followed_unless_they_lead_back(tmp_path: Path, fill) -> None:
    fill(tmp_path, "elsewhere/deep/1.png", "root/a/2.png", "root/b/3.png")
    root = tmp_path / "root"
    (root / "a" / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "a" / "file.png").symlink_to(root / "b" / "3.png")
    (root / "a" / "self").symlink_to(root / "a")
    (root / "a" / "up").symlink_to("..")
    (root / "a" / "top").symlink_to("/")
    (root / "a" / "to_b").symlink_to(root / "b")
    (root / "b" / "to_a").symlink_to(root / "a")
    (root / "a" / "nowhere.png").symlink_to("absent.png")
    (root / "a" / "circle.png").symlink_to("circle.png")
    listing = Listing(root)
    assert listing.images("a") == ["a/2.png", "a/file.png", "a/linked/deep/1.png", "a/to_b/3.png"]
    loops = ["a/self", "a/to_b/to_a", "a/top", "a/up"]
    assert sorted(listing.loops) == loops
    assert sorted(listing.left_out) == sorted(
        [(loop, "a link back to a folder that it lies in") for loop in loops]
        + [("a/nowhere.png", "a link to nothing"), ("a/circle.png", "Too many levels of symbolic links")]
    )


def test_a_link_that_leads_back_above_the_folder_asked_for(tmp_path: Path, fill) -> None:
    fill(tmp_path, "one/two/a/1.png")
    (tmp_path / "one" / "two" / "a" / "back").symlink_to(tmp_path / "one")
    listing = Listing(tmp_path)
    assert listing.images("one/two/a") == ["one/two/a/1.png"]
    assert listing.loops == {"one/two/a/back"}


def test_folders_that_cannot_be_listed(tmp_path: Path, fill, lock) -> None:
    fill(tmp_path, "a/1.png", "a/in/2.png")
    lock(tmp_path / "a" / "in")
    listing = Listing(tmp_path)
    assert listing.images("a") == ["a/1.png"]
    assert listing.left_out == [("a/in", "cannot be listed: Permission denied")]
    assert list(listing.locked) == ["a/in"]
    with pytest.raises(PermissionError):
        find_images(tmp_path)


def test_depth_is_not_bounded_by_python_s_stack(tmp_path: Path, fill) -> None:
    fill(tmp_path, "d/" * 200 + "1.png")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 100)
    try:
        found = Listing(tmp_path).images("d")
    finally:
        sys.setrecursionlimit(limit)
    assert found == ["d/" * 200 + "1.png"]


def test_a_pipe_is_neither_listed_nor_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    listing = Listing(tmp_path)
    assert listing.images("") == []
    assert listing.left_out == [("pipe.png", "not a regular file")]
    with pytest.raises(OSError, match=r"^not a regular file$"):
        read_file(tmp_path / "pipe.png")


def test_files_are_read_whole_up_to_the_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(bytes(range(100)))
    monkeypatch.setattr(decoding, "MAX_BYTES", 100)
    assert read_file(file) == bytes(range(100))
    file.write_bytes(bytes(101))
    with pytest.raises(OSError, match=r"^a file of 101 bytes, more than 100$"):
        read_file(file)
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(OSError, match=r"Is a directory|No such file"):
            read_file(path)


def test_a_stamp_changes_with_size_time_and_identity(tmp_path: Path) -> None:
    file, other = tmp_path / "a.png", tmp_path / "b.png"
    file.write_bytes(b"12")
    first = stamp_of(file)
    assert stamp_of(file) == first == "{0.st_size} {0.st_mtime_ns} {0.st_ino}".format(file.stat())
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    touched = stamp_of(file)
    other.write_bytes(b"12")
    os.utime(other, ns=(0, file.stat().st_mtime_ns))
    assert len({first, touched, stamp_of(other)}) == 3
    with pytest.raises(FileNotFoundError):
        stamp_of(tmp_path / "absent")
