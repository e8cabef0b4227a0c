"""The training loop."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from resnet_lab.data.batches import Batches
from resnet_lab.data.sampling import Balance, class_weights
from resnet_lab.device import Placement
from resnet_lab.errors import ResNetLabError
from resnet_lab.evaluate import logits
from resnet_lab.initialisation import named_seed
from resnet_lab.metrics import macro_accuracy
from resnet_lab.train.config import TrainConfig
from resnet_lab.train.optimisation import make_optimizer, make_schedule


class DivergedError(ResNetLabError):
    """The loss is no longer a number."""


@dataclass(frozen=True)
class Epoch:
    """A row of metrics.csv. Training figures are those of the augmented batches as they were learned from.

    Attributes:
        epoch: counted from 1.
        learning_rate: at the epoch's first step.
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
    def merit(self) -> tuple[float, float]:
        """What the best epoch has most of: validation macro-averaged accuracy, and between equals the lower loss."""
        return self.val_macro_accuracy, -self.val_loss


def epochs(
    model: nn.Module,
    train: Batches,
    val: Batches,
    config: TrainConfig,
    placement: Placement,
    num_classes: int,
    after_step: Callable[[], None] = lambda: None,
) -> Iterator[Epoch]:
    """Train `model` in place, one epoch at each step of the iterator.

    Args:
        after_step: called after each optimiser step; what it raises ends the training.

    Raises:
        DivergedError: the training loss is infinite or not a number.
    """
    optimizer = make_optimizer(model, config)
    schedule = make_schedule(optimizer, config, len(train))
    for number in range(1, config.epochs + 1):
        start, rate = perf_counter(), float(schedule.get_last_lr()[0])
        with torch.random.fork_rng(devices=[placement.device] if placement.device.type == "cuda" else []):
            torch.manual_seed(named_seed(config.seed, f"dropout of epoch {number}"))
            train_loss, train_accuracy = _train_one_epoch(
                model, train, number, optimizer, schedule, placement, num_classes, config.balance, after_step
            )
        trained = perf_counter()
        if not torch.isfinite(torch.tensor(train_loss)):
            raise DivergedError(
                f"epoch {number}: the training loss is {train_loss} at learning rate {rate:g}; "
                "try a lower one (--lr), or --precision fp32"
            )
        outputs = logits(model, val.in_order(), placement)
        labels = torch.from_numpy(val.labels)
        predictions = outputs.argmax(1)
        yield Epoch(
            epoch=number,
            learning_rate=rate,
            train_loss=train_loss,
            train_macro_accuracy=train_accuracy,
            val_loss=F.cross_entropy(outputs, labels).item(),
            val_accuracy=(predictions == labels).double().mean().item(),
            val_macro_accuracy=macro_accuracy(labels.numpy(), predictions.numpy(), num_classes),
            seconds=perf_counter() - start,
            images_per_second=len(train.positions) / (trained - start),
        )


def _train_one_epoch(
    model: nn.Module,
    batches: Batches,
    number: int,
    optimizer: Optimizer,
    schedule: LRScheduler,
    placement: Placement,
    num_classes: int,
    balance: Balance,
    after_step: Callable[[], None],
) -> tuple[float, float]:
    """One pass over the training part; its mean loss and macro-averaged accuracy.

    Nothing here waits for the device: losses and predictions are fetched when the epoch is over.
    """
    model.train()
    weight = None
    if balance == "loss":
        weight = torch.from_numpy(class_weights(batches.labels, num_classes)).to(placement.device)
    losses: list[Tensor] = []
    labels: list[Tensor] = []
    predictions: list[Tensor] = []
    for x, y in batches.training(number):
        with placement.autocast():
            outputs = model(x)
        loss = F.cross_entropy(outputs.float(), y, weight)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.detach() * len(y))
        labels.append(y if y.ndim == 1 else y.argmax(1))  # of mixed images, the larger share
        predictions.append(outputs.detach().argmax(1))
        after_step()
    accuracy = macro_accuracy(torch.cat(labels).cpu().numpy(), torch.cat(predictions).cpu().numpy(), num_classes)
    return torch.stack(losses).sum().item() / len(batches.positions), accuracy
