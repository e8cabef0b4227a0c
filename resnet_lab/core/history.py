"""The epochs of a training, and their tables."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from math import inf, isfinite, nan

from resnet_lab.core.errors import RunError
from resnet_lab.core.run_folder import Run

TIMES = ("seconds", "images_per_second")
"""Columns that differ from one run to its repetition, and so have a table of their own."""


ROUNDING = 1e-6
"""By which a mean of accuracies may exceed 1."""


@dataclass(frozen=True)
class Epoch:
    """Figures of an epoch. Training figures are those of the augmented batches, as in the training steps.

    Attributes:
        epoch: counted from 1.
        learning_rate: at the epoch's first step.
        train_loss: of the mean loss's own weights, where classes have some.
        seconds: wall time, with validation.
        images_per_second: of the training part, without validation.
    """

    epoch: int
    learning_rate: float
    train_loss: float
    train_macro_accuracy: float
    val_loss: float
    val_accuracy: float
    val_macro_accuracy: float
    seconds: float
    images_per_second: float

    @property
    def problem(self) -> str:
        """First impossible figure, empty where there is none: an accuracy outside [0, 1], a negative loss or time.

        The validation loss alone may be non-finite, where outputs are.
        """
        for field in fields(self):
            value, is_share = getattr(self, field.name), field.name.endswith("accuracy")
            if not isfinite(value) and field.name != "val_loss":
                return f"{field.name} is {value:g}, and should be finite"
            if value < 0 or (is_share and not value <= 1 + ROUNDING):
                return f"{field.name} is {value:g}, and {'accuracies are in [0, 1]' if is_share else 'at least 0'}"
        return ""

    @property
    def merit(self) -> tuple[float, float]:
        """Validation macro-averaged accuracy, then the lower loss; least where that loss is non-finite."""
        return (self.val_macro_accuracy, -self.val_loss) if isfinite(self.val_loss) else (-inf, -inf)


def best_of(history: Sequence[Epoch]) -> Epoch:
    """The best epoch; of equals the first."""
    return max(history, key=lambda epoch: epoch.merit)


def read_history(run: Run) -> tuple[Epoch, ...]:
    """Finished epochs, from metrics.csv and times.csv.

    Raises:
        RunError: a table is damaged.
    """
    if not run.metrics.exists():
        return ()
    times = {row["epoch"]: row for row in run.times_of_epochs()} if run.times.exists() else {}
    epochs = []
    for number, row in enumerate(run.epochs(), 1):
        values = {**dict.fromkeys(TIMES, nan), **row, **times.get(row["epoch"], {})}
        if values["epoch"] != number or values.keys() != {each.name for each in fields(Epoch)}:
            raise RunError(f"{run.metrics}: damaged: row {number} is not of epoch {number}; restore it")
        del values["epoch"]
        epochs.append(Epoch(epoch=number, **values))
    return tuple(epochs)


def metrics_table(history: Sequence[Epoch]) -> str:
    """metrics.csv: the same bits for every repetition of a run."""
    return _table(history, [field.name for field in fields(Epoch) if field.name not in TIMES])


def times_table(history: Sequence[Epoch]) -> str:
    """times.csv."""
    return _table(history, ["epoch", *TIMES])


def _table(history: Sequence[Epoch], columns: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([f"{asdict(epoch)[column]:.6g}" for column in columns] for epoch in history)
    return text.getvalue()
