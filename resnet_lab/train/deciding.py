"""Decisions that a training's configuration leaves to the device, made before it starts. Legend: N batch."""

from dataclasses import dataclass
from math import ceil

from torch import Tensor, nn

from resnet_lab.core.errors import ConfigError
from resnet_lab.core.watcher import SILENT, Watcher
from resnet_lab.data.config import DataConfig
from resnet_lab.device import Placement, compile_for_training
from resnet_lab.device.memory import is_out_of_memory
from resnet_lab.device.processes import Processes
from resnet_lab.network.plugins import Registry
from resnet_lab.network.spec import ModelSpec
from resnet_lab.train.config import TrainConfig
from resnet_lab.train.determinism import deterministic
from resnet_lab.train.freezing import PartlyFrozen, require_possible
from resnet_lab.train.preparation import Ready, make_ready
from resnet_lab.train.progress import TrainingWatcher


@dataclass(frozen=True)
class Decided:
    """Decided training configuration.

    Attributes:
        batch_size: images an optimiser step.
        is_compiled: whether a step is compiled.
    """

    batch_size: int
    is_compiled: bool


def decide(
    spec: ModelSpec,
    data: DataConfig,
    config: TrainConfig,
    registry: Registry,
    *,
    steps: int | None = None,
    sharing: int = 1,
    trainings: int = 1,
    watcher: Watcher = SILENT,
) -> Decided:
    """Decide as `train` would, with the same network and images; a step that the memory cannot hold is not compiled.

    Args:
        steps: optimiser steps to come; those of the configuration's epochs unless given.
        sharing: trainings that the device's memory has to do for at one time.
        trainings: number of those to come with the same network, over which the cost of compiling it is spread.
        watcher: notified whether a step is compiled, and why.

    Raises:
        ResNetLabError: as `make_ready`.
    """
    processes, silent = Processes(device=config.device), TrainingWatcher()
    ready = make_ready(spec, data, config, registry, silent, processes, sharing=sharing)
    batch_size = ready.batches["train"].order.batch_size
    if config.compile != "auto":
        return Decided(batch_size, config.compile != "off")
    try:
        with deterministic(config.deterministic):
            return Decided(batch_size, _is_compiled(ready, steps, trainings, watcher))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return Decided(batch_size, is_compiled=False)


def compiled_step(
    network: nn.Module,
    x: Tensor,
    spec: ModelSpec,
    config: TrainConfig,
    placement: Placement,
    steps: int,
    watcher: Watcher = SILENT,
    *,
    trainings: int = 1,
) -> nn.Module:
    """The network as a training step calls it; itself, or compiled (`compile_for_training`).

    One that computes activations again is not compiled.

    Args:
        network: on its device.
        x: input of a whole step, shape (N, ...).
        steps: optimiser steps to come, in each training.
        trainings: that are to come with this network.
    """
    if config.checkpoint_activations:
        return network
    shape = (ceil(len(x) / config.accumulate), *x.shape[1:])
    key = f"{spec.hash} {','.join(config.freeze)}"  # what is frozen has no backward pass
    steps *= config.accumulate
    return compile_for_training(
        network, placement, key, shape, dtype=x.dtype, steps=steps, trainings=trainings, watcher=watcher
    )


def _is_compiled(ready: Ready, steps: int | None, trainings: int, watcher: Watcher) -> bool:
    placement, train, config = ready.placement, ready.batches["train"], ready.config
    network = placement.place(ready.network)
    _, x, _ = next(train.training(config.epochs))  # at the whole size
    if isinstance(network, PartlyFrozen) and _takes_features(network, ready):
        with placement.autocast():
            x = network.fixed(x)
        network.takes_features = True
    steps = config.epochs * len(train) if steps is None else steps
    called = compiled_step(network, x, ready.metadata.spec, config, placement, steps, watcher, trainings=trainings)
    return called is not network


def _takes_features(network: PartlyFrozen, ready: Ready) -> bool:
    """Whether the output of the frozen parts can be stored, and is to be."""
    try:
        require_possible(network, ready.batches["train"].transform)
    except ConfigError:
        return False
    return ready.config.cache_frozen != "off"
