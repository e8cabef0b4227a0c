import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnet_lab.core.errors import DataError
from resnet_lab.data.sources.class_folders import open_class_folders

SHARED = Path(__file__).parents[4] / "shared" / "data" / "best-artworks"
SUFFIXES = ".avif, .bmp, .gif, .jfif, .jpeg, .jpg, .png, .tif, .tiff, .webp"


def message(root: Path) -> str:
    with pytest.raises(DataError) as failure:
        open_class_folders(root)
    return str(failure.value)


def test_class_folders_nested_and_odd(tmp_path: Path, fill, redness) -> None:
    root = fill(
        tmp_path, "b/2.png", "b/deep/er/1.JPG", "Albrecht_Dürer/a, b.webp", "Albrecht_Dürer/.hidden.png", ".git/x.png"
    )
    (root / "b" / "notes.txt").write_text("no image")
    fill(root, "stray.png")
    images = open_class_folders(root)
    assert images.name == str(root.resolve())
    assert images.classes == ("Albrecht_Dürer", "b")
    assert images.paths == ("Albrecht_Dürer/a, b.webp", "b/2.png", "b/deep/er/1.JPG")
    assert images.labels.tolist() == [0, 1, 1]
    assert [redness(images.read(index)) for index in range(3)] == [2, 0, 1]
    assert images.parts is None
    assert images.left_out == (
        ("b/notes.txt", f"its name does not end like an image's ({SUFFIXES})"),
        ("stray.png", "it lies in no class folder"),
    )
    assert images.notes == ()


def test_an_image_that_changes_or_goes(tmp_path: Path, fill) -> None:
    images = open_class_folders(fill(tmp_path, "a/1.png", "b/2.png"))
    before = images.stamp(0)
    (tmp_path / "a" / "1.png").write_bytes(b"other")
    assert images.stamp(0) != before
    assert images.read(0) == b"other"
    (tmp_path / "a" / "1.png").unlink()
    for access in (images.read, images.stamp):
        with pytest.raises(FileNotFoundError):
            access(0)


def test_bad_folders(tmp_path: Path, fill) -> None:
    (tmp_path / "flat").mkdir()
    (tmp_path / "bare" / "a").mkdir(parents=True)
    fill(tmp_path / "one", "only/1.png")
    fill(tmp_path / "gap", "a/1.png")
    (tmp_path / "gap" / "b").mkdir()
    fill(tmp_path / "twisted", "a\nb/1.png", "c/2.png")
    fill(tmp_path / "divided", "a\\b/1.png", "c/2.png")
    fill(tmp_path / "blank", " /1.png", "c/2.png")
    fill(tmp_path / "phone", "a/1.HEIC", "a/2.heic", "b/3.mov", "b/README")
    fill(tmp_path / "low", "1.png", "2.jpg", "notes.txt")
    bad = "holds a line break, a path separator or another control character; rename it"
    for name, text in {
        "flat": "flat holds no folder; it must hold one folder of images per class",
        "bare": f"bare holds no image in its class folders; images end in {SUFFIXES}",
        "phone": f"phone holds no image in its class folders; images end in {SUFFIXES}; its files end in .heic, .mov: "
        "convert them",
        "low": f"low holds 2 images and no folder, as one class does; give the folder above it, {tmp_path}, which must "
        "hold one folder of images per class",
        "one": "one holds one class, 'only'; a classifier needs at least two",
        "gap": "gap/b: a class folder without an image; fill it or remove it",
        "twisted": f"twisted: label 'a\\nb' {bad}",
        "divided": f"divided: label 'a\\\\b' {bad}",
        "blank": "blank: an empty label; name the class",
    }.items():
        assert message(tmp_path / name) == f"{tmp_path}/{text}"


def test_locked_folders(tmp_path: Path, fill, lock) -> None:
    fill(tmp_path, "a/1.png", "b/2.png", "b/in/3.png")
    lock(tmp_path / "b" / "in")
    images = open_class_folders(tmp_path)
    assert images.paths == ("a/1.png", "b/2.png")
    assert images.left_out == (("b/in", "cannot be listed: Permission denied"),)
    lock(tmp_path / "b")
    assert message(tmp_path) == f"{tmp_path}/b: cannot be listed: Permission denied"
    lock(tmp_path)
    assert message(tmp_path) == f"{tmp_path}: cannot be listed: Permission denied"
    (tmp_path / "a" / "1.png").unlink()
    lock(tmp_path / "b")
    assert message(tmp_path) == f"{tmp_path}/b: cannot be listed: Permission denied"


def test_a_class_folder_that_is_a_loop_is_no_class(tmp_path: Path, fill) -> None:
    fill(tmp_path, "a/1.png", "b/2.png")
    (tmp_path / "again").symlink_to(tmp_path)
    images = open_class_folders(tmp_path)
    assert images.classes == ("a", "b")
    assert images.left_out == (("again", "a link back to a folder that it lies in"),)


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    for name in (b"D\xfcrer/\xff.png", b"a/1.png"):
        path = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name)))
        path.parent.mkdir()
        path.write_bytes(name)
    images = open_class_folders(tmp_path)
    assert images.classes == ("Dürer", "a")
    assert images.read(0) == b"D\xfcrer/\xff.png"
    assert os.fsencode(images.paths[0]) == b"D\xfcrer/\xff.png"
    assert images.notes == (r"'D\udcfcrer' is read as Dürer",)


def test_folders_of_one_name_are_one_class(tmp_path: Path, fill) -> None:
    fill(tmp_path, "Jan_Dürer/1.png", "Jan_Du╠êrer/2.png", "Jan_Duerer/3.png", "Cat/4.png", "cat/5.png", "Miro╠ü/6.png")
    images = open_class_folders(tmp_path)
    assert images.classes == ("Cat", "Jan_Dürer", "Miró", "cat")
    assert images.paths[1:4] == ("Jan_Duerer/3.png", "Jan_Du╠êrer/2.png", "Jan_Dürer/1.png")
    assert images.labels.tolist() == [0, 1, 1, 1, 2, 3]
    assert images.notes == (
        "folders 'Jan_Duerer', 'Jan_Du╠êrer' and 'Jan_Dürer' are one class, Jan_Dürer",
        "'Miro╠ü' is read as Miró",
    )


def test_images_of_no_class_are_listed(tmp_path: Path, fill) -> None:
    fill(tmp_path, "Training/a/1.png", "Training/b/2.png", "Testing/3.png", "Testing/in/4.png")
    images = open_class_folders(tmp_path)
    assert (images.classes, images.parts) == (("a", "b"), None)
    assert images.left_out == tuple((f"Testing/{name}", "it lies in no class folder") for name in ("3.png", "in/4.png"))
    assert images.notes == (
        "the class folders are those in Training", "2 images in Testing are of no class and set aside",
    )  # fmt: skip


def test_parts_that_the_folders_give(tmp_path: Path, fill) -> None:
    fill(tmp_path, "train/a/1.png", "train/b/2.png", "val/a/3.png", "val/b/4.png", "test/a/5.png", "test/b/6.png")
    images = open_class_folders(tmp_path)
    assert images.classes == ("a", "b")
    assert images.paths[:3] == ("test/a/5.png", "train/a/1.png", "val/a/3.png")
    assert images.parts == ("test", "train", "val") * 2
    shutil.rmtree(tmp_path / "val")
    images = open_class_folders(tmp_path)
    assert images.parts == ("test", "") * 2
    assert images.notes[-1] == "the source gives no val part: taken from its training images"


def test_flat_files(tmp_path: Path, fill) -> None:
    fill(tmp_path / "resized", "Jan_van_Eyck_1.jpg", "Jan_van_Eyck_12.jpg", "Titian_3.jpg", "unnumbered.jpg")
    (tmp_path / "resized" / "notes_1.txt").touch()
    images = open_class_folders(tmp_path)
    assert images.classes == ("Jan_van_Eyck", "Titian")
    assert images.paths == ("resized/Jan_van_Eyck_1.jpg", "resized/Jan_van_Eyck_12.jpg", "resized/Titian_3.jpg")
    assert images.left_out == (
        ("resized/notes_1.txt", f"its name does not end like an image's ({SUFFIXES})"),
        ("resized/unnumbered.jpg", "its name is not of the form <class>_<number>"),
    )


def test_a_table_that_knows_none_of_the_folders(tmp_path: Path, fill) -> None:
    fill(tmp_path, "cat/1.png", "dog/2.png")
    (tmp_path / "artists.csv").write_text("name,paintings\nTitian,3\n")
    images = open_class_folders(tmp_path)
    assert images.classes == ("cat", "dog")
    assert images.notes == (
        "without a row in artists.csv: 'cat', 'dog'",
        "artists in artists.csv without images: Titian",
    )


@pytest.fixture
def artworks(tmp_path: Path) -> Path:
    """The published set's folders with two images each, one flat image each, the table, and Dürer mangled too."""
    if not SHARED.is_dir():
        pytest.skip("the table of artists is not here")
    root = tmp_path
    with (SHARED / "file-counts.csv").open() as file:
        folders = [row["artist"] for row in csv.DictReader(file)]
    (root / "resized" / "resized").mkdir(parents=True)
    picture = Image.new("RGB", (4, 4), "red")
    for folder in [*folders, "Albrecht_Du╠êrer"]:
        (root / "images" / "images" / folder).mkdir(parents=True)
        for number in (1, 2):
            picture.save(root / "images" / "images" / folder / f"{folder}_{number}.jpg")
        (root / "resized" / "resized" / f"{folder}_7.jpg").write_bytes(b"flat")
    shutil.copy(SHARED / "artists.csv", root)
    return root


def test_the_published_set_of_artworks(artworks: Path) -> None:
    (artworks / "images" / "images" / "Nobody_at_all").mkdir()
    shutil.copy(artworks / "images/images/Titian/Titian_1.jpg", artworks / "images/images/Nobody_at_all/1.jpg")
    shutil.rmtree(artworks / "images" / "images" / "Jackson_Pollock")
    with (SHARED / "artists.csv").open(encoding="utf-8") as file:
        names = {row["name"] for row in csv.DictReader(file)}
    images = open_class_folders(artworks)
    assert set(images.classes) == (names | {"Nobody_at_all"}) - {"Jackson Pollock"}
    assert images.classes == tuple(sorted(images.classes))
    assert images.classes[0] == "Albrecht Dürer"
    assert np.bincount(images.labels).tolist() == [4, *(1 if "Nobody" in name else 2 for name in images.classes[1:])]
    assert images.paths[2] == "images/images/Albrecht_Du╠êrer/Albrecht_Du╠êrer_1.jpg"
    assert images.left_out == ()
    assert images.notes == (
        "the images in resized are ignored for those in images",
        "the class folders are those in images/images",
        "folders 'Albrecht_Duerer' and 'Albrecht_Du╠êrer' are one class, Albrecht Dürer",
        "without a row in artists.csv: 'Nobody_at_all'",
        "artists in artists.csv without images: Jackson Pollock",
        "images found, of the paintings that artists.csv counts: Amedeo Modigliani 2 of 193, "
        "Vasiliy Kandinskiy 2 of 88, Diego Rivera 2 of 70, Claude Monet 2 of 73, Rene Magritte 2 of 194 and 44 more",
    )


def test_the_published_set_flat(artworks: Path) -> None:
    flat = open_class_folders(artworks / "resized")
    assert len(flat.classes) == 50
    assert flat.classes[0] == "Albrecht Dürer"
    assert np.bincount(flat.labels).tolist() == [2] + [1] * 49
    assert flat.paths[:2] == ("resized/Albrecht_Duerer_7.jpg", "resized/Albrecht_Du╠êrer_7.jpg")
    assert flat.read(1) == b"flat"
    assert flat.notes[0] == "names 'Albrecht_Duerer' and 'Albrecht_Du╠êrer' are one class, Albrecht Dürer"
