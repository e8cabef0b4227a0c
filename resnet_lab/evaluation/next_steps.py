"""Suggestions of what to try after a run, each with the measurements that support it."""

from collections.abc import Sequence
from dataclasses import dataclass

from resnet_lab.core.history import Epoch, best_of
from resnet_lab.evaluation.metrics.confusion import ConfusedPair, Confusion

LAST = 4
"""The validation loss of the last epoch is compared with that of the epoch before the last fourth."""

RISEN = 1.1
"""Validation loss by its lowest from which on it counts as risen."""

FEWEST, LARGE_SHARE = 10, 1 / 3
"""Images of a pair of confused classes, and their share of all mistakes, from which on it is pointed out."""


@dataclass(frozen=True)
class TrainLonger:
    """The last epoch is the best and has the lowest validation loss, which was still falling.

    Attributes:
        epochs: of the training.
        since: epoch that the last one is compared with.
        before, after: validation losses of the two.
    """

    epochs: int
    since: int
    before: float
    after: float


@dataclass(frozen=True)
class Regularise:
    """The validation loss rose after its lowest while the training loss fell on.

    Attributes:
        lowest: the epoch with the lowest validation loss.
        validation, training: losses at that epoch and at the last.
    """

    lowest: int
    validation: tuple[float, float]
    training: tuple[float, float]


@dataclass(frozen=True)
class LookAtPair:
    """One pair of classes has a large share of all mistakes."""

    pair: ConfusedPair
    mistakes: int


NextStep = TrainLonger | Regularise | LookAtPair


def next_steps(history: Sequence[Epoch], confusion: Confusion | None) -> tuple[NextStep, ...]:
    """Every suggestion that a finished training supports; often none.

    Args:
        confusion: of the scored images; None where nothing was scored.
    """
    found = (_train_longer(history), _regularise(history), None if confusion is None else _look_at_pair(confusion))
    return tuple(step for step in found if step is not None)


def _train_longer(history: Sequence[Epoch]) -> TrainLonger | None:
    if len(history) < LAST:
        return None
    last, earlier = history[-1], history[-1 - max(1, len(history) // LAST)]
    if best_of(history) is not last or last.val_loss > min(epoch.val_loss for epoch in history):
        return None
    if last.val_loss == earlier.val_loss:
        return None
    return TrainLonger(len(history), earlier.epoch, earlier.val_loss, last.val_loss)


def _regularise(history: Sequence[Epoch]) -> Regularise | None:
    if not history:
        return None
    lowest, last = min(history, key=lambda epoch: epoch.val_loss), history[-1]
    risen = last.val_loss > RISEN * lowest.val_loss and last.epoch >= lowest.epoch + 2
    if not risen or last.train_loss >= lowest.train_loss:
        return None
    return Regularise(lowest.epoch, (lowest.val_loss, last.val_loss), (lowest.train_loss, last.train_loss))


def _look_at_pair(confusion: Confusion) -> LookAtPair | None:
    mistakes = int(confusion.counts.sum() - confusion.counts.trace())
    pairs = confusion.pairs(1)
    if len(confusion.classes) < 3 or not pairs:
        return None
    (pair,) = pairs
    return LookAtPair(pair, mistakes) if pair.n >= FEWEST and pair.n >= LARGE_SHARE * mistakes else None
