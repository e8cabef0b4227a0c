"""Interface through which a training reports its progress."""

from resnet_lab.core.history import Epoch
from resnet_lab.core.watcher import Watcher
from resnet_lab.network.weights import Coverage


class TrainingWatcher(Watcher):
    """Is notified of a training's events too; this one ignores them."""

    def weights(self, coverage: Coverage) -> None:
        """Pretrained weights were loaded."""

    def step(self, epoch: int, epochs: int, latest: tuple[float, float] | None, images_per_second: float) -> None:
        """A step is done; `latest` are the epoch's mean loss and macro-averaged accuracy so far, where known."""

    def epoch(self, epoch: Epoch, best: Epoch) -> None:
        """An epoch has ended."""
