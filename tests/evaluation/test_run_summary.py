"""Runs as they are found on the disk."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from resnet_lab.core.errors import DataError, RunError
from resnet_lab.core.history import read_history
from resnet_lab.core.run_folder import Run
from resnet_lab.device import choose
from resnet_lab.evaluation.opened_run import OpenedRun, Sources
from resnet_lab.evaluation.run_summary import RunSummary, look_at
from resnet_lab.network import zoo
from resnet_lab.network.plugins import load
from resnet_lab.train.config import TrainConfig
from resnet_lab.train.training import train

CPU, REGISTRY = choose("cpu", "fp32"), load(only=[])
SPEC = zoo.get("resnet20").modified(input_size=8, act="gelu")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, draw = tmp_path_factory.mktemp("report"), np.random.default_rng(0)
    for name in ("blue", "red"):
        (root / "paintings" / name).mkdir(parents=True)
        for number in range(12):
            pixels = draw.integers(0, 256, (9, 9, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "paintings" / name / f"{number}.png")
    config = TrainConfig(epochs=2, batch_size=8, precision="fp32")
    train(SPEC, str(root / "paintings"), config, folder=root / "run")
    return root / "run"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def look(run: Path, **options: Any) -> RunSummary:
    return look_at(OpenedRun(run, Sources(REGISTRY)), CPU, **options)


def changed(run: Path, change: Callable[[dict], object]) -> None:
    content = json.loads((run / "run.json").read_text())
    change(content)
    (run / "run.json").write_text(json.dumps(content))


def test_a_finished_run_is_scored_on_its_test_part(run: Path) -> None:
    found = look(run)
    assert found.finished
    assert found.predictions is not None
    assert found.predictions.origin.part == "test"
    assert found.summary is not None
    reported = json.loads((run / "run.json").read_text())["test"]
    assert found.summary.headline["macro_accuracy"].value == pytest.approx(reported["macro_accuracy"])
    assert found.changes == ("activation gelu for relu in the stem", "activation gelu for relu in stages 1 to 3")
    assert sum(found.parts.values()) == 24
    assert (found.name, found.scored, found.obstacle) == ("run", "test part", "")
    assert [epoch.epoch for epoch in found.history] == [1, 2]
    assert all(epoch.seconds > 0 for epoch in found.history)


def test_an_unfinished_run_is_scored_on_its_validation_part_alone(run: Path) -> None:
    changed(run, lambda content: (content.pop("test"), content.update(status="running")))
    shutil.rmtree(run / "predictions")
    found = look(run)
    assert not found.finished
    assert found.predictions is not None
    assert found.predictions.origin.part == "val"
    assert [path.name for path in (run / "predictions").iterdir()] == ["val.safetensors"]
    with pytest.raises(RunError) as error:
        look(run, part="test")
    assert str(error.value) == (
        f"{run}: the training is not finished (running), and its test part stays unseen until it is; leave --split out "
        f"to see the validation part, or resume with `resnet-lab train --resume {run}`"
    )
    assert [path.name for path in (run / "predictions").iterdir()] == ["val.safetensors"]


def test_a_run_in_its_first_epoch(run: Path) -> None:
    changed(run, lambda content: content.update(status="running"))
    for name in ("best.safetensors", "metrics.csv", "times.csv"):
        (run / name).unlink()
    found = look(run)
    assert (found.predictions, found.summary, found.history, found.best_epoch) == (None, None, (), None)
    assert found.obstacle == "there are no weights yet"


def test_images_that_are_gone_leave_what_was_kept(run: Path, trained: Path) -> None:
    kept = look(run).predictions
    assert kept is not None
    images = trained.parent / "paintings"
    images.rename(trained.parent / "elsewhere")
    try:
        found = look(run)
        with pytest.raises(DataError):
            look(run, source=str(images))
        shutil.rmtree(run / "predictions")
        without = look(run)
    finally:
        (trained.parent / "elsewhere").rename(images)
    assert found.predictions is not None
    assert np.array_equal(found.predictions.probabilities, kept.probabilities)
    assert str(images) in found.obstacle
    assert not found.has_images
    assert (without.predictions, without.summary) == (None, None)
    assert str(images) in without.obstacle


def test_tables_that_are_damaged(run: Path) -> None:
    (run / "metrics.csv").write_text("epoch,val_loss\n1,much\n")
    with pytest.raises(RunError) as error:
        read_history(Run(run))
    assert str(error.value) == (
        f"{run}/metrics.csv: line 2: val_loss: damaged: not a decimal number, got 'much'; restore the file"
    )
    changed(run, lambda content: content.pop("spec"))
    with pytest.raises(RunError) as error:
        look(run)
    assert str(error.value) == (
        f"{run}/run.json: damaged: spec: field required; the run's weights can still be used by their path"
    )


def test_losses_without_an_end_are_read(run: Path) -> None:
    text = (run / "metrics.csv").read_text().splitlines()
    columns = text[0].split(",")
    row = text[2].split(",")
    row[columns.index("val_loss")] = "inf"
    (run / "metrics.csv").write_text("\n".join([*text[:2], ",".join(row)]) + "\n")
    (run / "times.csv").unlink()
    history = read_history(Run(run))
    assert history[1].val_loss == float("inf")
    assert np.isnan(history[0].seconds)
