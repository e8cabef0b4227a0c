from dataclasses import replace
from math import inf, nan

import pytest

from resnet_lab.core.history import Epoch, best_of, metrics_table, times_table

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


def test_times_have_their_own_table() -> None:
    history = [EPOCH, replace(EPOCH, epoch=2, seconds=2.5, train_loss=1 / 3)]
    assert metrics_table(history).splitlines() == [
        "epoch,learning_rate,train_loss,train_macro_accuracy,val_loss,val_accuracy,val_macro_accuracy",
        "1,0.1,1,0.5,0.4,0.8,0.8",
        "2,0.1,0.333333,0.5,0.4,0.8,0.8",
    ]
    assert times_table(history) == "epoch,seconds,images_per_second\n1,1.25,300\n2,2.5,300\n"
