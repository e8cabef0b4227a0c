"""The learning-rate range test: Smith 2015, "Cyclical Learning Rates", arXiv:1506.01186, section 3.3."""

from collections.abc import Generator, Sequence
from contextlib import closing
from copy import deepcopy
from dataclasses import dataclass
from itertools import count
from math import isfinite

import numpy as np
import torch
from torch import nn

from resnet_lab.core.errors import ConfigError
from resnet_lab.core.seeds import named_seed
from resnet_lab.core.watcher import SILENT, Watcher
from resnet_lab.data.loader import Batch, Loader
from resnet_lab.device import Placement
from resnet_lab.train.config import TrainConfig
from resnet_lab.train.learner import Learner
from resnet_lab.train.optimisation import make_loss

LOWEST, HIGHEST = 1e-6, 10.0
"""The rates of the first and of the last step."""

MEMORY = 0.9
"""Share of the smoothed loss that a step keeps."""

TOO_HIGH = 4.0
"""The test ends once the smoothed loss is so many times its lowest."""


@dataclass(frozen=True)
class RangeTest:
    """Losses of the test, step by step, until it ended.

    Attributes:
        rates: at even distances on a logarithmic scale.
        losses: of each step's batch before the step, in nats.
        smoothed: their exponential moving average, freed from its start at zero (arXiv:1412.6980, section 3).
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]

    @property
    def suggestion(self) -> float:
        """A tenth of the rate at which the smoothed loss is lowest.

        The rule is fastai's `minimum`: the steepest descent, which is the other usual one, hangs on single batches.
        """
        return self.rates[self.smoothed.index(min(self.smoothed))] / 10


def find_learning_rate(
    network: nn.Module,
    batches: Loader,
    config: TrainConfig,
    placement: Placement,
    watcher: Watcher = SILENT,
    *,
    steps: int = 100,
) -> RangeTest:
    """Train a copy of the network for some steps, each at a higher rate, until the loss explodes.

    Args:
        network: placed on the device, and not called by several processes.
        batches: of the training part, gone over again where they do not suffice.
        config: of the training to come; its rate and schedule are not used.
        steps: of the test; at least 20.

    Raises:
        ConfigError: too few steps, or a non-finite loss at the first or lowest there.
    """
    if steps < 20:
        raise ConfigError(f"a range test of {steps} steps is not informative; give it at least 20")
    watcher.begin("range test", steps)
    rates: list[float] = np.geomspace(LOWEST, HIGHEST, steps).tolist()
    losses: list[float] = []
    smoothed: list[float] = []
    average = 0.0
    with closing(_losses_at(rates, network, batches, config, placement)) as found:
        for loss in found:
            watcher.advance()
            if not isfinite(loss):
                break
            losses.append(loss)
            average = MEMORY * average + (1 - MEMORY) * loss
            smoothed.append(average / (1 - MEMORY ** len(losses)))
            if smoothed[-1] > TOO_HIGH * min(smoothed):
                break
    if not losses:
        raise ConfigError(f"the range test cannot begin: the loss of the first batch is {loss}; try --precision fp32")
    if min(smoothed) == smoothed[0]:
        raise ConfigError(
            f"the range test found no learning rate: from {rates[0]:g} to {rates[len(losses) - 1]:g} the loss never "
            f"fell below its first, {losses[0]:.3g}; choose lr by hand"
        )
    return RangeTest(tuple(rates[: len(losses)]), tuple(losses), tuple(smoothed))


def _losses_at(
    rates: Sequence[float], network: nn.Module, batches: Loader, config: TrainConfig, placement: Placement
) -> Generator[float, None, None]:
    """Train a copy for a step at each rate; the loss of each step's batch before the step."""
    copy = deepcopy(network).train()
    loss = make_loss(config, batches.images.labels, batches.images.num_classes, placement.device)
    learner = Learner(copy, copy, loss, config.model_copy(update={"ema": 0.0, "average_last": 0}), placement)
    with (
        closing(_endless(batches)) as training,
        torch.random.fork_rng(devices=[placement.device] if placement.device.type == "cuda" else []),
    ):
        placement.seed(named_seed(config.seed_of("order"), "dropout of the range test"))
        for rate, (_, x, y) in zip(rates, training, strict=False):
            total, weight, _ = learner.step(x, y, rate)
            yield float(total / weight)


def _endless(batches: Loader) -> Generator[Batch, None, None]:
    for epoch in count(1):
        yield from batches.training(epoch)
