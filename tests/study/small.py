"""Studies that take seconds."""

import json
from pathlib import Path
from typing import Any

from resnet_lab.study.design import Study, study_from
from resnet_lab.study.outcome import Outcome
from resnet_lab.study.trials import StudyFolder, Trial
from resnet_lab.train.progress import TrainingWatcher

TRAIN = {"epochs": 1, "batch_size": 256, "device": "cpu", "precision": "fp32", "compile": "off"}


def study(train: dict[str, Any] | None = None, **plan: Any) -> Study:
    """Study of a ResNet-20 on digits of 8 pixels, one epoch."""
    tables = {
        "study": {"factors": {"attn": ["none", "eca"]}, "seeds": 2, **plan},
        "model": {"model": "resnet20", "input_size": 8},
        "data": {"source": "digits"},
        "train": {**TRAIN, **(train or {})},
    }
    return study_from(tables, "small")


class Listening:
    """Keeps all messages."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.trained: list[str] = []
        self.outcomes: list[Outcome] = []

    def say(self, text: str) -> None:
        self.notes.append(text)

    def show(self, states: dict[str, Any], outcomes: Any) -> None:
        self.outcomes = list(outcomes)

    def training(self, trial: Trial) -> TrainingWatcher:
        self.trained.append(trial.name)
        return TrainingWatcher()


def table(folder: Path) -> dict[str, dict[str, float]]:
    """Scores of every finished trial, by name."""
    opened = StudyFolder(folder)
    found = {}
    for path in sorted(opened.trials.glob("*.json")):
        content = json.loads(path.read_text())
        found[path.stem] = content["scores"]
    return found
