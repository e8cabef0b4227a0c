"""Sets that Hugging Face's own library writes, read back."""

import io
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from resnet_lab.core.errors import DataError
from resnet_lab.core.images import ImageSet
from resnet_lab.data.sources import open_images
from resnet_lab.network.plugins import Registry

datasets = pytest.importorskip("datasets")
pyarrow = pytest.importorskip("pyarrow")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("no network in tests")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def png(red: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3), (red, 0, 0)).save(buffer, format="PNG")
    return buffer.getvalue()


def make(labels: list[Any], *, first: int = 0, feature: Any = None, **more: Any) -> Any:
    """A set of one image a label, red from `first` on."""
    rows = {
        "picture": [{"bytes": png(first + number), "path": None} for number in range(len(labels))],
        "kind": labels,
        **{name: values for name, (values, _) in more.items()},
    }
    features = {
        "picture": datasets.Image(),
        "kind": feature or datasets.ClassLabel(names=["a", "b/c", "unused"]),
        **{name: kind for name, (_, kind) in more.items()},
    }
    return datasets.Dataset.from_dict(rows, features=datasets.Features(features))


def message(source: str, registry: Registry, *, download: bool = False) -> str:
    with pytest.raises(DataError) as failure:
        open_images(source, registry, download=download)
    return str(failure.value)


def reds(images: ImageSet, redness: Callable[[bytes], int]) -> list[int]:
    return [redness(images.read(index)) for index in range(len(images))]


def test_a_set_saved_to_disk(tmp_path: Path, registry: Registry, redness, monkeypatch: pytest.MonkeyPatch) -> None:
    make([1, 0, -1, 1, None]).save_to_disk(tmp_path / "saved")
    monkeypatch.chdir(tmp_path)
    images = open_images("saved", registry)
    assert images.name == f"hf:{tmp_path}/saved"
    assert images.classes == ("a", "b-c")
    assert images.labels.tolist() == [1, 0, 1]
    assert images.paths == ("000000", "000001", "000003")
    assert reds(images, redness) == [0, 1, 3]
    assert images.read(2) == png(3), "the bytes of the file, not decoded"
    assert images.parts is None
    assert images.left_out == (("000002", "it has no label"), ("000004", "it has no label"))
    assert images.notes == (
        "classes without an image: 'unused'",
        "class names are written without path separators: 'b/c'",
    )
    monkeypatch.chdir("/")
    again = open_images(images.name, registry)
    assert again.name == images.name
    assert [again.stamp(index) for index in range(3)] == [images.stamp(index) for index in range(3)]
    assert len({images.stamp(index) for index in range(3)}) == 3


def test_stamps_change_with_the_files(tmp_path: Path, registry: Registry) -> None:
    make([1, 0]).save_to_disk(tmp_path / "saved")
    before = open_images(str(tmp_path / "saved"), registry).stamp(0)
    (arrow,) = (tmp_path / "saved").glob("*.arrow")
    os.utime(arrow, ns=(0, 0))
    assert open_images(str(tmp_path / "saved"), registry).stamp(0) != before


def test_rows_in_another_order_than_the_file_s(tmp_path: Path, registry: Registry, redness) -> None:
    make([0, 1, 0, 1]).select([3, 0, 2]).save_to_disk(tmp_path / "saved")
    images = open_images(str(tmp_path / "saved"), registry)
    assert reds(images, redness) == [3, 0, 2]
    assert images.labels.tolist() == [1, 0, 0]


def test_splits_are_parts(tmp_path: Path, registry: Registry, redness) -> None:
    splits = {"train": make([0, 1]), "validation": make([1, 0], first=2), "test": make([0, 1], first=4)}
    datasets.DatasetDict({**splits, "extra": make([0], first=6)}).save_to_disk(tmp_path / "saved")
    images = open_images(str(tmp_path / "saved"), registry)
    assert images.paths == tuple(f"{part}/{number:06d}" for part in splits for number in range(2))
    assert images.parts == ("train", "train", "val", "val", "test", "test")
    assert images.labels.tolist() == [0, 1, 1, 0, 0, 1]
    assert reds(images, redness) == [0, 1, 2, 3, 4, 5]
    assert images.notes[0] == "splits that are no part are ignored: extra"
    datasets.DatasetDict({"Training": splits["train"], "dev": splits["test"]}).save_to_disk(tmp_path / "other")
    assert open_images(str(tmp_path / "other"), registry).parts == ("", "", "val", "val")
    datasets.DatasetDict({"everything": make([0, 1])}).save_to_disk(tmp_path / "whole")
    assert open_images(str(tmp_path / "whole"), registry).parts is None


def test_a_part_without_labels_is_passed_over(tmp_path: Path, registry: Registry) -> None:
    datasets.DatasetDict({"train": make([0, 1]), "test": make([-1, -1])}).save_to_disk(tmp_path / "saved")
    images = open_images(str(tmp_path / "saved"), registry)
    assert (images.parts, images.left_out) == (None, ())
    assert images.notes[0] == "the test part has no labels and is ignored"


def test_texts_and_numbers_as_labels(tmp_path: Path, registry: Registry) -> None:
    text = make(["x", "y", "x"], feature=datasets.Value("string"), weight=([3, 5, 3], datasets.Value("int8")))
    text.save_to_disk(tmp_path / "text")
    images = open_images(str(tmp_path / "text"), registry)
    assert (images.classes, images.labels.tolist()) == (("x", "y"), [0, 1, 0])
    source = f"hf:{tmp_path}/text(label=weight)"
    images = open_images(source, registry)
    assert (images.classes, images.labels.tolist()) == (("3", "5"), [0, 1, 0])
    assert images.name == source


def test_columns_that_must_be_chosen(tmp_path: Path, registry: Registry, redness) -> None:
    fine = ([0, 1], datasets.ClassLabel(names=["p", "q"]))
    mask = ([{"bytes": png(7), "path": None}] * 2, datasets.Image())
    make([1, 0], fine=fine, mask=mask, score=([0.5, 0.1], datasets.Value("float32"))).save_to_disk(tmp_path / "saved")
    where = f"hf:{tmp_path}/saved"
    assert message(str(tmp_path / "saved"), registry) == (
        f"{where}: several columns can be the image: picture, mask; name one, as in {where}(image=picture)"
    )
    assert message(f"{where}(image=mask)", registry) == (
        f"{where}(image=mask): several columns can be the label: kind, fine; name one, as in "
        f"{where}(image=mask, label=kind)"
    )
    images = open_images(f"{where}(label=fine, image=mask)", registry)
    assert images.name == f"{where}(image=mask, label=fine)"
    assert images.classes == ("p", "q")
    assert reds(images, redness) == [7, 7]
    assert message(f"{where}(image=kind)", registry) == (
        f"{where}(image=kind): 'kind' is no column of images; it can be picture, mask"
    )
    assert message(f"{where}(image=mask, label=score)", registry) == (
        f"{where}(image=mask, label=score): 'score' is no column of labels; it can be kind, fine"
    )
    assert message(f"{where}(column=mask)", registry) == (
        f"{where}(column=mask): no parameter 'column'; did you mean 'config'?"
    )


def test_columns_that_are_missing_or_differ(tmp_path: Path, registry: Registry) -> None:
    make([0, 1]).remove_columns("picture").save_to_disk(tmp_path / "blind")
    where = f"hf:{tmp_path}/blind"
    assert message(where, registry) == f"{where} has no column of images; its columns are kind"
    make([0, 1]).remove_columns("kind").save_to_disk(tmp_path / "mute")
    where = f"hf:{tmp_path}/mute"
    assert message(where, registry) == f"{where} has no column of labels; its columns are picture"
    other = make([0, 1], feature=datasets.ClassLabel(names=["a", "z"]))
    datasets.DatasetDict({"train": make([0, 1]), "test": other}).save_to_disk(tmp_path / "split")
    where = f"hf:{tmp_path}/split"
    assert message(where, registry) == f"{where}: split 'test' has other columns 'picture' or 'kind' than the first"


def with_paths(folder: Path, *paths: str) -> Path:
    """A folder whose rows name files, as only a hand can write one: `save_to_disk` puts files into the table."""
    empty = [{"bytes": png(number), "path": None} for number in range(len(paths))]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    table = {"image": empty, "label": [f"{number % 2}" for number in range(len(paths))]}
    datasets.Dataset.from_dict(table, features=features).save_to_disk(folder)
    (arrow,) = folder.glob("*.arrow")
    with pyarrow.ipc.open_stream(arrow.read_bytes()) as stream:
        schema = stream.schema
    named = pyarrow.array([{"bytes": None, "path": path} for path in paths], type=schema.field("image").type)
    with pyarrow.ipc.new_stream(arrow, schema) as stream:
        stream.write_table(pyarrow.table([named, pyarrow.array(table["label"])], schema=schema))
    return folder


def test_a_saved_folder_names_no_file_outside_itself(tmp_path: Path, registry: Registry, redness) -> None:
    folder = with_paths(tmp_path / "saved", "0.png", f"{tmp_path}/saved/1.png")
    for number in range(2):
        (folder / f"{number}.png").write_bytes(png(number))
    assert reds(open_images(str(folder), registry), redness) == [0, 1]
    (tmp_path / "private.png").write_bytes(png(9))
    for number, path in enumerate((f"{tmp_path}/private.png", "../private.png", "x.png")):
        folder = with_paths(tmp_path / f"sent{number}", "0.png", path)
        (folder / "x.png").symlink_to(tmp_path / "private.png")
        assert message(str(folder), registry) == (
            f"hf:{folder} names a file outside its folder, {tmp_path}/private.png; save the set again with "
            "save_to_disk, which puts images into the folder"
        )


def test_the_tables_of_a_saved_folder_are_in_it(tmp_path: Path, registry: Registry) -> None:
    make([0, 1]).save_to_disk(tmp_path / "saved")
    (arrow,) = (tmp_path / "saved").glob("*.arrow")
    moved = arrow.rename(tmp_path / "elsewhere.arrow")
    state = tmp_path / "saved" / "state.json"
    state.write_text(state.read_text().replace(arrow.name, "../elsewhere.arrow"))
    assert message(str(tmp_path / "saved"), registry).startswith(
        f"hf:{tmp_path}/saved names a file outside its folder, {moved}; "
    )


def test_a_row_without_an_image(tmp_path: Path, registry: Registry) -> None:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    table = {"image": [{"bytes": png(1), "path": None}, None], "label": ["x", "y"]}
    datasets.Dataset.from_dict(table, features=features).save_to_disk(tmp_path / "saved")
    images = open_images(str(tmp_path / "saved"), registry)
    assert images.read(0) == png(1)
    with pytest.raises(OSError, match=r"^the row holds no image$"):
        images.read(1)


def test_a_set_from_the_library_s_cache(
    tmp_path: Path, registry: Registry, redness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library keeps the files that it prepares of a fetched set, under the set's name.

    Here the images themselves are in files of their own, so that only reading them shows whether they changed.
    """
    for number, name in enumerate(["train/x/1.png", "train/y/1.png", "test/x/2.png", "test/y/2.png"]):
        (tmp_path / "set" / name).parent.mkdir(parents=True)
        (tmp_path / "set" / name).write_bytes(png(number))
    cache = tmp_path / "cache"
    datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "set"), cache_dir=str(cache))
    (cache / "imagefolder").rename(cache / "someone___paintings")
    (config,) = (cache / "someone___paintings").iterdir()
    config.rename(cache / "someone___paintings" / "default")
    for file in cache.rglob("imagefolder-*.arrow"):
        file.rename(file.with_name(file.name.replace("imagefolder", "paintings")))
    info = next(cache.rglob("dataset_info.json"))
    info.write_text(info.read_text().replace("imagefolder", "paintings"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    images = open_images("hf:someone/paintings", registry)
    assert images.name == "hf:someone/paintings"
    assert images.classes == ("x", "y")
    assert images.parts == ("", "", "test", "test")
    assert reds(images, redness) == [0, 1, 2, 3]
    assert images.stamp is None
    (tmp_path / "set" / "test" / "y" / "2.png").unlink()
    with pytest.raises(FileNotFoundError):
        images.read(3)
    assert not datasets.config.HF_HUB_OFFLINE


def test_sets_that_are_not_there(tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    assert message("hf:someone/nothing", registry) == (
        "hf:someone/nothing is not in the library's cache; fetch it with --download"
    )
    assert not datasets.config.HF_HUB_OFFLINE
    (tmp_path / "plain").mkdir()
    assert message(f"hf:{tmp_path}/plain", registry) == (
        f"hf:{tmp_path}/plain: a folder of that name is here, and save_to_disk did not write it"
    )
    make([0, 1]).save_to_disk(tmp_path / "saved")
    (tmp_path / "saved" / "state.json").write_text("{")
    assert message(str(tmp_path / "saved"), registry).startswith(f"hf:{tmp_path}/saved cannot be read: ")


def test_the_library_s_errors_of_fetching(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    offline = []

    def load(name: str, config: str | None) -> None:
        offline.append(datasets.config.HF_HUB_OFFLINE)
        raise ValueError(f"Config name is missing.\nPick one of {name}'s" if config is None else "no\nluck")

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert message("hf:someone/set", registry, download=True) == (
        "hf:someone/set needs a configuration, as in hf:someone/set(config='...'): "
        "Config name is missing. Pick one of someone/set's"
    )
    assert message("hf:someone/set(config=big)", registry, download=True) == (
        "hf:someone/set(config=big) cannot be fetched: no luck"
    )
    message("hf:someone/set(config=big)", registry)
    assert offline == [False, False, True]


def test_without_the_library(tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert message("hf:someone/set", registry) == (
        'hf:someone/set: the library datasets is not installed; pip install "resnet-lab[hf]"'
    )


def test_labels_are_read_as_the_library_reads_them(tmp_path: Path, registry: Registry) -> None:
    labels = np.random.default_rng(0).integers(0, 2, 50).tolist()
    make(labels).save_to_disk(tmp_path / "saved", num_shards=3)
    images = open_images(str(tmp_path / "saved"), registry)
    reference = datasets.load_from_disk(str(tmp_path / "saved"))
    assert images.labels.tolist() == list(reference["kind"]) == labels
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(images.read(49)))), np.asarray(reference[49]["picture"]))
