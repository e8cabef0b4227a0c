"""Optimisers and learning-rate schedules: torch's own."""

from math import cos, pi

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from resnet_lab.train.config import TrainConfig


def make_optimizer(model: nn.Module, config: TrainConfig) -> Optimizer:
    """The optimiser that `config` names, over all parameters."""
    parameters = list(model.parameters())
    if config.optimizer == "sgd":
        nesterov = config.momentum > 0
        return SGD(parameters, config.lr, momentum=config.momentum, weight_decay=config.weight_decay, nesterov=nesterov)
    kind = Adam if config.optimizer == "adam" else AdamW
    return kind(parameters, config.lr, weight_decay=config.weight_decay, fused=True)


def make_schedule(optimizer: Optimizer, config: TrainConfig, steps_per_epoch: int) -> LRScheduler:
    """The learning rate as a function of the step, counted from 0; `step()` is called after each optimiser step."""
    total = config.epochs * steps_per_epoch

    def factor(step: int) -> float:
        if config.schedule == "exponential":
            return float(config.decay ** (step // steps_per_epoch))
        if config.schedule == "cosine":
            return 0.5 * (1 + cos(pi * step / total))
        return 1.0

    return LambdaLR(optimizer, factor)
