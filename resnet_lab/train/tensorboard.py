"""TensorBoard events of a training: the columns of metrics.csv and times.csv."""

from dataclasses import asdict
from pathlib import Path

from resnet_lab.core.errors import ConfigError
from resnet_lab.core.history import Epoch
from resnet_lab.train.progress import TrainingWatcher


class TensorBoard(TrainingWatcher):
    """Writes each epoch's figures as events.

    Raises:
        ConfigError: the package tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise ConfigError(
                "--tensorboard needs the package tensorboard; pip install resnet-lab[tensorboard]"
            ) from None
        self._open = SummaryWriter
        self._folder = folder

    def epoch(self, epoch: Epoch, best: Epoch) -> None:
        with self._open(str(self._folder), purge_step=epoch.epoch) as writer:  # the run folder is there by now
            for name, value in asdict(epoch).items():
                part, _, figure = name.partition("_")
                if name != "epoch":
                    writer.add_scalar(f"{figure}/{part}" if part in ("train", "val") else name, value, epoch.epoch)
