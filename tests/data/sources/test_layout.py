from pathlib import Path

import pytest

from resnet_lab.data.sources.layout import Branch, Layout, find_layout, level_of


def test_class_folders_and_what_lies_beside_them(tmp_path: Path, fill) -> None:
    fill(tmp_path, "b/1.png", "a/in/2.png", "stray.png", ".git/x.png")
    (tmp_path / "readme.txt").touch()
    assert find_layout(tmp_path) == Layout((Branch("a", "a"), Branch("b", "b")), strays=("stray.png",))


def test_folders_that_hold_a_single_one_are_gone_through(tmp_path: Path, fill) -> None:
    fill(tmp_path, "one/two/b/1.png", "one/two/a/2.png", "one/.cache/x/y.png")
    assert find_layout(tmp_path) == Layout(
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
    assert find_layout(tmp_path) == Layout(
        (
            Branch("b", "test/b", "test"),
            Branch("a", "train/a", "train"),
            Branch("b", "train/b", "train"),
            Branch("a", "valid/a", "val"),
        ),
        notes=("the folders test, train, valid are taken as parts",),
    )


@pytest.mark.parametrize("names", [("train/1.png", "test/2.png"), ("train/a/1.png", "plane/a/2.png")], ids=str)
def test_classes_that_are_called_like_parts(tmp_path: Path, fill, names: tuple[str, ...]) -> None:
    fill(tmp_path, *names)
    assert {branch.part for branch in find_layout(tmp_path).branches} == {""}


def test_the_published_download(tmp_path: Path, fill) -> None:
    fill(tmp_path, "images/images/A_B/A_B_1.jpg", "images/images/C/C_1.jpg", "resized/resized/A_B_1.jpg")
    layout = find_layout(tmp_path)
    assert layout.branches == (Branch("A_B", "images/images/A_B"), Branch("C", "images/images/C"))
    assert layout.notes == (
        "the images in resized are passed over for those in images",
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
    assert find_layout(tmp_path) == Layout(flat=flat)
    assert find_layout(tmp_path / below) == Layout(flat="")


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
