import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnet_lab.data.split import members_of, stratified, to_csv
from resnet_lab.errors import DataError
from resnet_lab.images import ImageSet


def images(*counts: int, names: str = "abcdefgh") -> ImageSet:
    labels = np.repeat(np.arange(len(counts)), counts)
    numbers = [number for count in counts for number in range(count)]
    paths = tuple(f"{names[label]}/{number}.png" for label, number in zip(labels, numbers, strict=True))
    return ImageSet("set", tuple(names[: len(counts)]), paths, labels, lambda index: Image.new("L", (1, 1)))


@pytest.mark.parametrize(
    ("count", "held_out"), [(3, 1), (4, 1), (9, 1), (10, 1), (14, 1), (16, 2), (24, 2), (100, 10), (877, 88)]
)
def test_each_class_gives_a_tenth_to_each_held_out_part(count: int, held_out: int) -> None:
    data = images(count, 50)
    parts = stratified(data, seed=0)
    assert Counter(parts[data.labels == 0]) == {"train": count - 2 * held_out, "val": held_out, "test": held_out}
    assert Counter(parts[data.labels == 1]) == {"train": 40, "val": 5, "test": 5}


def test_seeds_repeat_and_differ_and_classes_are_apart() -> None:
    data = images(40, 40)
    first = stratified(data, 1)
    assert np.array_equal(first, stratified(data, 1))
    assert not np.array_equal(first, stratified(data, 2))
    assert not np.array_equal(first[:40], first[40:])
    assert np.array_equal(stratified(images(40, 7), 1)[:40], first[:40]), "another class's size must not matter"
    behind = stratified(images(9, 40, names="zabc"), 1)[9:]
    assert np.array_equal(behind, first[:40]), "another class before it must not matter"
    chosen = Counter(int(index) for seed in range(200) for index in np.flatnonzero(stratified(data, seed) == "test"))
    assert set(chosen) == set(range(80)), "every image is held out under some seed"


def test_a_class_too_small() -> None:
    with pytest.raises(DataError) as failure:
        stratified(images(5, 2), 0)
    assert str(failure.value) == (
        "set: class 'b' has 2 images; 3 parts need at least one each: add images or remove the class"
    )


def test_the_file_comes_back(tmp_path: Path) -> None:
    data = images(12, 12, names='x"')
    odd = ImageSet("set", ('x, "y"', "line\u2028break"), tuple(f"{p}, ü" for p in data.paths), data.labels, data.read)
    parts = stratified(odd, 0)
    path = tmp_path / "splits.csv"
    path.write_text(to_csv(odd, parts), encoding="utf-8")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["path"], row["label"], row["split"]) for row in rows] == [
        (odd.paths[index], odd.classes[odd.labels[index]], parts[index]) for index in range(24)
    ]
    for part in ("train", "val", "test"):
        assert members_of(part, path, odd).tolist() == np.flatnonzero(parts == part).tolist()


def test_a_file_name_that_is_no_text_comes_back(tmp_path: Path) -> None:
    """POSIX names are bytes; Python carries those that are not UTF-8 as lone surrogates."""
    odd = ImageSet("set", ("a",), ("\udcff.png", "2.png", "3.png"), np.zeros(3, np.int64), images(1).read)
    parts = np.array(["test", "train", "val"])
    path = tmp_path / "splits.csv"
    path.write_bytes(to_csv(odd, parts).encode("utf-8", "surrogateescape"))
    assert members_of("test", path, odd).tolist() == [0]
    assert len(odd.fingerprint) == 16


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "splits.csv"
    path.write_text("path,label,split\na/99.png,a,test\n")
    with pytest.raises(DataError) as failure:
        members_of("test", path, images(5, 5))
    assert str(failure.value) == f"set: a/99.png of the split in {path} is no longer there; put it back"
    path.write_text("file,part\n1,2\n")
    with pytest.raises(
        DataError, match=r"not a readable split file \('split'\); it has the columns path, label, split"
    ):
        members_of("test", path, images(5, 5))
    with pytest.raises(DataError, match=r"absent\.csv: not a readable split file"):
        members_of("test", tmp_path / "absent.csv", images(5, 5))


def test_a_carriage_return_in_a_name_comes_back(tmp_path: Path) -> None:
    odd = ImageSet("set", ("a",), ("1\r.png", "2\n.png", "3.png"), np.zeros(3, np.int64), images(1).read)
    path = tmp_path / "splits.csv"
    path.write_text(to_csv(odd, ["test", "train", "val"]), encoding="utf-8", newline="")
    assert [members_of(part, path, odd).tolist() for part in ("test", "train", "val")] == [[0], [1], [2]]
