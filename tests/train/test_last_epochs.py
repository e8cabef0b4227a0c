"""Predictions on the test part after each of the last epochs."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from resnet_lab.core.errors import CheckpointError
from resnet_lab.core.history import Epoch
from resnet_lab.core.run_folder import Run
from resnet_lab.device import choose
from resnet_lab.evaluation.predictions import Predictions
from resnet_lab.evaluation.scoring import evaluate, stored_epochs
from resnet_lab.network.plugins import load
from resnet_lab.train.config import TrainConfig
from resnet_lab.train.interruption import Interrupted
from resnet_lab.train.last_epochs import last_epochs, may_be_last
from resnet_lab.train.loop import is_over
from resnet_lab.train.state import Progress
from resnet_lab.train.tally import Tally
from resnet_lab.train.training import resume, train
from tests.train.test_training import FULL, SPEC, Impatient, digests

NETWORK, KEEPING = SPEC.modified(dropout=0.2), FULL.model_copy(update={"keep_predictions": 2})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("data")
    for name, colour in (("a", 10), ("b", 200)):
        (folder / name).mkdir()
        for number in range(6):
            Image.new("L", (8, 8), colour + number).save(folder / name / f"{number}.png")
    return str(folder)


@pytest.fixture(scope="module")
def whole(data: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "run"
    train(NETWORK, data, KEEPING, folder=folder)
    return Run(folder)


def by_last_weights(run: Run, copied: Path) -> Predictions:
    """Predictions of the run's last weights, made by `evaluate` of a copy in which they are the best."""
    shutil.copytree(run.folder, copied)
    shutil.copy(run.last, copied / run.best.name)
    return evaluate(copied, choose("cpu", "fp32", "off"), load(only=[]), again=True)


def test_those_of_the_last_epochs_are_kept(whole: Run, tmp_path: Path) -> None:
    names = sorted(path.stem for path in (whole.folder / "predictions").iterdir())
    assert names == ["test", "test-epoch2", "test-epoch3"]
    kept = stored_epochs(whole, 2)
    assert kept is not None
    assert [each.origin.epoch for each in kept] == [2, 3]
    expected = by_last_weights(whole, tmp_path / "copy")
    assert (kept[1].paths, kept[1].digests) == (expected.paths, expected.digests)
    np.testing.assert_allclose(kept[1].probabilities, expected.probabilities, rtol=0, atol=1e-5)
    with safe_open(whole.last, "pt") as file:
        described = json.loads(file.metadata()["resnet_lab"])
    assert kept[1].origin.weights == described["digest"]
    assert stored_epochs(whole, 9) is None, "the first epoch's are not kept"


def test_keeping_them_changes_no_weight(data: str, whole: Run, tmp_path: Path) -> None:
    train(NETWORK, data, FULL, folder=tmp_path / "run")
    assert digests(tmp_path / "run") == digests(whole.folder)
    assert [path.name for path in (tmp_path / "run" / "predictions").iterdir()] == ["test.safetensors"]


@pytest.mark.slow
@pytest.mark.parametrize("steps", [4, 5, 8, 9, 11])
def test_an_interrupted_training_keeps_the_same(data: str, whole: Run, tmp_path: Path, steps: int) -> None:
    with pytest.raises(Interrupted):
        train(NETWORK, data, KEEPING, folder=tmp_path / "run", watcher=Impatient(steps))
    resume(tmp_path / "run")
    found, expected = stored_epochs(Run(tmp_path / "run"), 2), stored_epochs(whole, 2)
    assert found is not None
    assert expected is not None
    for one, other in zip(found, expected, strict=True):
        assert one.probabilities.tobytes() == other.probabilities.tobytes()
        assert one.origin.weights == other.origin.weights


def test_a_network_that_takes_features_is_scored_on_images(data: str, tmp_path: Path) -> None:
    changes = {"freeze": ("stem", "layer1"), "cache_frozen": "on", "augment": (), "ema": 0.0, "keep_predictions": 1}
    train(SPEC, data, FULL.model_copy(update=changes), folder=tmp_path / "run")
    kept = stored_epochs(Run(tmp_path / "run"), 1)
    assert kept is not None
    expected = by_last_weights(Run(tmp_path / "run"), tmp_path / "copy")
    np.testing.assert_allclose(kept[0].probabilities, expected.probabilities, rtol=0, atol=1e-5)


@pytest.mark.parametrize("patience", [None, 1, 2, 4])
@pytest.mark.parametrize("number", [0, 1, 3])
def test_whenever_a_training_ends_its_last_epochs_were_scored(number: int, patience: int | None) -> None:
    """Of random validation scores; without early stopping no other epoch is."""
    draw, ends = np.random.default_rng(number), set()
    for _ in range(100):
        config = TrainConfig(epochs=8, patience=patience, keep_predictions=number)
        progress, scored = Progress(Tally(2, torch.device("cpu"))), []
        while not is_over(progress, config):
            score = float(draw.random())
            progress.history.append(Epoch(progress.epoch, 1e-3, 1.0, 0.5, 1.0, score, score, 1.0, 1.0))
            if may_be_last(progress.history, config):
                scored.append(len(progress.history))
        ends.add(len(progress.history))
        assert set(last_epochs(progress.history, config)) <= set(scored)
        if patience is None:
            assert scored == list(last_epochs(progress.history, config))
        elif not number:
            assert not scored
    assert len(ends) == 1 if patience is None else len(ends) > 1


def test_those_of_another_epoch_are_refused(whole: Run, tmp_path: Path) -> None:
    run = Run(shutil.copytree(whole.folder, tmp_path / "run"))
    shutil.copy(run.predictions_of_epoch(2), run.predictions_of_epoch(3))
    with pytest.raises(CheckpointError) as failure:
        stored_epochs(run, 2)
    assert str(failure.value) == (
        f"{run.predictions_of_epoch(3)}: the predictions are of epoch 2, not of 3; restore the file, or train the run "
        f"{run.folder} again"
    )
