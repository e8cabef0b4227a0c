"""Pictures of suspects, as Pillow reads them again, and counts of their labels."""

import io
from hashlib import sha256
from pathlib import Path

import pytest
from PIL import Image

from resnet_lab.evaluation.opened_run import Sources
from resnet_lab.evaluation.suspect_gallery import SuspectGallery, gather_suspects
from resnet_lab.evaluation.suspects import Suspect
from tests.report.made_up_runs import REGISTRY


@pytest.fixture
def suspects(tmp_path: Path) -> list[Suspect]:
    """Three of one pair of labels, one of another, and one that is not flagged."""
    for name in ("blue", "red"):
        (tmp_path / "images" / name).mkdir(parents=True)
    rows = [("red", "blue"), ("blue", "red"), ("red", "blue"), ("red", "blue"), ("blue", "blue")]
    found = []
    for rank, (label, suggested) in enumerate(rows, 1):
        path = tmp_path / "images" / label / f"{rank}.png"
        Image.new("RGB", (40, 30), (50 * rank, 0, 0)).save(path)
        digest = sha256(path.read_bytes()).hexdigest()
        found.append(
            Suspect(
                rank=rank, path=f"{label}/{rank}.png", label=label, suggested=suggested, p_label=0.1, p_suggested=0.9,
                score=0.1, flagged=label != suggested, predictions=1, sha256=digest,
            )
        )  # fmt: skip
    return found


def gathered(suspects: list[Suspect], source: Path, most: int = 3) -> SuspectGallery:
    return gather_suspects(
        suspects, Sources(REGISTRY), origin="runs/a", source=str(source), quality="self_confidence", trainings=5,
        most=most,
    )  # fmt: skip


def test_the_first_have_their_own_pictures(suspects: list[Suspect], tmp_path: Path) -> None:
    found = gathered(suspects, tmp_path / "images")
    assert list(found.pictures) == ["red/1.png", "blue/2.png", "red/3.png"]
    for rank, picture in enumerate(found.pictures.values(), 1):
        assert (picture.width, picture.height) == (40, 30)
        assert abs(Image.open(io.BytesIO(picture.webp)).convert("RGB").getpixel((9, 9))[0] - 50 * rank) < 6
    assert (found.shown, found.obstacle) == (3, "")
    assert found.pairs == [("red", "blue", 3), ("blue", "red", 1)]
    assert [each.rank for each in found.flagged] == [1, 2, 3, 4]


def test_changed_files_are_not_shown(suspects: list[Suspect], tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), (0, 250, 0)).save(tmp_path / "images" / "blue" / "2.png")
    found = gathered(suspects, tmp_path / "images")
    assert list(found.pictures) == ["red/1.png", "red/3.png"]
    assert found.obstacle == "1 are no longer what was predicted (blue/2.png, ...)"


def test_a_source_that_is_gone_is_said(suspects: list[Suspect], tmp_path: Path) -> None:
    found = gathered(suspects, tmp_path / "nowhere")
    assert (found.pictures, found.shown) == ({}, 3)
    assert "nowhere" in found.obstacle
    assert gathered(suspects, tmp_path / "nowhere", most=0).obstacle == ""
