"""Tracking of a training, by trackers that behave well and badly."""

import json
import random
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from resnet_lab.core.errors import ConfigError, RunError, SpecError
from resnet_lab.core.history import Epoch
from resnet_lab.network import zoo
from resnet_lab.network.hookspecs import hookimpl
from resnet_lab.network.plugins import OWN, load, registered_by
from resnet_lab.network.registry import Registry
from resnet_lab.plugin_api import RunEnd, RunStart, Tracker
from resnet_lab.train.config import TrainConfig
from resnet_lab.train.interruption import Interrupted
from resnet_lab.train.progress import TrainingWatcher
from resnet_lab.train.tally import DivergedError
from resnet_lab.train.tracking import Track, read_told
from resnet_lab.train.training import resume, train

SPEC = zoo.get("resnet20").modified(input_size=8, dropout=0.1)
IMAGES = "synthetic(images=80, classes=2, size=16)"
QUICK = TrainConfig(epochs=3, batch_size=16, precision="fp32", device="cpu", compile="off")
HEARD: list[tuple[str, Any]] = []
FAULTS: dict[str, int] = {}
"""How often each method of `Listener` is still to fail."""


class Listener(Tracker):
    """Keeps all that it is told."""

    def __init__(self, *, disturb: bool = False) -> None:
        self.disturb = disturb

    def _hear(self, what: str, value: Any) -> None:
        HEARD.append((what, value))
        if self.disturb:
            torch.manual_seed(1)
            random.seed(1)
            np.random.seed(1)
            print("a line on standard output")
        if FAULTS.get(what, 0):
            FAULTS[what] -= 1
            raise ConnectionError(f"{what}: no\nserver")

    def on_run_start(self, run: RunStart) -> str | None:
        self._hear("start", run)
        if self.disturb:
            run.config["config"]["lr"] = "changed"  # type: ignore[index]
        return run.id or f"run-{len(HEARD)}"

    def on_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        self._hear("epoch", (epoch, dict(metrics)))

    def on_finish(self, end: RunEnd) -> None:
        self._hear("finish", end)


class _Plugin:
    @hookimpl
    def register_trackers(self, register: Any) -> None:
        register("listener", Listener)
        register("quitter", Quitter)
        register("none", lambda: None)


class Quitter(Listener):
    """Ends the program wherever it can."""

    def on_run_start(self, run: RunStart) -> str | None:
        sys.exit(3)


class Notes(TrainingWatcher):
    """Keeps remarks, and stops the training after an epoch by SIGINT."""

    def __init__(self, stop_after: int = 0) -> None:
        self.notes: list[str] = []
        self.stop_after = stop_after

    def say(self, text: str) -> None:
        self.notes.append(text)

    def epoch(self, epoch: Epoch, best: Epoch) -> None:
        if epoch.epoch == self.stop_after:
            signal.raise_signal(signal.SIGINT)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    HEARD.clear()
    FAULTS.clear()
    found = load(only=(), files=())
    found.add(*registered_by(_Plugin(), OWN))
    return found


def heard(what: str) -> list[Any]:
    return [value for each, value in HEARD if each == what]


def bits(folder: Path) -> tuple[bytes, ...]:
    return tuple((folder / name).read_bytes() for name in ("best.safetensors", "last.safetensors", "metrics.csv"))


@pytest.fixture
def plain(made_once: Any) -> Path:
    """The same training without a tracker."""
    return made_once("untracked", lambda folder: train(SPEC, IMAGES, QUICK, folder=folder / "run")) / "run"


def test_what_a_tracker_is_told(tmp_path: Path, registry: Registry, plain: Path, capsys: Any) -> None:
    """Whatever it does with generators and with what it is told, the training is that without it, bit for bit."""
    track = Track.parse(["listener(disturb=true)"], "parts")
    result = train(SPEC, IMAGES, QUICK, folder=tmp_path / "run", registry=registry, track=track)
    assert bits(tmp_path / "run") == bits(plain)
    assert "a line" not in capsys.readouterr().out
    (start,), (end,) = heard("start"), heard("finish")
    assert (start.folder, start.name, start.study, start.id) == (tmp_path / "run", "run", "parts", None)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["config"]["lr"] == QUICK.lr
    assert start.config["data"]["fingerprint"] == record["data"]["fingerprint"]
    assert start.config["spec"] == record["spec"]
    assert not {"command", "plugin_files"} & set(start.config)
    assert "bad" not in start.config["data"]
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()[1:]
    assert [(number, f"{metrics['val_loss']:.6g}") for number, metrics in heard("epoch")] == [
        (number, row.split(",")[4]) for number, row in enumerate(rows, 1)
    ]
    assert (end.ending, end.reason, end.best_epoch, end.test) == (
        "finished", "", result.best_epoch, result.test.headline(),
    )  # fmt: skip
    assert [path.name for path in end.artefacts] == ["run.json", "metrics.csv", "times.csv", "curves.png"]
    assert json.loads(end.artefacts[0].read_text())["status"] == "finished"
    assert end.weights == tmp_path / "run" / "best.safetensors"


def test_a_resumed_run_is_the_same_tracked_run(tmp_path: Path, registry: Registry, plain: Path) -> None:
    folder, track = tmp_path / "run", Track.parse(["listener"])
    with pytest.raises(Interrupted):
        train(SPEC, IMAGES, QUICK, folder=folder, registry=registry, track=track, watcher=Notes(stop_after=1))
    (end,) = heard("finish")
    assert (end.ending, end.reason, end.best_epoch, end.test) == ("interrupted", "stopped by SIGINT", None, {})
    assert read_told(folder)["listener"].epochs == 1
    resume(folder, registry=registry, track=track)
    assert [start.id for start in heard("start")] == [None, "run-1"]
    assert [number for number, _ in heard("epoch")] == [1, 2, 3]
    assert bits(folder) == bits(plain)


def test_it_resumes_untracked_unless_asked_for(tmp_path: Path, registry: Registry, plain: Path) -> None:
    """A record names a tracker as data alone; one that is asked for later is told of all epochs."""
    folder = tmp_path / "run"
    with pytest.raises(Interrupted):
        train(SPEC, IMAGES, QUICK, folder=folder, registry=registry, track=Track.parse(["listener"]),
              watcher=Notes(stop_after=1))  # fmt: skip
    HEARD.clear()
    with pytest.raises(Interrupted):
        resume(folder, registry=registry, watcher=Notes(stop_after=2))
    assert HEARD == []
    resume(folder, registry=registry, track=Track.parse(["listener"]))
    assert [start.id for start in heard("start")] == ["run-1"]
    assert [number for number, _ in heard("epoch")] == [2, 3]
    assert bits(folder) == bits(plain)


@pytest.mark.parametrize("what", ["start", "epoch"])
def test_a_failure_is_reported_once_and_tried_again_at_the_end(
    tmp_path: Path, registry: Registry, plain: Path, what: str
) -> None:
    FAULTS[what] = 1
    notes = Notes()
    folder = tmp_path / "run"
    train(SPEC, IMAGES, QUICK, folder=folder, registry=registry, track=Track.parse(["listener"]), watcher=notes)
    assert [note for note in notes.notes if "tracker" in note] == [
        f"tracker listener failed: ConnectionError: {what}: no server; the training continues"
    ]
    assert [each for each, _ in HEARD].count(what) == {"start": 2, "epoch": 4}[what]
    assert [number for number, _ in heard("epoch")][-3:] == [1, 2, 3]
    assert len(heard("finish")) == 1
    assert read_told(folder)["listener"].problem == ""
    assert bits(folder) == bits(plain)


def test_one_that_always_fails_harms_neither_the_training_nor_others(
    tmp_path: Path, registry: Registry, plain: Path
) -> None:
    notes, folder = Notes(), tmp_path / "run"
    track = Track.parse(["quitter,listener"])
    train(SPEC, IMAGES, QUICK, folder=folder, registry=registry, track=track, watcher=notes)
    assert [note for note in notes.notes if "tracker" in note] == [
        "tracker quitter failed: SystemExit: 3; the training continues"
    ]
    told = read_told(folder)
    assert (told["quitter"].problem, told["quitter"].epochs, told["listener"].epochs) == ("SystemExit: 3", 0, 3)
    assert bits(folder) == bits(plain)


def test_a_training_that_fails(tmp_path: Path, registry: Registry) -> None:
    config = QUICK.model_copy(update={"lr": 1e30, "epochs": 1})
    with pytest.raises(DivergedError):
        train(SPEC, IMAGES, config, folder=tmp_path / "run", registry=registry, track=Track.parse(["listener"]))
    (end,) = heard("finish")
    assert end.ending == "failed"
    assert "loss is" in end.reason
    assert end.weights is None


def test_refused_before_the_folder_is_made(tmp_path: Path, registry: Registry) -> None:
    def refusal(*texts: str) -> str:
        with pytest.raises((ConfigError, SpecError)) as caught:
            train(SPEC, IMAGES, QUICK, folder=tmp_path / "run", registry=registry, track=Track.parse(texts))
        assert not (tmp_path / "run").exists()
        return str(caught.value)

    assert refusal("listner") == "--track: unknown tracker 'listner'; did you mean 'listener' or 'quitter'?"
    assert refusal("listener", "listener") == "--track has listener 2 times; give each tracker once"
    assert refusal("none") == f"{OWN}: tracker none is a NoneType, and must be a Tracker"


def test_damaged_record(tmp_path: Path) -> None:
    path = tmp_path / "tracking.json"
    assert read_told(tmp_path) == {}
    path.write_text('{"format": 1, "trackers": {"mlflow": {"id": 3}}}')
    with pytest.raises(RunError) as caught:
        read_told(tmp_path)
    assert str(caught.value) == (
        f"{path}: damaged: mlflow.id: input should be a valid string, got 3; remove it to have trackers start new runs"
    )
