"""Optimisers, learning rates and the loss, torch's own where it has them. Legend: N images, K classes."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import cos, pi
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import SGD, Adam, AdamW, Optimizer

from resnet_lab.core.errors import ConfigError
from resnet_lab.data.sampling import class_weights
from resnet_lab.train.config import TrainConfig

ONE_CYCLE_RISE = 0.3
ONE_CYCLE_FIRST = 1 / 25
ONE_CYCLE_LAST = ONE_CYCLE_FIRST / 1e4
"""Share of the steps in which the rate rises, and its first and last value by the highest: torch's defaults."""


def make_optimizer(model: nn.Module, config: TrainConfig) -> Optimizer:
    """The optimiser that `config` names, over the parameters that require a gradient, in the model's order.

    Without `decay_norms` those of at most one axis, which norms and biases are, are in a group without weight decay,
    as timm has it (He et al. 2018, arXiv:1812.01187, section 3.1).
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in parameters if config.decay_norms or parameter.ndim > 1]
    others = [] if config.decay_norms else [parameter for parameter in parameters if parameter.ndim <= 1]
    groups = [
        {"params": members, "weight_decay": decay}
        for members, decay in ((decayed, config.weight_decay), (others, 0.0))
        if members
    ]
    optimizer = _OPTIMIZERS[config.optimizer](groups, config)
    optimizer.register_load_state_dict_post_hook(_lay_out)
    return optimizer


def packages_of(config: TrainConfig) -> tuple[str, ...]:
    """Packages beside torch that the optimiser is of."""
    return ("timm",) if config.optimizer == "lamb" else ()


def require_optimizer(config: TrainConfig) -> None:
    """Raise `ConfigError` where the optimiser needs a package that is not there."""
    if packages_of(config):
        _lamb_class()


def _lamb_class() -> Callable[..., Optimizer]:
    try:
        from timm.optim.lamb import Lamb
    except ImportError:
        raise ConfigError("optimizer lamb needs the package timm; pip install resnet-lab[lamb]") from None
    kind: Callable[..., Optimizer] = Lamb
    return kind


_Groups: TypeAlias = list[dict[str, Any]]

_OPTIMIZERS: dict[str, Callable[[_Groups, TrainConfig], Optimizer]] = {
    "adam": lambda groups, config: Adam(groups, config.lr, fused=True),
    "adamw": lambda groups, config: AdamW(groups, config.lr, fused=True),
    "lamb": lambda groups, config: _lamb_class()(groups, config.lr),
    "sgd": lambda groups, config: SGD(
        groups, config.lr, momentum=config.momentum, nesterov=config.momentum > 0, fused=True
    ),
}


def _lay_out(optimizer: Optimizer) -> None:
    """Give what was loaded the memory layout of its parameter.

    Files hold it row by row, and torch's fused steps go through the memory of both side by side without a look at the
    layout: on the CPU they would silently pair the wrong numbers.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def learning_rate(config: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """The rate of a step, counted from 0 over the whole training: a pure function, so a resumed one needs no more.

    In a warm-up of W steps the rate rises evenly to the first of the schedule (Goyal et al. 2017, arXiv:1706.02677,
    section 2.2): step w has (w + 1) / (W + 1) of it. The schedule then has all the steps that are left. `one_cycle`
    leaves momentum as it is, unlike torch's default.

    Raises:
        ConfigError: as `warmup_steps`.
    """
    warmup = warmup_steps(config, steps_per_epoch)
    share = _share(config, max(0, step - warmup), config.epochs * steps_per_epoch - warmup, steps_per_epoch)
    if step < warmup:
        share *= (step + 1) / (warmup + 1)
    return config.lr * share


def warmup_steps(config: TrainConfig, steps_per_epoch: int) -> int:
    """Number of warm-up steps.

    Raises:
        ConfigError: it leaves none to the schedule.
    """
    steps, total = round(config.warmup_epochs * steps_per_epoch), config.epochs * steps_per_epoch
    if steps >= total:
        raise ConfigError(
            f"warmup_epochs is {config.warmup_epochs:g}, which is {steps} of {total} steps and leaves none to the "
            f"schedule {config.schedule}; take fewer than the {config.epochs} epochs of the training"
        )
    return steps


def _share(config: TrainConfig, step: int, total: int, steps_per_epoch: int) -> float:
    """Share of the configured rate, at a step of the schedule's `total`."""
    epoch = step // steps_per_epoch
    match config.schedule:
        case "exponential":
            return float(config.decay**epoch)
        case "step":
            return float(config.decay ** (epoch // config.decay_epochs))
        case "cosine":
            return _half_cosine(1.0, 0.0, step / total)
        case "one_cycle":
            top, last = ONE_CYCLE_RISE * total - 1, total - 1
            if step <= top:
                return _half_cosine(ONE_CYCLE_FIRST, 1.0, step / top)
            return _half_cosine(1.0, ONE_CYCLE_LAST, (step - top) / (last - top))
        case "constant":
            return 1.0


def _half_cosine(first: float, last: float, way: float) -> float:
    return last + (first - last) * (1 + cos(pi * way)) / 2


def clip_gradients(parameters: Iterable[Tensor], largest: float) -> Tensor:
    """Scale the whole gradient down to the norm `largest` where it is longer (arXiv:1211.5063, section 3.2).

    Returns:
        Its norm before, on the device. Where that is no finite number, every gradient becomes NaN: torch's own
        `clip_grad_norm_` would make finite ones zero where their norm is too large for float32, and hide it.
    """
    parameters = [parameter for parameter in parameters if parameter.grad is not None]
    norm = get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    clip_grads_with_norm_(parameters, largest, norm + 0 * norm)
    return norm


@dataclass(frozen=True)
class Loss:
    """Cross-entropy in nats, in the two parts of a mean: so that a batch can go through in pieces and many processes.

    The mean, `sum / weight`, is torch's, which with `class_weights` divides by the weights of the labels, but by the
    number of images where targets are shares. The binary one is timm's `BinaryCrossEntropy`, a mean over the classes;
    class weights are then those of images by their labels, or by their shares of them.

    Attributes:
        class_weights: shape (K,).
        smoothing: share of each target that is spread over all classes (arXiv:1512.00567, section 7).
        binary: whether each class is asked for by itself.
    """

    class_weights: Tensor | None = None
    smoothing: float = 0.0
    binary: bool = False

    def sum(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Sum of the losses of logits (N, K) with int64 labels (N,) or float shares (N, K); a scalar in float32."""
        if self.binary:
            return self._binary(outputs.float(), targets).sum()
        return F.cross_entropy(
            outputs.float(), targets, self.class_weights, reduction="sum", label_smoothing=self.smoothing
        )

    def _binary(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Losses of images, (N,)."""
        number = outputs.shape[1]
        shares = F.one_hot(targets, number).float() if targets.ndim == 1 else targets
        smoothed = shares * (1 - self.smoothing) + self.smoothing / number
        losses = F.binary_cross_entropy_with_logits(outputs, smoothed, reduction="none").mean(1)
        return losses if self.class_weights is None else losses * (shares @ self.class_weights)

    def weight(self, targets: Tensor) -> Tensor:
        """Divisor of the sum over these targets; a scalar in float32, on their device."""
        if self.class_weights is not None and targets.ndim == 1:
            return self.class_weights[targets].sum()
        return torch.full((), len(targets), dtype=torch.float32, device=targets.device)


def make_loss(config: TrainConfig, labels: NDArray[np.int64], num_classes: int, device: torch.device) -> Loss:
    """The loss that `config` asks for.

    Args:
        labels: of the training part, shape (N,); classes are weighed by their number in it.
    """
    weights = None
    if config.balance == "loss":
        weights = torch.from_numpy(class_weights(labels, num_classes)).to(device, torch.float32)
    return Loss(weights, config.label_smoothing, binary=config.loss == "bce")
