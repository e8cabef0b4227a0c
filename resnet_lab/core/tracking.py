"""Observers of trainings: what a tracker, built in or of a plugin, is told, and what it may answer."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

Ending: TypeAlias = Literal["finished", "interrupted", "failed"]
"""How a training ended: all its epochs are done; it was asked to stop, and may be resumed; or an error ended it."""


@dataclass(frozen=True)
class RunStart:
    """A training that starts or resumes.

    Attributes:
        folder: the run folder.
        name: of the run folder; in a study that of the trial, with arm and seed.
        study: name of the study folder; empty outside a study.
        config: network, configuration, data with their fingerprint, plugins, versions and device, as `run.json` has
            them: tables, lists, texts and numbers. The command and the names of image files are left out.
        id: the answer of this tracker when the run started, where it resumes; None where there was none.
    """

    folder: Path
    name: str
    study: str
    config: Mapping[str, Any]
    id: str | None = None

    def flat(self) -> dict[str, str | int | float | bool]:
        """The configuration in one level, `{"config.lr": 0.1}`; a list is its JSON, and what is None is left out."""
        found: dict[str, str | int | float | bool] = {}

        def add(value: Any, name: str) -> None:
            if isinstance(value, Mapping):
                for key, each in value.items():
                    add(each, f"{name}.{key}" if name else str(key))
            elif value is not None:
                found[name] = value if isinstance(value, str | int | float | bool) else json.dumps(value)

        add(self.config, "")
        return found


@dataclass(frozen=True)
class RunEnd:
    """A training that ended.

    Attributes:
        reason: why, where it is not finished.
        best_epoch: by the validation part; None where it is not finished, as the next.
        test: the test part's figures by name, all in [0, 1].
        artefacts: small files of the run folder that are there: record, tables and curves.
        weights: the best epoch's; None where there are none yet.
    """

    ending: Ending
    reason: str
    best_epoch: int | None
    test: Mapping[str, float]
    artefacts: tuple[Path, ...]
    weights: Path | None


class Tracker(ABC):
    """Observer of one training.

    Its methods are called in order, one at a time, in the process of rank 0 alone. What one raises is reported once and
    never ends the training; the others of that training are then left out, but for one more try at the end. The
    constructor contacts nothing: it raises `ConfigError` where a package is missing.
    """

    @abstractmethod
    def on_run_start(self, run: RunStart) -> str | None:
        """Start or, with `run.id`, resume a tracked run; an id that is not found starts a new one.

        Returns:
            An id by which the tracked run can be resumed, which is kept in the run folder.
        """

    @abstractmethod
    def on_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """An epoch ended, counted from 1; each is told once, also those that ended before the tracker was asked for.

        Args:
            metrics: the columns of metrics.csv and times.csv. `val_loss` may be inf or nan.
        """

    @abstractmethod
    def on_finish(self, end: RunEnd) -> None:
        """The training ended, for now at least: write all that waits, and let go of files and connections."""
