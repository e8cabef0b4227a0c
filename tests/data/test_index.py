import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from resnet_lab.data.index import open_images
from resnet_lab.errors import DataError
from resnet_lab.plugins import Entry, Owner, Registry, load

REGISTRY: Registry = load(only=[])


def fill(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 3), (number, 0, 0)).save(root / name, format="PNG")
    return root


def test_class_folders_nested_and_odd(tmp_path: Path) -> None:
    root = fill(
        tmp_path, "b/2.png", "b/deep/er/1.JPG", "Albrecht_Dürer/a, b.webp", "Albrecht_Dürer/.hidden.png", ".git/x.png"
    )
    (root / "b" / "notes.txt").write_text("no image")
    (root / "readme.png").write_text("not in a class folder")
    images = open_images(str(root), REGISTRY)
    assert images.classes == ("Albrecht_Dürer", "b")
    assert images.paths == ("Albrecht_Dürer/a, b.webp", "b/2.png", "b/deep/er/1.JPG")
    assert images.labels.tolist() == [0, 1, 1]
    assert [images.read(index).getpixel((0, 0)) for index in range(3)] == [(2, 0, 0), (0, 0, 0), (1, 0, 0)]


def test_digits_by_name() -> None:
    images = open_images("digits", REGISTRY)
    assert images.labels.tolist() == load_digits().target.tolist()
    assert np.array_equal(np.asarray(images.read(7)), np.round(load_digits().images[7] / 16 * 255))


def test_a_source_s_name_opens_it_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "digits", "a/1.png", "b/2.png")
    monkeypatch.chdir(tmp_path)
    assert open_images("digits", REGISTRY).name == "digits", "a data set's name comes before a folder's"
    relative = open_images("./digits", REGISTRY)
    monkeypatch.chdir("/")
    assert open_images(relative.name, REGISTRY).fingerprint == relative.fingerprint


def test_bad_folders(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "flat").mkdir()
    (tmp_path / "bare" / "a").mkdir(parents=True)
    fill(tmp_path / "one", "only/1.png")
    fill(tmp_path / "gap", "a/1.png")
    (tmp_path / "gap" / "b").mkdir()
    suffixes = ".bmp, .gif, .jpeg, .jpg, .png, .tif, .tiff, .webp"
    for name, message in {
        "absent": "absent: no such folder, and no data set of that name; known: digits",
        "file": "file is a file; give the folder that holds one folder of images a class",
        "flat": "flat holds no folder; it must hold one folder of images a class",
        "bare": f"bare holds no image in its class folders; images end in {suffixes}",
        "one": "one holds one class, 'only'; a classifier needs at least two",
        "gap": "gap/b: a class folder without an image; fill it or remove it",
    }.items():
        with pytest.raises(DataError) as failure:
            open_images(str(tmp_path / name), REGISTRY)
        assert str(failure.value) == f"{tmp_path}/{message}"


def test_a_misspelt_data_set_is_offered_its_neighbour() -> None:
    with pytest.raises(DataError) as failure:
        open_images("digit", REGISTRY)
    assert str(failure.value) == "digit: no such folder, and no data set of that name; did you mean 'digits'?"


def test_a_data_set_that_is_none() -> None:
    registry = load(only=[])
    registry.add([Entry("dataset", "nothing", lambda: None, Owner("lab-stranger", "1"))])
    with pytest.raises(DataError) as failure:
        open_images("nothing", registry)
    assert str(failure.value) == "data set 'nothing' gave NoneType, not an ImageSet; its plugin is at fault"


def broken_png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"not deflated") + chunk(b"IEND", b"")


@pytest.mark.parametrize("content", [b"", b"text", b"GIF89a", "truncated", broken_png()], ids=str)
def test_unreadable_images_are_named_with_the_cause(tmp_path: Path, content: bytes | str) -> None:
    fill(tmp_path, "a/1.png", "b/2.png")
    path = tmp_path / "b" / "2.jpg"
    if content == "truncated":
        Image.effect_noise((64, 64), 50).save(path)
        content = path.read_bytes()[:-500]
    path.write_bytes(content)  # type: ignore[arg-type]
    images = open_images(str(tmp_path), REGISTRY)
    with pytest.raises(DataError) as failure:
        images.read(1)
    message = str(failure.value)
    assert message.startswith(f"{path}: unreadable image (")
    assert message.endswith("); repair or remove it")
    assert "()" not in message


def test_an_image_that_is_gone(tmp_path: Path) -> None:
    images = open_images(str(fill(tmp_path, "a/1.png", "b/2.png")), REGISTRY)
    (tmp_path / "a" / "1.png").unlink()
    with pytest.raises(DataError) as failure:
        images.read(0)
    assert (
        str(failure.value) == f"{tmp_path}/a/1.png: unreadable image (No such file or directory); repair or remove it"
    )


def test_hidden_folders_and_folders_named_as_images_are_no_images(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.png", "b/2.png", "b/.thumbnails/2.png", "b/album.png/3.png")
    assert open_images(str(tmp_path), REGISTRY).paths == ("a/1.png", "b/2.png", "b/album.png/3.png")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_source_that_cannot_be_listed(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.png", "b/2.png")
    tmp_path.chmod(0)
    try:
        with pytest.raises(DataError) as failure:
            open_images(str(tmp_path), REGISTRY)
    finally:
        tmp_path.chmod(0o700)
    assert str(failure.value) == f"{tmp_path}: cannot be listed: Permission denied"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_class_folder_that_cannot_be_listed(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.png", "b/2.png")
    (tmp_path / "b").chmod(0)
    try:
        with pytest.raises(DataError) as failure:
            open_images(str(tmp_path), REGISTRY)
    finally:
        (tmp_path / "b").chmod(0o700)
    assert str(failure.value) == f"{tmp_path}/b: cannot be listed: Permission denied"
