"""A search on the screen: what it tries while it runs, and what it has found."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.status import Status
from rich.table import Table

from resnet_lab.cli import output
from resnet_lab.cli.study_screen import NARROWEST
from resnet_lab.core.history import Epoch
from resnet_lab.core.wording import shell_word
from resnet_lab.study.search import Found, SearchWatcher, Tried
from resnet_lab.train.progress import TrainingWatcher

SHOWN = 10
"""Tries of the table."""


class SearchScreen:
    """Prints a line per finished try, and on a terminal the progress of the next one; on standard error."""

    def __init__(self, console: Console, status: Status) -> None:
        self.console, self.status = console, status

    def tried(self, row: Tried, done: int, total: int) -> None:
        """Implements `SearchWatcher.tried`."""
        place = f"{done} of {total}" if done else "baseline"
        self.console.print(f"{place}: {_values(row.values)}: {_result(row)}", soft_wrap=True)

    def training(self, values: Mapping[str, Any]) -> TrainingWatcher:
        """Implements `SearchWatcher.training`."""
        return _Training(self.status, _values(values))


class _Training(TrainingWatcher):
    def __init__(self, status: Status, name: str) -> None:
        self._status, self._name = status, name

    def epoch(self, epoch: Epoch, best: Epoch) -> None:
        text = f"{self._name}: epoch {epoch.epoch}, best validation {best.val_macro_accuracy:.3f}"
        self._status.update(output.text(text))


class _Quiet:
    def tried(self, row: Tried, done: int, total: int) -> None:
        pass

    def training(self, values: Mapping[str, Any]) -> TrainingWatcher:
        return TrainingWatcher()


@contextmanager
def watching(*, quiet: bool) -> Iterator[SearchWatcher]:
    """A screen while the search runs, or nothing."""
    if quiet:
        yield _Quiet()
        return
    console = output.console(stderr=True)
    status = Status("", console=console)
    if not console.is_terminal:
        yield SearchScreen(console, status)
        return
    with status:
        yield SearchScreen(console, status)


def print_found(found: Found, folder: Path, label: str) -> None:
    """The best tries and the baseline, importances, and the next step."""
    console = output.console()
    console.width = max(console.width, NARROWEST)
    keys = [*found.space.plan.factors, *found.space.plan.search]
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("try", justify="right", no_wrap=True)
    for key in keys:
        table.add_column(output.text(key), no_wrap=True)
    for column in ("validation macro accuracy", "s"):
        table.add_column(column, justify="right")
    finished = [row for row in found.tried if row.validation is not None]
    for row in [*finished[:SHOWN], found.baseline]:
        table.add_row(
            "baseline" if row.number is None else str(row.number),
            *(output.text(_value(row.values[key]) if key in row.values else "default") for key in keys),
            f"{row.validation:.4f}", f"{row.seconds:.1f}",
        )  # fmt: skip
    console.print(output.text(label, style="magenta"), soft_wrap=True)
    console.print(table)
    if found.importances:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in found.importances.items())
        console.print(f"importance among the tries (fANOVA): {shares}", soft_wrap=True)
    for row in found.tried:
        if row.problem is not None:
            console.print(output.text(f"{_values(row.values)} failed: {row.problem}", style="red"), soft_wrap=True)
    if found.confirm is None:
        console.print("no try was better than the baseline", soft_wrap=True)
    else:
        console.print(f"confirm the best with `resnet-lab study run {shell_word(found.confirm)}`", soft_wrap=True)
    console.print(f"search folder: {folder}", soft_wrap=True)


def _values(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={_value(value)}" for name, value in values.items()) or "default"


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _result(row: Tried) -> str:
    if row.validation is None:
        return f"failed: {row.problem}"
    return f"validation macro accuracy {row.validation:.4f} in {row.seconds:.0f} s"
