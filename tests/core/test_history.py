from dataclasses import replace
from math import inf, nan
from pathlib import Path

import pytest

from resnet_lab.core.errors import RunError
from resnet_lab.core.history import Epoch, best_of, metrics_table, read_history, times_table
from resnet_lab.core.run_folder import Run

EPOCH = Epoch(1, 0.1, 1, 0.5, 0.4, 0.8, 0.8, 1.25, 300)


def test_the_best_epoch_has_the_macro_accuracy_and_then_the_lower_loss() -> None:
    better = replace(EPOCH, epoch=2, val_macro_accuracy=0.9, val_loss=9.0)
    tie = replace(EPOCH, epoch=3, val_loss=0.3, val_accuracy=0.1)
    assert best_of([EPOCH, tie]) is tie
    assert best_of([EPOCH, better, tie]) is better


def test_of_equals_the_first_is_best() -> None:
    assert best_of([EPOCH, replace(EPOCH, epoch=2), replace(EPOCH, epoch=3)]) is EPOCH


@pytest.mark.parametrize("loss", [nan, inf])
def test_a_non_finite_validation_loss_is_never_the_best(loss: float) -> None:
    overflowed = replace(EPOCH, val_macro_accuracy=1.0, val_loss=loss)
    worse = replace(EPOCH, epoch=2, val_macro_accuracy=0.0)
    assert best_of([overflowed, worse]) is worse


@pytest.mark.parametrize(
    ("changes", "problem", "message"),
    [
        (
            {"val_macro_accuracy": 9.0},
            "val_macro_accuracy is 9, and accuracies are in [0, 1]",
            "damaged: val_macro_accuracy: input should be less than or equal to 1, got 9.0",
        ),
        (
            {"train_macro_accuracy": nan},
            "train_macro_accuracy is nan, and should be finite",
            "train_macro_accuracy: damaged: not a decimal number, got 'nan'",
        ),
        (
            {"val_loss": -1.0},
            "val_loss is -1, and at least 0",
            "damaged: val_loss: input should be greater than or equal to 0, got -1.0",
        ),
        (
            {"train_loss": inf},
            "train_loss is inf, and should be finite",
            "train_loss: damaged: not a decimal number, got 'inf'",
        ),
        ({"val_loss": nan}, "", ""),
    ],
)
def test_an_epoch_that_cannot_be(tmp_path: Path, changes: dict[str, float], problem: str, message: str) -> None:
    epoch, run = replace(EPOCH, **changes), Run(tmp_path)
    assert epoch.problem == problem
    run.metrics.write_text(metrics_table([epoch]))
    if not problem:
        assert len(read_history(run)) == 1
        return
    with pytest.raises(RunError) as failure:
        read_history(run)
    assert str(failure.value) == f"{run.metrics}: line 2: {message}; restore the file"


def test_times_have_their_own_table() -> None:
    history = [EPOCH, replace(EPOCH, epoch=2, seconds=2.5, train_loss=1 / 3)]
    assert metrics_table(history).splitlines() == [
        "epoch,learning_rate,train_loss,train_macro_accuracy,val_loss,val_accuracy,val_macro_accuracy",
        "1,0.1,1,0.5,0.4,0.8,0.8",
        "2,0.1,0.333333,0.5,0.4,0.8,0.8",
    ]
    assert times_table(history) == "epoch,seconds,images_per_second\n1,1.25,300\n2,2.5,300\n"
