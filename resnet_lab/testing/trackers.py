"""Checks of trackers: a made-up training is tracked, in an empty folder."""

from collections.abc import Mapping
from contextlib import chdir
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from resnet_lab.core.errors import ResNetLabError
from resnet_lab.core.tracking import RunEnd, RunStart, Tracker
from resnet_lab.network.plugins import Entry, Registry
from resnet_lab.network.spec import Component
from resnet_lab.testing.data_sets import generators
from resnet_lab.testing.results import BreachError, breach_if_raised
from resnet_lab.testing.storing import DEFAULTS, written_out

METRICS = {
    "learning_rate": 0.1, "train_loss": 1.5, "train_macro_accuracy": 0.5, "val_loss": 1.25, "val_accuracy": 0.75,
    "val_macro_accuracy": 0.75, "seconds": 2.0, "images_per_second": 100.0,
}  # fmt: skip
CONFIG = {
    "config": {"lr": 0.1, "optimizer": "adamw", "clip_norm": None, "milestones": [10, 20], "ema": True},
    "spec": {"name": "resnet20", "stages": [{"depth": 3}, {"depth": 3}]},
    "data": {"source": "digits", "classes": ["0", "1"], "mean": [0.5]},
}


class TrackerUnderTest:
    """A tracker to check."""

    def __init__(self, entry: Entry, component: Component, registry: Registry) -> None:
        self.entry, self.component, self.registry = entry, component, registry

    def made(self) -> Tracker:
        """A new tracker."""
        with breach_if_raised(str(self.component), what="making it raises"):
            tracker = self.registry.bind("tracker", self.component, "check")()
        if not isinstance(tracker, Tracker):
            raise BreachError(
                f"the factory gave {type(tracker).__name__}, not a Tracker",
                str(self.component),
                "derive it from resnet_lab.plugin_api.Tracker",
            )
        return tracker

    def track(self, folder: Path, epochs: range, id: str | None, config: Mapping[str, Any] | None = None) -> Any:
        """Track epochs of a run as far as they go, of three; gives what `on_run_start` gave."""
        case, tracker = f"{self.component}, epochs {epochs.start} to {epochs.stop - 1}", self.made()
        given = deepcopy(CONFIG) if config is None else config
        folder.mkdir(exist_ok=True)
        with breach_if_raised(case, what="on_run_start raises"):
            answer = tracker.on_run_start(RunStart(folder, folder.name, "study", given, id))
        if answer is not None and not isinstance(answer, str):
            raise BreachError(f"on_run_start gave {type(answer).__name__}", case, "return a text, or None")
        for epoch in epochs:
            with breach_if_raised(case, what="on_epoch raises"):
                tracker.on_epoch(epoch, {**METRICS, "val_loss": 2.0 / epoch})
        with breach_if_raised(case, what="on_finish raises"):
            tracker.on_finish(_end(folder, finished=epochs.stop > 3))
        return answer


def _end(folder: Path, *, finished: bool) -> RunEnd:
    if not finished:
        return RunEnd("interrupted", "stopped by SIGINT", None, {}, (), None)
    table, weights = folder / "metrics.csv", folder / "best.safetensors"
    table.write_text("epoch,val_loss\n1,2\n")
    weights.write_bytes(b"weights")
    return RunEnd("finished", "", 3, {"accuracy": 0.75}, (table,), weights)


def course(tested: TrackerUnderTest) -> str:
    """A run of three epochs is tracked from start to finish."""
    with TemporaryDirectory() as folder, chdir(folder):
        answer = tested.track(Path(folder, "run"), range(1, 4), None)
    return "no id" if answer is None else "with an id"


def resumption(tested: TrackerUnderTest) -> str:
    """An interrupted run resumes by its id; one whose id is not found starts again."""
    with TemporaryDirectory() as folder, chdir(folder):
        first = tested.track(Path(folder, "run"), range(1, 2), None)
        again = tested.track(Path(folder, "run"), range(2, 4), first)
        if again != first:
            hint = "return run.id where its run was found"
            raise BreachError("resumed, it gave another id", str(tested.component), hint)
    with TemporaryDirectory() as folder, chdir(folder):
        tested.track(Path(folder, "run"), range(1, 4), None if first is None else f"{first}0")
    return ""


def config_kept(tested: TrackerUnderTest) -> str:
    """The configuration that it is given is not modified."""
    given = deepcopy(CONFIG)
    with TemporaryDirectory() as folder, chdir(folder):
        tested.track(Path(folder, "run"), range(1, 4), None, given)
    if given != CONFIG:
        raise BreachError("it modifies the configuration", str(tested.component), "copy what you change")
    return ""


def randomness(tested: TrackerUnderTest) -> str:
    """No global random number generator is changed."""
    before = generators()
    with TemporaryDirectory() as folder, chdir(folder):
        tested.track(Path(folder, "run"), range(1, 4), None)
    if generators() != before:
        hint = "draw from a generator of your own, or from `secrets`"
        raise BreachError("it draws from a global generator of random numbers", str(tested.component), hint)
    return ""


def spec(tested: TrackerUnderTest) -> str:
    """The specification with every parameter written out makes a tracker, as with `--track`."""
    written = written_out(tested.entry, tested.component)
    try:
        tested.registry.bind("tracker", written, "check")()
    except ResNetLabError as error:
        raise BreachError(str(error), str(written), DEFAULTS) from None
    return str(written)
