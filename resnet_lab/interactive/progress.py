"""Progress in a notebook, and elsewhere the command line's screen.

In a notebook it is one output of a cell, replaced while the work runs. It is plain HTML, so that it
needs no widgets, and stays in a notebook that is saved as it was last.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import RLock
from time import monotonic
from types import TracebackType
from typing import Any

from resnet_lab.cli.progress import Screen
from resnet_lab.cli.study_screen import watching
from resnet_lab.core.errors import printable
from resnet_lab.core.history import Epoch
from resnet_lab.network.weights import Coverage
from resnet_lab.report.cells import ProgressBar, progress_cell
from resnet_lab.study.design import Study as Design
from resnet_lab.study.executing import StudyWatcher
from resnet_lab.study.outcome import Outcome
from resnet_lab.study.trials import State, Trial
from resnet_lab.train.progress import TrainingWatcher

PAUSE = 0.25
"""Seconds between two updates, at least: each is sent to the browser."""

LINES = 5
"""Latest lines that are shown, beside remarks."""


def in_notebook() -> bool:
    """Whether the outputs of this process are shown by a notebook: Jupyter, Colab, Kaggle, VS Code."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return hasattr(shell, "kernel")


@contextmanager
def watching_training(*, quiet: bool, phases: bool = False) -> Iterator[TrainingWatcher]:
    """Watcher of a training, or of other work in steps, which shows it while it runs; `phases` as of `Screen`."""
    if quiet:
        yield TrainingWatcher()
        return
    with NotebookScreen() if in_notebook() else Screen(phases=phases) as screen:
        yield screen


@contextmanager
def watching_study(design: Design, *, quiet: bool) -> Iterator[StudyWatcher]:
    """Watcher of a study."""
    if quiet or not in_notebook():
        with watching(design, quiet=quiet) as elsewhere:
            yield elsewhere
        return
    with NotebookScreen() as screen:
        yield _Trials(design, screen)


class Cell:
    """Output of a notebook's cell, which is replaced by a later one."""

    def __init__(self) -> None:
        from IPython.display import display

        self._handle: Any = display({"text/plain": ""}, raw=True, display_id=True)  # type: ignore[no-untyped-call]

    def show(self, bar: ProgressBar | None, lines: Sequence[str]) -> None:
        """Replace it by a bar and lines."""
        text = "\n".join([*lines, *([] if bar is None else [str(bar)])])
        self._handle.update({"text/html": progress_cell(bar, lines), "text/plain": text}, raw=True)


class NotebookScreen(TrainingWatcher):
    """Shows phases, steps and epochs in a notebook; a context manager."""

    def __init__(self) -> None:
        self._cell = Cell()
        self._lock = RLock()  # images are decoded in threads
        self._bar: ProgressBar | None = None
        self._status, self._best = "", ""
        self._remarks: list[str] = []
        self._epochs: list[str] = []
        self._start, self._shown = monotonic(), 0.0

    def __enter__(self) -> "NotebookScreen":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar = None
        self._show(at_once=True)

    def begin(self, what: str, total: int, done: int = 0) -> None:
        with self._lock:
            self._bar, self._status, self._start = ProgressBar(what, done, total), "", monotonic()
            self._show(at_once=True)

    def advance(self) -> None:
        with self._lock:
            if self._bar is not None:
                self.at(self._bar.done + 1)

    def at(self, done: int) -> None:
        """So many steps of the phase are done."""
        if self._bar is not None:
            seconds = monotonic() - self._start
            self._bar = ProgressBar(self._bar.what, done, self._bar.total, self._status, seconds)
            self._show()

    def status(self, text: str) -> None:
        """Text beside the bar, until the next phase."""
        self._status = text
        if self._bar is not None:
            self.at(self._bar.done)

    def say(self, text: str) -> None:
        with self._lock:
            self._remarks.append(printable(text))
            self._show(at_once=True)

    def weights(self, coverage: Coverage) -> None:
        self.say(f"weights: {coverage.sentence()}")

    def step(self, epoch: int, epochs: int, latest: tuple[float, float] | None, images_per_second: float) -> None:
        parts = [f"epoch {epoch} of {epochs}", f"{images_per_second:.0f} images/s"]
        if latest is not None:
            parts.append("loss {:.3f}, macro accuracy {:.3f} so far".format(*latest))
        self._status = " · ".join(parts) + self._best

    def epoch(self, epoch: Epoch, best: Epoch) -> None:
        self._best = f" · best {best.val_macro_accuracy:.4f} (epoch {best.epoch})"
        mark = " (best)" if epoch is best else ""
        self._epochs.append(
            f"epoch {epoch.epoch}: loss {epoch.train_loss:.3f}; validation {epoch.val_loss:.3f}, macro accuracy "
            f"{epoch.val_macro_accuracy:.4f}{mark}; {epoch.images_per_second:.0f} images/s"
        )
        self._show()

    def _show(self, *, at_once: bool = False) -> None:
        if at_once or monotonic() - self._shown >= PAUSE:
            self._shown = monotonic()
            self._cell.show(self._bar, [*self._remarks, *self._epochs[-LINES:]])


class _Trials:
    """Shows a study in a notebook: trials that are finished, and the one that runs in this process."""

    def __init__(self, design: Design, screen: NotebookScreen) -> None:
        self._design, self._screen = design, screen
        self._total = -1

    def say(self, text: str) -> None:
        self._screen.say(text)

    def show(self, states: Mapping[str, State], outcomes: Sequence[Outcome]) -> None:
        if self._total != len(states):
            self._total = len(states)
            self._screen.begin("trials", len(states), len(outcomes))
        self._screen.at(len(outcomes))

    def training(self, trial: Trial) -> TrainingWatcher:
        return _Trial(trial, self._screen)


class _Trial(TrainingWatcher):
    def __init__(self, trial: Trial, screen: NotebookScreen) -> None:
        self._name, self._screen = f"{trial.arm.name}, seed {trial.seed}", screen
        screen.status(self._name)

    def epoch(self, epoch: Epoch, best: Epoch) -> None:
        best_so_far = f"best validation {best.val_macro_accuracy:.3f}"
        self._screen.status(f"{self._name}: epoch {epoch.epoch}, {best_so_far}")
