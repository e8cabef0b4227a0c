"""Tracking of a training: trackers are told of it, and whatever they do, it is the same training.

`tracking.json` in the run folder has, for each tracker by its name, the id that it gave and the epochs it was told.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field, TypeAdapter

from resnet_lab.core.comma_list import comma_list
from resnet_lab.core.errors import ConfigError, RunError
from resnet_lab.core.files import write_atomically
from resnet_lab.core.history import Epoch
from resnet_lab.core.records import SMALL, Number, OpenRecord, read_json, validated
from resnet_lab.core.run_folder import Run
from resnet_lab.core.tracking import Ending, RunEnd, RunStart, Tracker
from resnet_lab.core.watcher import Watcher
from resnet_lab.network.component import Component
from resnet_lab.network.registry import Registry
from resnet_lab.train.interruption import Interrupted

REMEDY = "remove it to have trackers start new runs"
LEFT_OUT = ("command", "plugin_files")
"""Of the record of a run: it has paths of the person's machine."""

LONGEST = 300
"""Characters of a problem."""


class Told(OpenRecord):
    """Record of a tracker of a run: its id, and the epochs that it was told.

    Attributes:
        problem: why it failed last; empty where it did not.
    """

    id: str | None = Field(None, max_length=1000)
    epochs: Number = 0
    problem: str = Field("", max_length=10 * LONGEST)


TOLD: TypeAdapter[dict[str, Told]] = TypeAdapter(dict[str, Told])


@dataclass(frozen=True)
class Track:
    """Choice of trackers for a training.

    Attributes:
        trackers: components of that kind.
        study: name of the study that it is a trial of; empty outside one.
    """

    trackers: tuple[Component, ...] = ()
    study: str = ""

    @classmethod
    def parse(cls, texts: Sequence[str], study: str = "") -> "Track":
        """Parse texts such as `mlflow(uri='runs')`, of which one may hold several between commas.

        Raises:
            SpecError: it is not a component.
            ConfigError: a tracker twice.
        """
        found = [Component.parse(each) for text in texts for each in comma_list(text)]
        names = [each.name for each in found]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"--track has {name} {names.count(name)} times; give each tracker once")
        return cls(tuple(found), study)

    @property
    def options(self) -> list[str]:
        """Options of a command that tracks with the same."""
        return [f"--track={each}" for each in self.trackers]

    def made(self, registry: Registry) -> dict[str, Tracker]:
        """A new tracker of each, by name.

        Raises:
            SpecError, PluginError: an unknown tracker or parameter.
            ConfigError: the package of one is not installed, or it is no tracker.
        """
        found = {each.name: registry.bind("tracker", each, "--track")() for each in self.trackers}
        for name, tracker in found.items():
            if not isinstance(tracker, Tracker):
                owner = registry.entries["tracker", name].owner
                raise ConfigError(f"{owner}: tracker {name} is a {type(tracker).__name__}, and must be a Tracker")
        return found

    def require_made(self, registry: Registry) -> None:
        """Raise as `made`, before any work."""
        self.made(registry)


UNTRACKED = Track()


def read_told(folder: Path) -> dict[str, Told]:
    """Records of the trackers of a run, by name; none where it was not tracked.

    Raises:
        RunError: the file is damaged.
    """
    path = Run(folder).tracking
    if not path.exists():
        return {}
    content = read_json(path, RunError, most=SMALL, remedy=REMEDY)
    trackers = content.get("trackers") if isinstance(content, dict) else content
    return validated(TOLD, trackers, f"{path}: damaged", RunError, REMEDY)


@dataclass
class _Tracked:
    """A tracker of this training."""

    name: str
    tracker: Tracker
    id: str | None = None
    epochs: int = 0
    problem: str = ""
    is_open: bool = False

    def bring_up(self, run: RunStart, history: Sequence[Epoch]) -> None:
        """Tell it all that it was not told yet."""
        if not self.is_open:
            answer = self.tracker.on_run_start(run)
            if answer is not None and not isinstance(answer, str):
                raise TypeError(f"on_run_start gave {type(answer).__name__}, and must give a text or None")
            if answer != self.id:  # a run of its own, which has no epochs yet
                self.id, self.epochs = answer, 0
            self.is_open = True
        for epoch in history[self.epochs :]:
            figures = asdict(epoch)
            self.tracker.on_epoch(figures.pop("epoch"), figures)
            self.epochs = epoch.epoch


@dataclass
class Tracking:
    """The trackers of a training in its run folder; as a context it tells them how the training ended.

    Attributes:
        record: the content of run.json.
        trackers: by name; none in processes other than rank 0's.
    """

    run: Run
    record: Mapping[str, Any]
    study: str
    trackers: Mapping[str, Tracker]
    watcher: Watcher
    history: Sequence[Epoch] = ()
    _tracked: list[_Tracked] = field(default_factory=list)
    _others: dict[str, Any] = field(default_factory=dict)

    def start(self, history: Sequence[Epoch]) -> None:
        """Tell all trackers of the training, and of epochs that ended before.

        Raises:
            RunError: tracking.json is damaged.
        """
        self.history = history
        before = read_told(self.run.folder) if self.trackers else {}
        for name, tracker in self.trackers.items():
            told = before.get(name, Told())
            self._tracked.append(_Tracked(name, tracker, told.id, told.epochs))
        self._others = {name: told.model_dump() for name, told in before.items() if name not in self.trackers}
        self._tell(lambda each: each.bring_up(self._started(each), history))

    def epoch(self) -> None:
        """Tell all trackers of the last epoch; those that failed wait for the end."""
        self._tell(lambda each: each.bring_up(self._started(each), self.history))

    def finish(self, best_epoch: int, test: Mapping[str, float]) -> None:
        """Tell all trackers that the training is finished; those that failed are tried once more."""
        self._end("finished", "", best_epoch, test)

    def __enter__(self) -> "Tracking":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception):
            self._end("interrupted" if isinstance(error, Interrupted) else "failed", str(error), None, {})

    def _started(self, each: _Tracked) -> RunStart:
        config = {name: deepcopy(value) for name, value in self.record.items() if name not in LEFT_OUT}
        config.get("data", {}).pop("bad", None)
        folder = self.run.folder.absolute()
        return RunStart(folder, folder.name, self.study, config, each.id)

    def _end(self, ending: Ending, reason: str, best_epoch: int | None, test: Mapping[str, float]) -> None:
        run = self.run
        small = (path for path in (run.record, run.metrics, run.times, run.curves) if path.exists())
        end = RunEnd(ending, reason, best_epoch, dict(test), tuple(small), run.best if run.best.exists() else None)

        def tell(each: _Tracked) -> None:
            each.bring_up(self._started(each), self.history)
            each.tracker.on_finish(end)

        self._tell(tell, again=True)

    def _tell(self, call: Callable[[_Tracked], None], *, again: bool = False) -> None:
        for each in self._tracked:
            if each.problem and not again:
                continue
            before, each.problem = each.problem, ""
            try:
                with redirect_stdout(sys.stderr):  # standard output is the command's
                    call(each)
            except (Exception, SystemExit) as error:
                each.problem = " ".join(f"{type(error).__name__}: {error}".split())[:LONGEST]
                if not before:
                    self.watcher.say(f"tracker {each.name} failed: {each.problem}; the training continues")
        if self._tracked:
            self._write()

    def _write(self) -> None:
        now = {each.name: {"id": each.id, "epochs": each.epochs, "problem": each.problem} for each in self._tracked}
        content = {"format": 1, "trackers": {**self._others, **now}}
        write_atomically(self.run.tracking, json.dumps(content, indent=1).encode())
