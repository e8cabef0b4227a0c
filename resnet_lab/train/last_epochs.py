"""Predictions on the test part after each of the last epochs of a training, which chooses none by them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from resnet_lab.core.history import Epoch, best_of
from resnet_lab.data.loader import Loader
from resnet_lab.device import Placement
from resnet_lab.evaluation.inference import logits
from resnet_lab.train.config import TrainConfig
from resnet_lab.train.freezing import PartlyFrozen


def may_be_last(history: Sequence[Epoch], config: TrainConfig) -> bool:
    """Whether the epoch just finished can be one of the last `keep_predictions`, also if `patience` ends it early."""
    done, number = len(history), config.keep_predictions
    if done > config.epochs - number:
        return True
    return config.patience is not None and done - best_of(history).epoch > config.patience - number


def last_epochs(history: Sequence[Epoch], config: TrainConfig) -> range:
    """The last `keep_predictions` epochs so far."""
    return range(max(1, len(history) - config.keep_predictions + 1), len(history) + 1)


def outputs_on_images(network: nn.Module, images: Loader, placement: Placement) -> Tensor:
    """Outputs (N, K) of a network in training, also of one that otherwise takes features of its frozen parts."""
    with _taking_images(network):
        return logits(network, images.evaluation(), placement)


@contextmanager
def _taking_images(network: nn.Module) -> Iterator[None]:
    if not (isinstance(network, PartlyFrozen) and network.takes_features):
        yield
        return
    network.takes_features = False
    try:
        yield
    finally:
        network.takes_features = True
