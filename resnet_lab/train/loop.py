"""The training loop. Legend: N images, C channels, H W pixels, K classes."""

from collections.abc import Callable, Iterator
from math import isfinite, nan
from time import perf_counter

import torch
from torch import Tensor
from torch.nn import functional as F

from resnet_lab.core.history import Epoch, best_of
from resnet_lab.core.seeds import named_seed
from resnet_lab.data.loader import Loader
from resnet_lab.device import Placement
from resnet_lab.device.processes import Processes
from resnet_lab.evaluation.inference import logits
from resnet_lab.evaluation.metrics import macro_accuracy
from resnet_lab.train.config import TrainConfig
from resnet_lab.train.distributed import share_buffers
from resnet_lab.train.learner import Learner
from resnet_lab.train.optimisation import learning_rate
from resnet_lab.train.state import Progress
from resnet_lab.train.tally import DivergedError

CHECKED_EVERY = 50
"""Steps between two looks at the losses, where a GPU or other processes have to be waited for."""


def epochs(
    learner: Learner,
    train: Loader,
    val: Loader,
    config: TrainConfig,
    placement: Placement,
    progress: Progress,
    after_step: Callable[[], None] = lambda: None,
) -> Iterator[Epoch]:
    """Train from where `progress` is, one epoch at each step of the iterator.

    Args:
        after_step: called after each step; what it raises ends the training.

    Raises:
        DivergedError: a loss or an output on the validation part is non-finite.
    """
    smaller_epochs = 0 if train.transform.sizes is None else train.transform.sizes.smaller_epochs
    while not is_over(progress, config, smaller_epochs):
        start = perf_counter() - progress.seconds
        for _ in _steps(learner, train, config, placement, progress):
            progress.seconds = perf_counter() - start
            after_step()
        require_finite(progress, config, len(train), learner.processes)
        progress.tally.sums = learner.processes.total(progress.tally.sums)
        train_loss, train_accuracy = progress.tally.result()
        trained = perf_counter()
        _average(learner, train, config, placement, progress.epoch)
        share_buffers(learner.scored, learner.processes)
        outputs = learner.processes.gather_in_order(
            logits(learner.scored, val.evaluation(), placement), len(val.images)
        )
        require_finite_outputs(outputs, "validation", progress.epoch, config, len(train))
        labels = torch.from_numpy(val.images.labels)
        predictions = outputs.argmax(1)
        val_loss = F.cross_entropy(outputs, labels).item()
        if not isfinite(val_loss):  # of outputs so far apart that their difference overflows
            raise _diverged(f"the validation loss is {val_loss}", progress.epoch, len(train) - 1, config, len(train))
        progress.history.append(
            Epoch(
                epoch=progress.epoch,
                learning_rate=learning_rate(config, len(progress.history) * len(train), len(train)),
                train_loss=train_loss,
                train_macro_accuracy=train_accuracy,
                val_loss=val_loss,
                val_accuracy=(predictions == labels).double().mean().item(),
                val_macro_accuracy=macro_accuracy(labels.numpy(), predictions.numpy(), train.images.num_classes),
                seconds=perf_counter() - start,
                images_per_second=len(train.images) / (trained - start),
            )
        )
        progress.begin_epoch()
        yield progress.history[-1]


def is_over(progress: Progress, config: TrainConfig, smaller_epochs: int = 0) -> bool:
    """Whether all epochs are done, or `patience` of them have passed without a better one at the whole size.

    Args:
        smaller_epochs: at the beginning, with smaller images.
    """
    history = progress.history
    waited = len(history) - max(best_of(history).epoch, smaller_epochs) if history else 0
    return len(history) >= config.epochs or (config.patience is not None and waited >= config.patience)


def require_finite(progress: Progress, config: TrainConfig, steps_per_epoch: int, processes: Processes) -> None:
    """Raise `DivergedError` where a training loss since the last call is non-finite, in this process or another."""
    found = progress.tally.first_diverged()
    here = torch.full((), float(found is not None), device=progress.tally.sums.device)
    if not (processes.total(here) if processes.world_size > 1 else found):
        return
    step, loss = found or (progress.step - 1, nan)
    raise _diverged(f"the training loss is {loss}", progress.epoch, step, config, steps_per_epoch)


def require_finite_outputs(outputs: Tensor, part: str, epoch: int, config: TrainConfig, steps_per_epoch: int) -> None:
    """Raise `DivergedError` where outputs (N, K) on a part's images, of the weights after an epoch, are non-finite."""
    bad = int((~outputs.isfinite()).any(1).sum())
    if bad:
        what = f"the outputs for {bad} of {len(outputs)} {part} images are non-finite"
        raise _diverged(what, epoch, steps_per_epoch - 1, config, steps_per_epoch)


def _diverged(what: str, epoch: int, step: int, config: TrainConfig, steps_per_epoch: int) -> DivergedError:
    """Args: `step` is counted from 0 within the epoch."""
    rate = learning_rate(config, (epoch - 1) * steps_per_epoch + step, steps_per_epoch)
    return DivergedError(
        f"epoch {epoch}, step {step + 1} of {steps_per_epoch}: {what} at learning rate {rate:g}; try a lower rate "
        "(--lr), --clip-norm 1, or --precision fp32"
    )


def _average(learner: Learner, batches: Loader, config: TrainConfig, placement: Placement, epoch: int) -> None:
    """Take the weights after one of the last epochs into their mean."""
    if learner.mean is None or epoch <= config.epochs - config.average_last:
        return
    devices = [placement.device] if placement.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), placement.autocast():  # dropout draws in both
        placement.seed(named_seed(config.seed_of("order") + batches.order.shard.rank, f"statistics {epoch}"))
        learner.mean.update(x for _, x, _ in batches.training(epoch))


def _steps(
    learner: Learner, batches: Loader, config: TrainConfig, placement: Placement, progress: Progress
) -> Iterator[None]:
    """The steps that are left of an epoch."""
    learner.network.train()
    devices = [placement.device] if placement.device.type == "cuda" else []
    checked_every = CHECKED_EVERY if devices or batches.order.shard.world_size > 1 else 1
    with torch.random.fork_rng(devices=devices):
        for _, x, y in batches.training(progress.epoch, progress.step):
            seed = config.seed_of("order") + batches.order.shard.rank
            placement.seed(named_seed(seed, f"dropout {progress.epoch} {progress.step}"))
            step = progress.steps(len(batches))
            progress.tally.add(*learner.step(x, y, learning_rate(config, step, len(batches))), y)
            progress.step += 1
            if progress.step % checked_every == 0:
                require_finite(progress, config, len(batches), learner.processes)
            yield
