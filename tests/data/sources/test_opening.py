import errno
import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from resnet_lab.core.errors import DataError, SpecError
from resnet_lab.data.sources import open_images, opening
from resnet_lab.network.plugins import Entry, Owner, Registry, load


def message(source: str, registry: Registry) -> str:
    with pytest.raises(DataError) as failure:
        open_images(source, registry)
    return str(failure.value)


def test_digits_by_name(registry: Registry) -> None:
    images = open_images("digits", registry)
    assert images.labels.tolist() == load_digits().target.tolist()
    assert np.array_equal(np.asarray(images.read(7)), np.round(load_digits().images[7] / 16 * 255))


def test_parameters_belong_to_the_name(registry: Registry) -> None:
    images = open_images("synthetic(images=12, classes=3)", registry)
    assert images.name == "synthetic(images=12, classes=3)"
    assert images.labels.tolist() == [0, 1, 2] * 4
    with pytest.raises(SpecError, match=r"data: dataset synthetic has no parameter 'number'"):
        open_images("synthetic(number=12)", registry)


def test_a_source_s_name_opens_it_from_anywhere(
    tmp_path: Path, registry: Registry, fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "digits", "a/1.png", "b/2.png")
    (tmp_path / "table.csv").write_text("path,label\ndigits/a/1.png,a\ndigits/b/2.png,b\n")
    monkeypatch.chdir(tmp_path)
    assert open_images("digits", registry).name == "digits", "a data set's name comes before a folder's"
    for source in ("./digits", "table.csv"):
        monkeypatch.chdir(tmp_path)
        relative = open_images(source, registry)
        monkeypatch.chdir("/")
        again = open_images(relative.name, registry)
        assert (again.name, again.paths, again.classes) == (relative.name, relative.paths, relative.classes)
        assert again.read(1) == (tmp_path / "digits/b/2.png").read_bytes()


def test_what_is_no_source(tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe.csv")
    absent = "no such folder, and no data set of that name"
    assert message(f"{tmp_path}/absent", registry) == f"{tmp_path}/absent: {absent}; known: digits, synthetic"
    assert message("digit", registry) == f"digit: {absent}; did you mean 'digits'?"
    assert message("a\0b", registry) == f"a\0b: {absent}; known: digits, synthetic"
    assert message(f"{tmp_path}/file/a", registry) == f"{tmp_path}/file/a: {absent}; known: digits, synthetic"
    assert message("", registry) == f": {absent}; known: digits, synthetic"
    for name in ("file", "pipe.csv"):
        assert message(f"{tmp_path}/{name}", registry) == (
            f"{tmp_path}/{name} is a file; give the folder that holds one folder of images per class, "
            "or a manifest (.csv, .tsv, .parquet)"
        )
    wanted = "the folder that holds one folder of images per class, or a manifest (.csv, .tsv, .parquet)"
    for name, kind in {
        "set.zip": "an archive; unpack it, and give", "SET.tar.gz": "an archive; unpack it, and give",
        "a.JPG": "a single image, which predict and explain take; give",
    }.items():  # fmt: skip
        (tmp_path / name).touch()
        assert message(f"{tmp_path}/{name}", registry) == f"{tmp_path}/{name} is {kind} {wanted}"
    name = "n" * 300
    assert message(name, registry) == f"{name}: cannot be opened: File name too long"


def test_a_data_set_that_is_none() -> None:
    registry = load(only=[])
    registry.add([Entry("dataset", "nothing", lambda: None, Owner("lab-stranger", "1"))])
    assert message("nothing", registry) == "data set 'nothing' gave NoneType, not an ImageSet; its plugin is at fault"


def test_libraries_are_asked_for_what_is_theirs(registry: Registry, tmp_path: Path) -> None:
    assert message("torchvision:CocoDetection", registry).startswith("torchvision:CocoDetection: torchvision's")
    assert message("hf:a(b)", registry).startswith("hf:a(b) is not of the form hf:NAME")
    assert message(f"wds:{tmp_path}/absent.tar", registry).startswith(f"{tmp_path}/absent.tar: no such shard")


def test_a_folder_that_may_not_be_read(tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(folder: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(folder / "dataset_dict.json"))

    monkeypatch.setattr(opening, "is_saved", locked)
    assert message(str(tmp_path), registry) == f"{tmp_path}: cannot be opened: Permission denied"
