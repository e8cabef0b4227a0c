"""Progress of long work: a live screen on a terminal, plain lines elsewhere; always on standard error."""

from types import TracebackType

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from resnet_lab.cli import output
from resnet_lab.cli.coverage import print_coverage
from resnet_lab.core.history import Epoch
from resnet_lab.network.weights import Coverage
from resnet_lab.train.progress import TrainingWatcher


class Screen(TrainingWatcher):
    """Shows phases, steps and epochs; a context manager.

    Args:
        phases: whether each phase is a line where there is no terminal, as of work without any other lines.
    """

    def __init__(self, *, phases: bool = False) -> None:
        self.console = output.console(stderr=True)
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=self.console,
        )
        self.status = output.text()
        self.live = Live(Group(self.progress, self.status), console=self.console, transient=True, refresh_per_second=8)
        self._task = None if not self.console.is_terminal else self.progress.add_task("", visible=False)
        self._phases = phases
        self._best = ""

    def __enter__(self) -> "Screen":
        if self._task is not None:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self.live.stop()

    def begin(self, what: str, total: int, done: int = 0) -> None:
        if self._task is not None:
            self.progress.reset(self._task, total=total, completed=done, description=what, visible=True)
            self.status.plain = ""
        elif self._phases:
            self.say(what)

    def advance(self) -> None:
        if self._task is not None:
            self.progress.advance(self._task)

    def say(self, text: str) -> None:
        self.console.print(text, soft_wrap=True)

    def weights(self, coverage: Coverage) -> None:
        print_coverage(coverage, self.console)

    def step(self, epoch: int, epochs: int, latest: tuple[float, float] | None, images_per_second: float) -> None:
        if self._task is None:
            return
        parts = [f"epoch {epoch} of {epochs}", f"{images_per_second:.0f} images/s"]
        if latest is not None:
            parts.append("loss {:.3f}, macro accuracy {:.3f} so far".format(*latest))
        self.status.plain = "  " + " · ".join(parts) + self._best

    def epoch(self, epoch: Epoch, best: Epoch) -> None:
        self._best = f" · best {best.val_macro_accuracy:.4f} (epoch {best.epoch})"
        mark = " (best)" if epoch is best else ""
        self.console.print(
            f"epoch {epoch.epoch:3d}: loss {epoch.train_loss:.3f}, macro accuracy {epoch.train_macro_accuracy:.3f}; "
            f"validation {epoch.val_loss:.3f}, {epoch.val_macro_accuracy:.4f}{mark}; "
            f"{epoch.images_per_second:.0f} images/s",
            soft_wrap=True,
        )
