from pathlib import Path

import pytest

from resnet_lab.core.errors import DataError
from resnet_lab.data.sources.layout import FolderLayout, find_layout
from resnet_lab.data.sources.levels import Branch, level_of


def test_class_folders_and_what_lies_beside_them(tmp_path: Path, fill) -> None:
    fill(tmp_path, "b/1.png", "a/in/2.png", "stray.png", ".git/x.png")
    (tmp_path / "readme.txt").touch()
    assert find_layout(tmp_path) == FolderLayout((Branch("a", "a"), Branch("b", "b")), strays=("stray.png",))


def test_folders_that_hold_a_single_one_are_gone_through(tmp_path: Path, fill) -> None:
    fill(tmp_path, "one/two/b/1.png", "one/two/a/2.png", "one/.cache/x/y.png")
    assert find_layout(tmp_path) == FolderLayout(
        (Branch("a", "one/two/a"), Branch("b", "one/two/b")), notes=("the class folders are those in one/two",)
    )


@pytest.mark.parametrize("beside", ["one/1.png", "one/in/1.png"])
def test_a_single_class_is_not_gone_through(tmp_path: Path, fill, beside: str) -> None:
    fill(tmp_path, beside)
    fill(tmp_path, "one/2.png")
    assert find_layout(tmp_path).branches == (Branch("one", "one"),)


def test_a_single_folder_that_leads_back_ends(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to(tmp_path)
    assert len(find_layout(tmp_path).branches) == 1


def test_parts(tmp_path: Path, fill) -> None:
    fill(tmp_path, "train/a/1.png", "train/b/2.png", "valid/a/3.png", "test/b/4.png")
    assert find_layout(tmp_path) == FolderLayout(
        (
            Branch("b", "test/b", "test"),
            Branch("a", "train/a", "train"),
            Branch("b", "train/b", "train"),
            Branch("a", "valid/a", "val"),
        ),
        notes=("the folders test, train, valid are taken as parts",),
    )


@pytest.mark.parametrize(
    "names",
    [
        ("train/1.png", "test/2.png", "plane/3.png"),
        ("train/a/1.png", "plane/a/2.png"),
        ("steam_train/1.png", "freight_train/2.png"),
        ("steam_train/a/1.png", "crash_test/a/2.png"),
        ("train/1.png", "train_station/2.png"),
    ],
    ids=str,
)
def test_classes_that_are_called_like_parts(tmp_path: Path, fill, names: tuple[str, ...]) -> None:
    fill(tmp_path, *names)
    assert {branch.part for branch in find_layout(tmp_path).branches} == {""}


@pytest.mark.parametrize(
    ("folders", "parts"),
    [
        (("Training", "Testing"), ("train", "test")),
        (("Train", "Test"), ("train", "test")),
        (("TRAIN", "VAL"), ("train", "val")),
        (("training_set", "test_set"), ("train", "test")),
        (("TrainSet", "testset"), ("train", "test")),
        (("train2017", "val2017"), ("train", "val")),
        (("train", "dev", "test"), ("train", "val", "test")),
        (("training", "validation", "evaluation"), ("train", "val", "test")),
        (("seg_train", "seg_test"), ("train", "test")),
        (("train-images", "test images"), ("train", "test")),
    ],
    ids=lambda names: " ".join(names),
)
@pytest.mark.parametrize("above", ["", "set/", "one/two/"])
def test_parts_by_other_names(
    tmp_path: Path, fill, folders: tuple[str, ...], parts: tuple[str, ...], above: str
) -> None:
    fill(tmp_path, *(f"{above}{folder}/{name}/1.png" for folder in folders for name in "ab"))
    branches = find_layout(tmp_path).branches
    assert set(branches) == {
        Branch(name, f"{above}{folder}/{name}", part)
        for folder, part in zip(folders, parts, strict=True)
        for name in "ab"
    }


def test_folders_of_the_part_s_own_name_are_gone_through(tmp_path: Path, fill) -> None:
    """Archives unpack to such folders; images that nobody has labelled lie beside."""
    fill(tmp_path, "seg_train/seg_train/a/1.png", "seg_train/seg_train/b/1.png", "seg_test/seg_test/a/1.png")
    fill(tmp_path, "seg_pred/seg_pred.png", "seg_test/seg_test/stray.png")
    assert find_layout(tmp_path) == FolderLayout(
        (
            Branch("a", "seg_test/seg_test/a", "test"),
            Branch("a", "seg_train/seg_train/a", "train"),
            Branch("b", "seg_train/seg_train/b", "train"),
        ),
        strays=("seg_test/seg_test/stray.png",),
        aside=("seg_pred",),
        notes=("the folders seg_test, seg_train are taken as parts",),
    )


def test_unusual_names_of_parts_are_reported(tmp_path: Path, fill) -> None:
    fill(tmp_path, "train/a/1.png", "dev/a/1.png", "evaluation/a/1.png")
    assert find_layout(tmp_path).notes == ("the folders dev (val), evaluation (test), train are taken as parts",)


@pytest.mark.parametrize("loose", ["test/1.png", "test/images/1.png", "test/unknown/1.png"])
def test_test_images_without_a_class_are_set_aside(tmp_path: Path, fill, loose: str) -> None:
    fill(tmp_path, "train/a/1.png", "train/b/2.png", "valid/a/3.png", "valid/b/3.png", loose)
    layout = find_layout(tmp_path)
    assert {branch.part for branch in layout.branches} == {"train", "val"}
    assert layout.aside in (("test",), ("test/images",))
    assert layout.notes == ("the folders train, valid are taken as parts",)


def test_a_folder_without_images_is_no_class_beside_one_with_parts(tmp_path: Path, fill) -> None:
    fill(tmp_path, "data/train/a/1.png", "data/train/b/1.png", "data/test/a/1.png", "data/test/b/1.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "boxes.xml").touch()
    (tmp_path / "data" / "papers").mkdir()
    layout = find_layout(tmp_path)
    assert {branch.name for branch in layout.branches} == {"a", "b"}
    assert layout.notes == (
        "folders that hold no image are ignored: labels",
        "the class folders are those in data",
        "the folders test, train are taken as parts",
    )


def test_parts_below_classes(tmp_path: Path, fill) -> None:
    fill(tmp_path, *(f"{name}/{part}/1.png" for name in "ab" for part in ("Train", "Test")))
    assert find_layout(tmp_path) == FolderLayout(
        (
            Branch("a", "a/Test", "test"),
            Branch("a", "a/Train", "train"),
            Branch("b", "b/Test", "test"),
            Branch("b", "b/Train", "train"),
        ),
        notes=("the folders Test, Train in each class folder are taken as parts",),
    )


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (
            ("train/1.png", "test/2.png"),
            "test, train can be the parts of a split, whose images then have no class, or classes of that name; give "
            "each part a folder of images per class, write a manifest with the columns path, label and split, or "
            "rename the folders",
        ),
        (
            ("train/a/1.png", "test/a/1.png", "extra/a/1.png"),
            "can be read as the parts test, train with extra left out, or as the classes extra, test, train: extra is "
            "no part; move or rename what does not belong",
        ),
        (
            ("train/a/1.png", "test/c/1.png", "test/d/1.png"),
            "can be read as the parts test, train, or as the classes test, train: test has other classes than the "
            "training part; move or rename what does not belong",
        ),
        (
            ("one/train/a/1.png", "one/test/a/1.png", "two/train/b/1.png", "two/test/b/1.png"),
            "one, two can each be a set of its own (test, train), or a class whose images lie deeper: give every class "
            "the same parts or none, or name the folder of one set",
        ),
        (
            ("a/train/1.png", "a/test/1.png", "b/1.png"),
            "a can each be a class with images in parts (test, train) beside b, or a class whose images lie deeper: "
            "give every class the same parts or none, or name the folder of one set",
        ),
    ],
    ids=["loose", "another", "foreign", "sets", "uneven"],
)
def test_what_can_be_read_in_two_ways_is_refused(tmp_path: Path, fill, names: tuple[str, ...], text: str) -> None:
    fill(tmp_path, *names)
    with pytest.raises(DataError) as failure:
        find_layout(tmp_path)
    assert str(failure.value).removeprefix(str(tmp_path)).lstrip(": ") == text


def test_the_published_download(tmp_path: Path, fill) -> None:
    fill(tmp_path, "images/images/A_B/A_B_1.jpg", "images/images/C/C_1.jpg", "resized/resized/A_B_1.jpg")
    layout = find_layout(tmp_path)
    assert layout.branches == (Branch("A_B", "images/images/A_B"), Branch("C", "images/images/C"))
    assert layout.notes == (
        "the images in resized are ignored for those in images",
        "the class folders are those in images/images",
    )
    assert layout.table is None
    (tmp_path / "artists.csv").touch()
    for root in (tmp_path, tmp_path / "images", tmp_path / "images" / "images", tmp_path / "resized" / "resized"):
        assert find_layout(root).table == tmp_path.resolve() / "artists.csv"


def test_artist_folders_beside_resized(tmp_path: Path, fill) -> None:
    fill(tmp_path, "A/A_1.jpg", "B/B_1.jpg", "resized/A_1.jpg")
    assert [branch.name for branch in find_layout(tmp_path).branches] == ["A", "B", "resized"], "it may be a class"
    (tmp_path / "artists.csv").touch()
    assert [branch.name for branch in find_layout(tmp_path).branches] == ["A", "B"]


@pytest.mark.parametrize(("below", "flat"), [("resized", "resized"), ("resized/resized", "resized/resized")])
def test_flat_files(tmp_path: Path, fill, below: str, flat: str) -> None:
    fill(tmp_path / below, "A_B_1.jpg", "C_20.jpg")
    assert find_layout(tmp_path) == FolderLayout(flat=flat)
    assert find_layout(tmp_path / below) == FolderLayout(flat="")


def test_files_that_only_look_numbered_are_no_classes(tmp_path: Path, fill) -> None:
    fill(tmp_path / "photos", "IMG_1.jpg", "DSC_2.jpg")
    assert find_layout(tmp_path / "photos").flat is None
    (tmp_path / "photos" / "artists.csv").touch()
    assert find_layout(tmp_path / "photos").flat == ""


def test_locked_folders_are_taken_for_classes(tmp_path: Path, fill, lock) -> None:
    fill(tmp_path, "a/1.png", "b/2.png", "resized/A_1.png")
    lock(tmp_path / "resized")
    assert [branch.name for branch in find_layout(tmp_path).branches] == ["a", "b", "resized"]
    lock(tmp_path)
    with pytest.raises(PermissionError):
        find_layout(tmp_path)


def test_a_level_is_sorted_and_bare(tmp_path: Path, fill) -> None:
    fill(tmp_path, "b.png", "a.png", ".c.png", "z/1.png", "y/1.png", ".x/1.png")
    (tmp_path / "circle").symlink_to("circle")
    assert level_of(tmp_path) == (["y", "z"], ["a.png", "b.png"])
