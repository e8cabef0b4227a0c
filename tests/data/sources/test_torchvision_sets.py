"""Sets written in the format that torchvision reads, and compared with what torchvision itself makes of them."""

import csv
import hashlib
import json
import pickle
import socket
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from torchvision import datasets

from resnet_lab.core.errors import DataError
from resnet_lab.core.images import ImageSet
from resnet_lab.data.sources import open_images
from resnet_lab.data.sources.torchvision_sets import OTHER_TASKS, default_root, set_names
from resnet_lab.network.plugins import Registry


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no network in tests")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def write_idx(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack(f">I{array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.tobytes())


def write_mnist(raw: Path, prefixes: tuple[str, str] = ("train", "t10k"), labels: tuple[int, ...] = (3, 0, 9)) -> None:
    for number, prefix in enumerate(prefixes):
        write_idx(raw / f"{prefix}-images-idx3-ubyte", noise(3, 28, 28) + np.uint8(number))
        write_idx(raw / f"{prefix}-labels-idx1-ubyte", np.array(labels, dtype=np.uint8))


def write_images(folder: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(6, 5, 3) + np.uint8(number)).save(folder / name)


def message(source: str, registry: Registry, *, download: bool = False) -> str:
    with pytest.raises(DataError) as failure:
        open_images(source, registry, download=download)
    return str(failure.value)


def equal_to(images: ImageSet, *references: datasets.VisionDataset) -> None:
    """Labels and pixels of all images are those of the references, in their order."""
    expected = [reference[index] for reference in references for index in range(len(reference))]
    assert len(images) == len(expected)
    names = getattr(references[0], "classes", None) or references[0].categories
    for index, (image, label) in enumerate(expected):
        assert images.classes[images.labels[index]] == names[label].replace("/", "-")
        content = images.read(index)
        if isinstance(content, bytes):
            assert content == (Path(references[0].root) / images.paths[index]).read_bytes()
        else:
            assert np.array_equal(np.asarray(content), np.asarray(image))


def test_a_set_in_arrays_split_by_train(tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(tmp_path / "FashionMNIST" / "raw")
    monkeypatch.setenv("RESNET_LAB_DATA", str(tmp_path))
    images = open_images("torchvision:fashionmnist", registry)
    equal_to(images, datasets.FashionMNIST(tmp_path, train=True), datasets.FashionMNIST(tmp_path, train=False))
    assert images.name == "torchvision:FashionMNIST"
    assert images.classes == ("T-shirt-top", "Dress", "Ankle boot")
    assert images.paths[2:4] == ("train/000002", "test/000000")
    assert images.parts == ("", "", "", "test", "test", "test")
    assert images.stamp is None
    assert images.notes[0] == "the source gives no val part: taken from its training images"
    assert images.notes[2] == "class names are written without path separators: 'T-shirt/top'"


def test_a_root_of_its_own_opens_from_anywhere(
    tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mnist(tmp_path / "in here" / "MNIST" / "raw")
    monkeypatch.chdir(tmp_path)
    images = open_images("torchvision:MNIST(root='in here')", registry)
    assert images.name == f"torchvision:MNIST(root='{tmp_path}/in here')"
    monkeypatch.chdir("/")
    assert open_images(images.name, registry).classes == images.classes == ("0 - zero", "3 - three", "9 - nine")


def test_a_set_that_needs_a_choice(tmp_path: Path, registry: Registry) -> None:
    raw = tmp_path / "EMNIST" / "raw"
    write_mnist(raw, ("emnist-letters-train", "emnist-letters-test"), labels=(1, 2, 26))
    images = open_images(f"torchvision:EMNIST(split=letters, root='{tmp_path}')", registry)
    reference = [datasets.EMNIST(tmp_path, "letters", train=train) for train in (True, False)]
    equal_to(images, *reference)
    assert images.classes == ("a", "b", "z")
    assert images.parts == ("", "", "", "test", "test", "test")
    source = f"torchvision:EMNIST(root='{tmp_path}')"
    assert message(source, registry) == (
        f"{source} needs its parameter 'split', as in torchvision:EMNIST(root='{tmp_path}', split='...')"
    )
    source = f"torchvision:EMNIST(root='{tmp_path}', split=greek)"
    assert message(source, registry).startswith(f"{source}: Unknown value 'greek' for argument split. Valid values are")


@pytest.mark.parametrize(
    ("size", "text"),
    [("160", "Expected type str for argument size"), ("'1px'", "Unknown value '1px' for argument size")],
)
def test_a_choice_that_the_set_does_not_have(tmp_path: Path, registry: Registry, size: str, text: str) -> None:
    source = f"torchvision:Imagenette(root='{tmp_path}', size={size})"
    assert message(source, registry).startswith(f"{source}: {text}")


def test_splits_of_other_names(tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.SVHN, "split_list", {"odd": ["", "odd.mat", ""]})
    source = f"torchvision:SVHN(root='{tmp_path}')"
    assert message(source, registry) == (
        f"{source} has no split called train, val or test; name one, as in "
        f"torchvision:SVHN(root='{tmp_path}', split='...')"
    )


def test_pickled_batches_that_torchvision_checks(
    tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()

    def write(name: str, content: dict[str, object]) -> str:
        (folder / name).write_bytes(pickle.dumps(content))
        return hashlib.md5((folder / name).read_bytes(), usedforsecurity=False).hexdigest()

    lists = {
        kind: [
            [name, write(name, {"data": noise(2, 3072), "labels": [number, 1]})] for number, name in enumerate(names)
        ]
        for kind, names in {"train_list": ["data_batch_1", "data_batch_2"], "test_list": ["test_batch"]}.items()
    }
    meta = {"filename": "batches.meta", "key": "label_names", "md5": write("batches.meta", {"label_names": ["a", "b"]})}
    for name, value in {**lists, "meta": meta}.items():
        monkeypatch.setattr(datasets.CIFAR10, name, value)
    source = f"torchvision:CIFAR10(root='{tmp_path}')"
    images = open_images(source, registry)
    equal_to(images, datasets.CIFAR10(tmp_path, train=True), datasets.CIFAR10(tmp_path, train=False))
    assert images.labels.tolist() == [0, 1, 1, 1, 0, 1]
    (folder / "data_batch_2").write_bytes(pickle.dumps({}))
    assert message(source, registry) == (
        f"{source} is not whole in {tmp_path} (Dataset not found or corrupted); "
        "fetch it with --download, or name its folder: root='...'"
    )


def test_digits_without_names(tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """SVHN's files number zero as class 10."""
    splits = {}
    for split in ("train", "test"):
        file = f"{split}_32x32.mat"
        savemat(tmp_path / file, {"X": noise(32, 32, 3, 3), "y": np.array([[10], [2], [1]], dtype=np.uint8)})
        splits[split] = ["", file, hashlib.md5((tmp_path / file).read_bytes(), usedforsecurity=False).hexdigest()]
    monkeypatch.setattr(datasets.SVHN, "split_list", splits)
    images = open_images(f"torchvision:SVHN(root='{tmp_path}')", registry)
    assert images.classes == ("0", "1", "2")
    assert images.labels.tolist() == [0, 2, 1] * 2
    assert images.parts == ("", "", "", "test", "test", "test")
    assert np.array_equal(np.asarray(images.read(4)), noise(32, 32, 3, 3)[..., 1])
    assert images.parts is not None
    only = open_images(f"torchvision:SVHN(root='{tmp_path}', split=test)", registry)
    assert (len(only), only.parts) == (3, None)


def test_image_files_in_three_official_parts(tmp_path: Path, registry: Registry) -> None:
    folder = tmp_path / "dtd" / "dtd"
    names = ["banded/banded_1.jpg", "dotted/dotted_1.jpg", "banded/banded_2.jpg", "dotted/dotted_2.jpg"]
    write_images(folder / "images", *names, "banded/banded_3.jpg", "dotted/dotted_3.jpg")
    (folder / "labels").mkdir()
    parts = {"train": names[:2], "val": names[2:], "test": ["banded/banded_3.jpg", "dotted/dotted_3.jpg"]}
    for part, members in parts.items():
        (folder / "labels" / f"{part}4.txt").write_text("\n".join(members))
    images = open_images(f"torchvision:DTD(partition=4, root='{tmp_path}')", registry)
    equal_to(images, *(datasets.DTD(tmp_path, split=part, partition=4) for part in parts))
    assert images.paths[0] == "dtd/dtd/images/banded/banded_1.jpg"
    assert images.parts == ("train", "train", "val", "val", "test", "test")
    before = images.stamp(0)
    (folder / "images" / names[0]).write_bytes(b"other")
    assert images.stamp(0) != before
    assert images.read(0) == b"other"


def test_image_files_that_nobody_split(tmp_path: Path, registry: Registry) -> None:
    write_images(tmp_path / "eurosat" / "2750", "Forest/1.jpg", "River/1.jpg", "River/2.jpg")
    images = open_images(f"torchvision:EuroSAT(root='{tmp_path}')", registry)
    equal_to(images, datasets.EuroSAT(tmp_path))
    assert (images.classes, images.parts) == (("Forest", "River"), None)


def test_image_files_with_a_validation_part_alone(tmp_path: Path, registry: Registry) -> None:
    files = ["n01440764/a.JPEG", "n02102040/b.JPEG"]
    write_images(tmp_path / "imagenette2-160", *(f"{part}/{file}" for part in ("train", "val") for file in files))
    images = open_images(f"torchvision:Imagenette(size='160px', root='{tmp_path}')", registry)
    assert images.classes == ("tench, Tinca tinca", "English springer, English springer spaniel")
    assert images.parts == ("", "", "val", "val")
    assert images.notes == ("the source gives no test part: taken from its training images",)


def test_image_files_that_torchvision_decodes(tmp_path: Path, registry: Registry) -> None:
    """Portable pixmaps are in no format that is opened here, so the library's own decoding counts."""
    base = tmp_path / "gtsrb"
    write_images(base / "GTSRB" / "Training", "00000/1.ppm", "00001/1.ppm")
    write_images(base / "GTSRB" / "Final_Test" / "Images", "1.ppm", "2.ppm")
    with (base / "GT-final_test.csv").open("w") as file:
        csv.writer(file, delimiter=";").writerows([("Filename", "ClassId"), ("1.ppm", 1), ("2.ppm", 0)])
    images = open_images(f"torchvision:GTSRB(root='{tmp_path}')", registry)
    assert images.classes == ("0", "1")
    assert images.labels.tolist() == [0, 1, 1, 0]
    assert np.array_equal(np.asarray(images.read(2)), noise(6, 5, 3))
    (base / "GTSRB" / "Final_Test" / "Images" / "1.ppm").write_bytes(b"P6\n2 2\n70000\n")
    (base / "GTSRB" / "Final_Test" / "Images" / "2.ppm").write_bytes(b"")
    for index in (2, 3):
        with pytest.raises(OSError, match=r"maxval|cannot identify"):
            images.read(index)


def test_files_listed_in_json(tmp_path: Path, registry: Registry) -> None:
    folder = tmp_path / "food-101"
    write_images(folder / "images", "pho/1.jpg", "pho/2.jpg", "sushi/1.jpg", "sushi/2.jpg")
    (folder / "meta").mkdir()
    for part, number in (("train", 1), ("test", 2)):
        listed = {name: [f"{name}/{number}"] for name in ("sushi", "pho")}
        (folder / "meta" / f"{part}.json").write_text(json.dumps(listed))
    images = open_images(f"torchvision:Food101(root='{tmp_path}')", registry)
    equal_to(images, *(datasets.Food101(tmp_path, split=part) for part in ("train", "test")))
    (folder / "images" / "pho" / "2.jpg").unlink()
    with pytest.raises(FileNotFoundError):
        open_images(images.name, registry).read(3)


def test_categories_are_classes(tmp_path: Path, registry: Registry) -> None:
    folder = tmp_path / "caltech101" / "101_ObjectCategories"
    write_images(folder, "ant/image_0001.jpg", "ant/image_0002.jpg", "yin/image_0001.jpg", "BACKGROUND_Google/1.jpg")
    (tmp_path / "caltech101" / "Annotations").mkdir()
    images = open_images(f"torchvision:Caltech101(root='{tmp_path}')", registry)
    equal_to(images, datasets.Caltech101(tmp_path))
    assert (images.classes, images.paths[2]) == (("ant", "yin"), "000002")


def test_trainval_is_the_training_part(tmp_path: Path, registry: Registry) -> None:
    folder = tmp_path / "oxford-iiit-pet"
    write_images(folder / "images", "Abyssinian_1.jpg", "beagle_1.jpg", "Abyssinian_2.jpg", "beagle_2.jpg")
    (folder / "annotations").mkdir()
    for part, number in (("trainval", 1), ("test", 2)):
        text = f"Abyssinian_{number} 1 1 1\nbeagle_{number} 2 2 1\n"
        (folder / "annotations" / f"{part}.txt").write_text(text)
    images = open_images(f"torchvision:OxfordIIITPet(root='{tmp_path}')", registry)
    equal_to(images, *(datasets.OxfordIIITPet(tmp_path, split=part) for part in ("trainval", "test")))
    assert images.parts == ("", "", "test", "test")


def test_classes_that_differ_between_parts(tmp_path: Path, registry: Registry) -> None:
    write_images(tmp_path / "country211", *(f"{part}/AD/1.jpg" for part in ("train", "valid", "test")))
    write_images(tmp_path / "country211", "train/AE/1.jpg", "test/AE/1.jpg", "valid/AF/1.jpg")
    source = f"torchvision:Country211(root='{tmp_path}')"
    assert message(source, registry) == f"{source}: its parts have different classes; files of some are missing"


@pytest.mark.parametrize("name", set_names())
def test_every_set_says_that_it_is_not_there(name: str, tmp_path: Path, registry: Registry) -> None:
    """Nothing is fetched, although some constructors fetch unless told otherwise."""
    source = f"torchvision:{name}(root='{tmp_path}')"
    text = message(source, registry)
    assert text.startswith((f"{source} is not whole in {tmp_path} (", f"{source} needs its parameter 'split'"))
    assert "no network in tests" not in text


def test_a_set_that_is_not_there(tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESNET_LAB_DATA", str(tmp_path / "absent"))
    assert message("torchvision:CIFAR10", registry) == (
        f"torchvision:CIFAR10 is not whole in {tmp_path}/absent (there is no such folder); "
        "fetch it with --download, or name its folder: root='...'"
    )
    assert not (tmp_path / "absent").exists()
    assert message("torchvision:CIFAR10", registry, download=True).startswith(
        f"torchvision:CIFAR10 cannot be fetched into {tmp_path}/absent: "
    )
    assert message(f"torchvision:FER2013(root='{tmp_path}')", registry).endswith("; put it there by hand")


def test_the_default_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RESNET_LAB_DATA", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", "/some/where")
    assert default_root() == Path("/some/where/resnet-lab/torchvision")


def test_names_that_are_no_classification_sets(registry: Registry) -> None:
    for name in OTHER_TASKS.split():
        assert message(f"torchvision:{name}", registry) == (
            f"torchvision:{name}: torchvision's {name} is not a set of pictures that each have one class"
        )
        assert hasattr(datasets, name)
    assert message("torchvision:CIFAR11", registry) == (
        "torchvision:CIFAR11: torchvision has no classification set of that name; did you mean 'CIFAR10' or 'CIFAR100'?"
    )
    assert message("torchvision:ImageFolder", registry) == (
        "torchvision:ImageFolder: give the path of the folder itself; it needs no torchvision"
    )
    assert message("torchvision:CIFAR10(rot='x')", registry) == (
        "torchvision:CIFAR10(rot=x): no parameter 'rot'; did you mean 'root'?"
    )
