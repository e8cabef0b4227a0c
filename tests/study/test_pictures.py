"""Pictures as Pillow reads them again."""

import io
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnet_lab.evaluation.file_pictures import SIDE
from resnet_lab.evaluation.opened_run import Sources
from resnet_lab.study.paired_errors import Count, PairedErrors, Work
from resnet_lab.study.pictures import gather_works
from tests.study.fabricated import REGISTRY


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for number, name in enumerate(("blue", "red")):
        (tmp_path / "works" / name).mkdir(parents=True)
        for work in range(4):
            shape = (400, 300) if work else (30, 20)
            colour = (250, 10 * work, 0) if number else (0, 10 * work, 250)
            Image.new("RGB", shape, colour).save(tmp_path / "works" / name / f"{work}.png")
    return tmp_path / "works"


def work(source: Path, path: str) -> Work:
    digest = sha256((source / path).read_bytes()).hexdigest()
    return Work(path, digest, path.split("/")[0], 3, 2, 0, ("red", 2), ("blue", 2))


def errors(source: Path, arm: str, number: int, fixed: int = 3, broken: int = 1) -> PairedErrors:
    works = [work(source, f"blue/{k}.png") for k in range(4)]
    return PairedErrors(arm, (Count(0, 8, number, 0),), tuple(works[:fixed]), tuple(works[:broken]))


def test_pictures_are_the_works_in_their_own_shape(source: Path) -> None:
    gallery = gather_works([errors(source, "new", 3)], str(source), Sources(REGISTRY))
    assert gallery.obstacle == ""
    assert [len(kind) for kind in gallery.works["new"]] == [3, 1]
    assert list(gallery.pictures) == ["blue/0.png", "blue/1.png", "blue/2.png"]
    picture = gallery.pictures["blue/2.png"]
    assert (picture.width, picture.height) == (400, 300)
    pixels = np.asarray(Image.open(io.BytesIO(picture.webp)))
    assert pixels.shape == (SIDE, SIDE, 3)
    assert np.abs(pixels.reshape(-1, 3).mean(0) - (0, 20, 250)).max() < 8


def test_small_works_are_not_made_larger(source: Path) -> None:
    gallery = gather_works([errors(source, "new", 3, fixed=1)], str(source), Sources(REGISTRY))
    assert Image.open(io.BytesIO(gallery.pictures["blue/0.png"].webp)).size == (30, 30)


def test_few_pictures_go_to_the_arms_that_changed_most(source: Path) -> None:
    many = [errors(source, f"arm {number}", number) for number in range(5)]
    gallery = gather_works(many, str(source), Sources(REGISTRY), most=6)
    assert list(gallery.works) == ["arm 2", "arm 3", "arm 4"]
    assert [len(kind) for kind in gallery.works["arm 4"]] == [1, 1]
    silent = PairedErrors("same", (), (), ())
    assert gather_works([silent], str(source), Sources(REGISTRY)).works == {}


def test_changed_and_missing_images_are_reported(source: Path) -> None:
    made = [errors(source, "new", 3)]
    Image.new("RGB", (50, 50)).save(source / "blue" / "1.png")
    (source / "blue" / "2.png").unlink()
    gallery = gather_works(made, str(source), Sources(REGISTRY))
    assert list(gallery.pictures) == ["blue/0.png"]
    assert gallery.obstacle == "2 are no longer what was tested (blue/1.png, ...)"
    gone = gather_works(made, str(source / "absent"), Sources(REGISTRY))
    assert gone.pictures == {}
    assert "absent: no such folder" in gone.obstacle
    assert len(gone.works["new"][0]) == 3
