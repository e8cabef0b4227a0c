"""Compared with the rule written out for one image at a time, binomial bounds, and other sets of the same images."""

import csv
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import stats

from resnet_lab.core.errors import ConfigError, DataError
from resnet_lab.core.images import ImageSet
from resnet_lab.data import split as splitting
from resnet_lab.data.decoding import ImageInfo
from resnet_lab.data.split import follow_copies, from_csv, require_every_class, split, to_csv

HELD = ("val", "test")


def digest_of(name: str) -> str:
    return sha256(name.encode("utf-8", "surrogateescape")).hexdigest()


def images(*counts: int, names: str = "abcdefgh") -> ImageSet:
    labels = np.repeat(np.arange(len(counts)), counts)
    numbers = [number for count in counts for number in range(count)]
    paths = tuple(f"{names[label]}/{number}.png" for label, number in zip(labels, numbers, strict=True))
    return ImageSet("set", tuple(names[: len(counts)]), paths, labels, lambda index: Image.new("L", (1, 1)))


def examined(data: ImageSet, causes: dict[int, str] | None = None) -> list[ImageInfo]:
    return [ImageInfo(digest_of(path), (causes or {}).get(position, "")) for position, path in enumerate(data.paths)]


def parts_of(
    data: ImageSet, seed: int = 0, groups: NDArray[np.int64] | None = None, **options: int
) -> NDArray[np.str_]:
    return split(data, examined(data), np.arange(len(data)) if groups is None else groups, seed, **options)


def place(path: str, seed: int) -> float:
    return (int(sha256(f"{seed}:split of {digest_of(path)}".encode()).hexdigest()[:16], 16) >> 1) / 2**63


def test_the_part_follows_from_seed_and_content() -> None:
    data = images(500, 300)
    for seed in (0, 1):
        expected = [
            "val" if (at := place(path, seed)) < 0.1 else "test" if at < 0.2 else "train" for path in data.paths
        ]
        assert parts_of(data, seed).tolist() == expected
    assert not np.array_equal(parts_of(data, 0), parts_of(data, 1))


def test_every_class_is_split_80_10_10_as_chance_has_it() -> None:
    """Four classes of 290: each count is binomial, and over many seeds they are distributed like it."""
    data = images(290, 290, 290, 290)
    drawn = [parts_of(data, seed).reshape(4, 290) for seed in range(60)]
    counts = np.array([[np.sum(parts == part, axis=1) for part in HELD] for parts in drawn])
    low, high = stats.binom.interval(1 - 1e-6, 290, 0.1)
    assert low <= counts.min() < counts.max() <= high
    assert abs(counts.mean() - 29) < 4 * np.sqrt(290 * 0.1 * 0.9 / counts.size)
    assert abs(counts.std() / np.sqrt(290 * 0.1 * 0.9) - 1) < 0.1


def test_added_removed_and_renamed_files_move_no_other() -> None:
    data, more = images(200, 200), images(220, 220)
    before = dict(zip(data.paths, parts_of(data), strict=True))
    after = dict(zip(more.paths, parts_of(more), strict=True))
    assert all(after[path] == part for path, part in before.items())
    assert len({part for path, part in after.items() if path not in before}) > 1, "new ones go to several parts"
    order = np.random.default_rng(0).permutation(400)
    shuffled = replace(data, paths=tuple(f"{i}.png" for i in range(400)), labels=data.labels[order])
    properties = [examined(data)[position] for position in order]
    assert np.array_equal(split(shuffled, properties, np.arange(400), 0), parts_of(data)[order])


def test_only_classes_that_miss_a_part_move_an_image() -> None:
    """24 images miss one of two parts in 15% of all seeds; the image that moves is the one with the nearest place."""
    data, moved = images(24, 500), 0
    for seed in range(60):
        places = np.array([place(path, seed) for path in data.paths])
        plain = np.where(places < 0.1, "val", np.where(places < 0.2, "test", "train"))
        found = parts_of(data, seed)
        assert np.array_equal(found[24:], plain[24:])
        for part, low, high in (("val", 0, 0.1), ("test", 0.1, 0.2)):
            if part not in plain[:24]:
                moved += 1
                near = np.maximum(low - places[:24], places[:24] - high)
                assert np.sort(near[found[:24] == part])[0] in np.sort(near)[:2]
        assert 1 <= np.sum(found[:24] != plain[:24]) + (set(plain[:24]) == {"train", *HELD}) <= 2
    assert 2 < moved < 25


@pytest.mark.parametrize("count", [3, 4, 7])
def test_small_classes_are_in_every_part(count: int) -> None:
    data = images(count, 50)
    for seed in range(50):
        assert set(parts_of(data, seed)[:count]) == {"train", *HELD}


def test_every_image_is_held_out_under_some_seed() -> None:
    data = images(40, 5)
    chosen = {int(index) for seed in range(150) for index in np.flatnonzero(parts_of(data, seed) == "test")}
    assert chosen == set(range(45))


def test_copies_are_never_in_two_parts() -> None:
    data = images(300, 300)
    groups = np.random.default_rng(0).integers(0, 180, 600)  # across classes too
    for seed in range(5):
        found = parts_of(data, seed, groups)
        assert all(len(set(found[groups == number])) == 1 for number in np.unique(groups))
        leader = {number: min(digest_of(data.paths[i]) for i in np.flatnonzero(groups == number)) for number in groups}
        alone = dict(zip((digest_of(path) for path in data.paths), parts_of(data, seed), strict=True))
        assert all(part == alone[leader[number]] for part, number in zip(found, groups, strict=True))


def test_a_copy_under_another_label_is_not_moved_to_fill_a_part() -> None:
    data = images(4, 30)
    groups = np.arange(34)
    groups[4] = 0  # b/0 is a copy of a/0
    for seed in range(60):
        found = parts_of(data, seed, groups)
        assert found[0] == found[4]
        assert set(found[:4]) == {"train", *HELD}


@pytest.mark.parametrize("folds", [3, 5])
def test_each_image_is_tested_in_one_fold(folds: int) -> None:
    data = images(60, 8)
    groups = np.arange(68)
    groups[[1, 2]] = 0
    found = np.stack([parts_of(data, 3, groups, folds=folds, fold=fold) for fold in range(folds)])
    assert np.all(np.sum(found == "test", axis=0) == 1)
    assert np.all(np.sum(found == "val", axis=0) == 1)
    assert np.array_equal(np.roll(found == "test", -1, axis=0), found == "val"), "a fold validates before it tests"
    assert np.all(found[:, [1, 2]] == found[:, [0]])
    for fold in range(folds):
        assert set(found[fold][:60]) == set(found[fold][60:]) == {"train", *HELD}
    counts = np.sum(np.stack([parts_of(images(3000), 0, folds=folds, fold=fold) for fold in range(folds)]) == "test", 1)
    assert np.abs(counts - 3000 / folds).max() < 4 * np.sqrt(3000 / folds)


def test_parts_that_the_source_gives_are_kept() -> None:
    data = images(30, 30)
    given = ["test" if position % 3 == 0 else "" for position in range(60)]
    found = parts_of(replace(data, parts=tuple(given)))
    assert np.array_equal(found == "test", np.array(given) == "test"), "nothing is added to a part that is given"
    assert set(found[:30]) == set(found[30:]) == {"train", *HELD}
    drawn = [place(path, 0) < 0.1 for path, part in zip(data.paths, given, strict=True) if not part]
    assert np.array_equal(found[np.array(given) == ""] == "val", drawn)
    everything = tuple(("train", "val", "test")[position % 3] for position in range(60))
    assert tuple(parts_of(replace(data, parts=everything))) == everything
    folds = parts_of(replace(data, parts=everything), folds=3)
    assert np.array_equal(folds, parts_of(data, folds=3)), "folds are drawn anew"


def test_a_class_needs_no_drawn_image_where_the_source_gives_one() -> None:
    for first, rest in (("train", HELD), ("val", ("train", "test"))):
        data = replace(images(3, 40), parts=(first, "", "", first, *[""] * 39))
        for seed in range(20):
            found = parts_of(data, seed)
            assert set(found[:3]) == {first, *rest}
            assert set(found[3:]) == {"train", *HELD}


def test_a_part_that_the_source_gives_is_not_added_to() -> None:
    with pytest.raises(DataError, match="class 'a' has no image in the test part"):
        parts_of(replace(images(10, 10), parts=(*[""] * 19, "test")))


def test_copies_follow_the_part_that_is_given() -> None:
    data = images(40, 40)
    given, groups = [""] * 80, np.arange(80)
    groups[[10, 11, 12]] = 0
    groups[[20, 21, 22]] = 1
    given[0], given[20], given[1] = "test", "train", "test"
    given[50] = "test"
    found = parts_of(replace(data, parts=tuple(given)), 0, groups)
    assert found[[0, 10, 11, 12]].tolist() == ["test"] * 4
    assert found[[1, 20, 21, 22]].tolist() == ["test", "train", "train", "train"], "training wins where both are given"


def test_follow_copies_leaves_the_unusable_out() -> None:
    parts = np.array(["test", "", "", ""])
    found = follow_copies(parts, np.array([5, 5, 5, 6]), np.array([True, True, False, True]))
    assert found.tolist() == ["test", "test", "", ""]
    assert parts.tolist() == ["test", "", "", ""]


def test_images_that_cannot_be_used_are_in_no_part() -> None:
    data = images(30, 30)
    properties = examined(data, {3: "empty file", 40: "damaged header"})
    found = split(data, properties, np.arange(60), 0)
    assert np.flatnonzero(found == "").tolist() == [3, 40]
    everything = tuple(("train", "val", "test")[position % 3] for position in range(60))
    given = split(replace(data, parts=everything), properties, np.arange(60), 0)
    assert np.flatnonzero(given == "").tolist() == [3, 40]


def test_many_images_take_little_time() -> None:
    data = images(*[25_000] * 2)
    groups = np.random.default_rng(0).integers(0, 20_000, 50_000)
    assert len(parts_of(data, 0, groups)) == 50_000  # faulthandler ends what is quadratic


def message(data: ImageSet, groups: NDArray[np.int64] | None = None, **options: int) -> str:
    with pytest.raises((DataError, ConfigError)) as failure:
        parts_of(data, 0, groups, **options)
    return str(failure.value)


def test_a_class_too_small() -> None:
    text = "set: class 'b' has 2 different images; 3 parts need at least one each: add images or remove the class"
    assert message(images(5, 2)) == text
    assert message(images(5, 4), np.array([0, 1, 2, 3, 4, 5, 5, 6, 6])) == text, "copies count once"
    assert message(images(9, 4), folds=5) == (
        "set: class 'b' has 4 different images; 5 parts need at least one each: add images or remove the class"
    )


def test_a_class_whose_images_are_all_copies_of_another_s() -> None:
    data, groups = images(3, 3), np.array([0, 1, 2, 0, 1, 2])
    leaders = [min(f"a/{number}.png", f"b/{number}.png", key=digest_of) for number in range(3)]
    seed = next(seed for seed in range(100) if min(place(path, seed) for path in leaders) > 0.2)
    with pytest.raises(DataError) as failure:
        parts_of(data, seed, groups)
    assert str(failure.value) == (
        "set: class 'a' has copies of other classes' images, and too few others to be in all parts: "
        "see `resnet-lab data check`"
    )


def test_a_class_without_a_usable_image() -> None:
    data = images(9, 4)
    with pytest.raises(DataError) as failure:
        split(data, examined(data, dict.fromkeys(range(9, 13), "empty file")), np.arange(13), 0)
    assert str(failure.value) == (
        "set: class 'b' has no image in the train part; each class needs at least one in every part: "
        "add images or remove the class"
    )
    with pytest.raises(DataError, match="class 'a' has no image in the test part"):
        require_every_class(data, np.array(["train", "val"] * 6 + ["test"]))


@pytest.mark.parametrize(("folds", "fold"), [(2, 0), (5, 5), (5, -1)])
def test_folds_that_cannot_be(folds: int, fold: int) -> None:
    assert message(images(9, 9), folds=folds, fold=fold) == (
        f"fold {fold} of {folds}: there must be at least 3 folds (test, validation, training), "
        "and they are counted from 0"
    )


def test_a_source_with_parts_of_other_names() -> None:
    assert message(replace(images(2, 2), parts=("train", "validation", "", "test"))) == (
        "set: a/1.png is in the part 'validation'; parts are train, val, test"
    )


@pytest.mark.parametrize("piece", [2**20, 40])
def test_the_file_comes_back(tmp_path: Path, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splitting, "A_PIECE", piece)
    data = images(12, 12, names='x"')
    paths = (*(f"{path}, ü" for path in data.paths[:20]), "\udcff.png", "1\r.png", "2\n.png", "3\u2028.png")
    odd = replace(data, classes=('x, "y"', "line\u2028break"), paths=paths)
    parts = parts_of(odd)
    parts[5] = ""
    path = tmp_path / "splits.csv"
    path.write_bytes(b"".join(to_csv(odd, parts.tolist())))
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    assert [(row["path"], row["label"], row["split"]) for row in rows] == [
        (odd.paths[index], odd.classes[odd.labels[index]], parts[index]) for index in range(24) if index != 5
    ]
    assert np.array_equal(from_csv(path, odd), parts)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert np.array_equal(from_csv(path, odd), parts), "as a spreadsheet saves it"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("path,label,split\na/99.png,a,test\n", "set: a/99.png of the split in {path} is no longer there; restore it"),
        (
            "path,label,split\na/1.png,a,dev\n",
            "{path}: line 2: a/1.png is in the part 'dev'; parts are train, val, test",
        ),
        ("path,label,split\na/1.png,a,\n", "{path}: line 2: a/1.png is in the part ''; parts are train, val, test"),
        (
            "path,label,split\na/1.png,a,val\na/1.png,a,test\n",
            "{path}: a/1.png is in two parts, val and test; leave one of them",
        ),
        ("path,label,split,split\na/1.png,a,val,test\n", "{path} has two columns 'split'; remove one"),
        ("path,label,split\na/1.png\n", "{path}: line 2: 1 values for 3 columns; restore the file"),
        ("file,part\n1,2\n", "{path} has no column 'path'"),
        (
            'path,label,split\n"' + "a" * 200_000,
            "{path}: line 2: not CSV: field larger than field limit (131072); restore the file",
        ),
    ],
)
def test_files_that_do_not_fit(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "splits.csv"
    path.write_text(text)
    with pytest.raises(DataError) as failure:
        from_csv(path, images(5, 5))
    assert str(failure.value) == problem.format(path=path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.csv: cannot be read: No such file"):
        from_csv(tmp_path / "absent.csv", images(5, 5))


def test_a_row_that_comes_twice_alike(tmp_path: Path) -> None:
    path = tmp_path / "splits.csv"
    path.write_text("path,label,split\na/1.png,a,val\na/1.png,a,val\n")
    assert Counter(from_csv(path, images(5, 5)).tolist()) == {"val": 1, "": 9}
