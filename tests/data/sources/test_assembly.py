import numpy as np
import pytest

from resnet_lab.core.errors import DataError
from resnet_lab.core.images import ImageSet
from resnet_lab.data.sources.assembly import (
    Split,
    joined,
    named_part,
    numbered,
    part_of,
    require_label,
    settled_parts,
    some,
)


def split(part: str, numbers: list[int], *, stamped: bool = True) -> Split:
    paths = tuple(f"{part}/{index}" for index in range(len(numbers)))
    stamp = (lambda index: f"stamp {part} {index}") if stamped else None
    return Split(part, paths, np.array(numbers, dtype=np.int64), lambda index: f"{part} {index}".encode(), stamp)


def join(*splits: Split, names: tuple[str, ...] = ("a", "b", "c")) -> ImageSet:
    return joined(splits, names, name="set", where="a set", notes=["before"])


def test_splits_are_one_set() -> None:
    images = join(split("train", [2, 0, 2]), split("val", [0]), split("test", [2, 0]), names=("x", "unused", "z"))
    assert images.classes == ("x", "z")
    assert images.labels.tolist() == [1, 0, 1, 0, 1, 0]
    assert images.labels.dtype == np.int64
    assert images.paths == ("train/0", "train/1", "train/2", "val/0", "test/0", "test/1")
    assert [images.read(index) for index in (1, 3, 5)] == [b"train 1", b"val 0", b"test 1"]
    assert [images.stamp(index) for index in (2, 4)] == ["stamp train 2", "stamp test 0"]
    assert images.parts == ("train",) * 3 + ("val",) + ("test",) * 2
    assert images.notes == ("before", "classes without an image: 'unused'")


def test_images_without_a_label_are_left_out() -> None:
    images = join(split("train", [-1, 0, 1]), split("test", [1, -1]), split("val", [-1, -1]))
    assert images.paths == ("train/1", "train/2", "test/0")
    assert [images.read(index) for index in range(3)] == [b"train 1", b"train 2", b"test 0"]
    assert images.left_out == (("train/0", "it has no label"), ("test/1", "it has no label"))
    assert images.notes[:2] == ("before", "the val part has no labels and is ignored")
    assert images.parts == ("", "", "test")


def test_stamps_of_some_are_stamps_of_none() -> None:
    assert join(split("train", [0, 1]), split("test", [0, 1], stamped=False)).stamp is None


def test_names_that_cannot_be_written_are_rewritten() -> None:
    images = join(split("", [0, 1, 2]), names=("T-shirt/top", "a\\b\n", "c"))
    assert images.classes == ("T-shirt-top", "a-b", "c")
    assert images.notes[-1] == r"class names are written without path separators: 'T-shirt/top', 'a\\b\n'"


@pytest.mark.parametrize(
    ("numbers", "names", "text"),
    [
        ([-1, -1], ("a", "b"), "a set holds no labelled image"),
        ([], ("a", "b"), "a set holds no labelled image"),
        ([0, 0], ("a", "b"), "a set holds one class, 'a'; a classifier needs at least two"),
        ([0, 2], ("a", "b"), "a set: an image is of class number 2, and there are 2 names, from 0"),
        ([0, 1], ("a/b", "a-b"), "a set: two classes are both written 'a-b'"),
    ],
)
def test_what_cannot_be_joined(numbers: list[int], names: tuple[str, ...], text: str) -> None:
    with pytest.raises(DataError) as failure:
        join(split("train", numbers), names=names)
    assert str(failure.value) == text


@pytest.mark.parametrize(
    ("given", "settled", "missing"),
    [
        (["train", "val", "test"], ("train", "val", "test"), ""),
        (["train", "test"], ("", "test"), "no val"),
        (["train", "val"], ("", "val"), "no test"),
        (["train", "", "test"], ("train", "", "test"), ""),
        (["train", ""], ("train", ""), ""),
        (["train", "train"], None, ""),
        (["", ""], None, ""),
    ],
)
def test_training_images_are_open_where_parts_are_missing(
    given: list[str], settled: tuple[str, ...] | None, missing: str
) -> None:
    notes = [f"the source gives {missing} part: taken from its training images"] if missing else []
    assert settled_parts(given) == (settled, notes)


@pytest.mark.parametrize("label", ["a/b", "a\\b", "a\nb", "a\rb", "a\tb", "a\x00b", "a\u2028b", "a\x85b"])
def test_labels_that_cannot_be_written(label: str) -> None:
    with pytest.raises(DataError) as failure:
        require_label(label, "here")
    assert str(failure.value) == (
        f"here: label {label!r} holds a line break, a path separator or another control character; rename it"
    )


@pytest.mark.parametrize("label", [".", "..", " .. "])
def test_labels_that_no_file_can_have(label: str) -> None:
    with pytest.raises(DataError) as failure:
        require_label(label, "here")
    assert str(failure.value) == f"here: label {label!r} is no name that a file can have; rename it"


@pytest.mark.parametrize("label", ["Albrecht Dürer", "NA", "nan", "1", "a, b", '"', "日本", "e\u0301"])
def test_labels_that_can(label: str) -> None:
    require_label(label, "here")
    assert numbered([label, "zz", label])[1].tolist() in ([0, 1, 0], [1, 0, 1])


def test_an_empty_label() -> None:
    for label in ("", " ", "\u3000"):
        with pytest.raises(DataError, match=r"^here: an empty label; name the class$"):
            require_label(label, "here")


def test_lists_are_cut_short() -> None:
    assert some("abcde") == "a, b, c, d, e"
    assert some("abcdefg") == "a, b, c, d, e and 2 more"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("train", ("train", "")), ("Validation", ("val", "")), ("TestSet2", ("test", "")), ("devset", ("val", "")),
        ("asl_alphabet_train", ("train", "asl alphabet")), ("VALData", ("val", "")), ("plane", ("", "")),
        ("train_test", ("", "")), ("", ("", "")), ("trains", ("", "")), ("tést", ("", "")),
    ],
)  # fmt: skip
def test_parts_in_names(name: str, found: tuple[str, str]) -> None:
    assert named_part(name) == found
    assert part_of(name) == ("" if found[1] else found[0])
