"""Suggestions after a run, by hand-made histories and confusions."""

import numpy as np
import pytest

from resnet_lab.core.history import Epoch
from resnet_lab.evaluation.metrics.confusion import ConfusedPair, Confusion
from resnet_lab.evaluation.next_steps import LookAtPair, Regularise, TrainLonger, next_steps


def history(validation: list[float], training: list[float] | None = None) -> list[Epoch]:
    """Epochs whose accuracy is the better, the lower the validation loss."""
    training = validation if training is None else training
    return [
        Epoch(number, 1e-3, own, 0.5, loss, 1 - loss / 4, 1 - loss / 4, 1.0, 1.0)
        for number, (loss, own) in enumerate(zip(validation, training, strict=True), 1)
    ]


def test_a_loss_that_still_falls() -> None:
    assert next_steps(history([2.0, 1.5, 1.2, 1.0]), None) == (TrainLonger(4, 3, 1.2, 1.0),)
    assert next_steps(history([2.0, 1.8, 1.6, 1.5, 1.4, 1.3, 1.2, 1.1]), None) == (TrainLonger(8, 6, 1.3, 1.1),)


@pytest.mark.parametrize("losses", [[2.0, 1.5, 1.0], [2.0, 1.5, 1.0, 1.05], [2.0, 1.0, 1.5, 1.0], []])
def test_too_few_epochs_or_a_loss_that_no_longer_falls(losses: list[float]) -> None:
    assert next_steps(history(losses), None) == ()


def test_the_best_accuracy_has_to_be_the_last_too() -> None:
    epochs = history([2.0, 1.5, 1.2, 1.0])
    better = Epoch(3, 1e-3, 1.2, 0.5, 1.2, 0.9, 0.9, 1.0, 1.0)
    assert next_steps([*epochs[:2], better, epochs[3]], None) == ()


def test_a_loss_that_rises_while_the_training_loss_falls() -> None:
    found = next_steps(history([1.0, 0.8, 0.9, 1.0], [1.0, 0.6, 0.4, 0.2]), None)
    assert found == (Regularise(2, (0.8, 1.0), (0.6, 0.2)),)
    assert next_steps(history([1.0, 0.8, 0.82, 0.87], [1.0, 0.6, 0.4, 0.2]), None) == (), "by less than a tenth"
    assert next_steps(history([1.0, 0.8, 0.9, 1.0], [1.0, 0.6, 0.6, 0.6]), None) == (), "the training loss rests"
    assert next_steps(history([1.0, 0.8, 1.0], [1.0, 0.6, 0.4]), None) == (), "one epoch may be noise"


def confused(counts: list[list[int]]) -> tuple[object, ...]:
    return next_steps([], Confusion(("a", "b", "c")[: len(counts)], np.array(counts)))


def test_a_pair_with_a_third_of_all_mistakes() -> None:
    assert confused([[50, 10, 5], [5, 50, 5], [5, 0, 50]]) == (LookAtPair(ConfusedPair("a", "b", 10, 65), 30),)
    assert confused([[50, 10, 6], [5, 50, 5], [5, 0, 50]]) == (), "10 of 31"
    assert confused([[50, 9, 0], [0, 50, 0], [0, 0, 50]]) == (), "nine images are few"
    assert confused([[50, 20], [5, 50]]) == (), "of two classes one always is the other"
