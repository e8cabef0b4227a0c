"""Trainings over folds: parts that partition the images, resumption, and what makes new trainings."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnet_lab.core.errors import RunError
from resnet_lab.data.config import DataConfig
from resnet_lab.evaluation.predictions import Predictions
from resnet_lab.network import zoo
from resnet_lab.network.plugins import load
from resnet_lab.train import held_out
from resnet_lab.train.config import TrainConfig
from resnet_lab.train.held_out import cross_validate
from resnet_lab.train.interruption import Interrupted
from resnet_lab.train.progress import TrainingWatcher

SPEC = zoo.get("resnet20").modified(input_size=8)
QUICK = TrainConfig(epochs=1, batch_size=64, precision="fp32", device="cpu", compile="off")
REGISTRY = load(only=[])


class Listener(TrainingWatcher):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def say(self, text: str) -> None:
        self.notes.append(text)

    @property
    def trained(self) -> list[str]:
        return [note for note in self.notes if note.endswith((": training", ": resuming"))]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Fifteen images of each of two classes, one of them three times."""
    draw = np.random.default_rng(0)
    for name in ("blue", "red"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(15):
            pixels = draw.integers(0, 255, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{number}.png")
    for copy in ("copy", "another"):
        shutil.copy(tmp_path / "images" / "red" / "0.png", tmp_path / "images" / "red" / f"{copy}.png")
    return tmp_path / "images"


@pytest.fixture
def run(tmp_path: Path, images: Path) -> Callable[..., tuple[list[Predictions], Listener]]:
    def run(**keywords: int) -> tuple[list[Predictions], Listener]:
        listener, data = Listener(), DataConfig(source=str(images), split_file=Path("of-the-run.csv"))
        found = cross_validate(SPEC, data, QUICK, tmp_path / "out", REGISTRY, listener, **{"folds": 3, **keywords})
        return found, listener

    return run


def test_each_image_is_held_out_once_and_copies_together(
    run: Callable[..., tuple[list[Predictions], Listener]],
) -> None:
    found, listener = run()
    assert len(found) == 3
    assert sorted(path for each in found for path in each.paths) == sorted(
        [f"{name}/{number}.png" for name in ("blue", "red") for number in range(15)]
        + ["red/copy.png", "red/another.png"]
    )
    with_copies = [each for each in found if "red/0.png" in each.paths]
    assert {"red/copy.png", "red/another.png"} <= set(with_copies[0].paths)
    assert listener.trained == [f"fold {fold} of 3: training" for fold in (1, 2, 3)]
    assert "batch size 5 instead of 64: about 10 images are left for training" in listener.notes


def test_finished_trainings_are_read_and_changed_labels_trained_anew(
    run: Callable[..., tuple[list[Predictions], Listener]], images: Path
) -> None:
    first, _ = run()
    second, listener = run(repeats=2)
    assert listener.trained == [f"repeat 2 of 2, fold {fold} of 3: training" for fold in (1, 2, 3)]
    for one, other in zip(first, second, strict=False):
        assert np.array_equal(one.probabilities, other.probabilities)
    assert [each.paths for each in second[:3]] != [each.paths for each in second[3:]]
    (images / "red" / "3.png").rename(images / "blue" / "was-red.png")
    third, listener = run()
    assert len(listener.trained) == 3
    labels = {path: label for each in third for path, label in zip(each.paths, each.labels.tolist(), strict=True)}
    assert labels["blue/was-red.png"] == third[0].classes.index("blue")


def test_an_interrupted_training_resumes_to_the_same_bits(
    run: Callable[..., tuple[list[Predictions], Listener]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight, _ = run()
    shutil.rmtree(tmp_path / "out")
    train = held_out.train

    def late(*arguments: object, **keywords: object) -> object:
        result = train(*arguments, **keywords)  # type: ignore[arg-type]
        if str(keywords["folder"]).endswith("fold1"):
            object.__setattr__(result, "signal", 15)
        return result

    monkeypatch.setattr(held_out, "train", late)
    with pytest.raises(Interrupted, match="stopped by SIGTERM"):
        run()
    monkeypatch.undo()
    again, listener = run()
    assert listener.trained == ["fold 3 of 3: training"]
    assert all(
        np.array_equal(one.probabilities, other.probabilities) for one, other in zip(straight, again, strict=True)
    )


def test_lost_predictions_are_an_error(run: Callable[..., tuple[list[Predictions], Listener]], tmp_path: Path) -> None:
    run()
    (lost,) = (tmp_path / "out").glob("*-repeat0-fold1")
    shutil.rmtree(lost / "predictions")
    with pytest.raises(
        RunError, match=r"fold1: its predictions are gone; remove the folder to have fold 2 of 3 trained"
    ):
        run()
