"""What a user sees of long work: a live bar on a terminal, plain lines elsewhere; always on standard error."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from resnet_lab.train.loop import Epoch
from resnet_lab.train.training import TrainingWatcher


class Screen(TrainingWatcher):
    """Shows phases, steps and epochs; to be entered as a context."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._task = None if not self.console.is_terminal else self.progress.add_task("", visible=False)

    def __enter__(self) -> "Screen":
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def begin(self, what: str, total: int) -> None:
        if self._task is not None:
            self.progress.reset(self._task, total=total, description=what, visible=True)

    def advance(self) -> None:
        if self._task is not None:
            self.progress.advance(self._task)

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)

    def epoch(self, epoch: Epoch, best: Epoch) -> None:
        mark = " (best)" if epoch is best else ""
        self.console.print(
            f"epoch {epoch.epoch:3d}: loss {epoch.train_loss:.3f}, validation loss {epoch.val_loss:.3f}, "
            f"macro accuracy {epoch.val_macro_accuracy:.4f}{mark}; {epoch.images_per_second:.0f} images/s",
            markup=False,
            soft_wrap=True,
        )
