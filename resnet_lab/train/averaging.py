"""Averages of a network's weights: an exponential moving one, and the mean of the last epochs."""

from collections.abc import Iterable, Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, update_bn


class Average:
    """The average of all float parameters and buffers, batch norm's statistics too; integers are copied.

    Update n takes the share 1 - d of the weights, with d = min(decay, (n - 1) / (n + 8)). The first takes all of them,
    so that nothing of the initial weights stays, and later ones average over about the last ninth of the steps until
    `decay` asks for no more: a fixed decay of 0.9999 would after 15 epochs of 29 steps still be 96% initial weights.
    The rule is that of TensorFlow's `ExponentialMovingAverage` with `num_updates`, and timm's warm-up with
    `warmup_gamma=9, warmup_power=1`.

    Args:
        model: on the device and in the layout that it is trained in; its tensors are held on to.
        decay: an update, once there were many.

    Attributes:
        model: a copy in evaluation mode, which has the averages; parameters that are frozen are shared, and free.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        shared = {name: parameter for name, parameter in model.named_parameters() if not parameter.requires_grad}
        frozen = {id(parameter): parameter for parameter in shared.values()}
        self.model = deepcopy(model, memo=dict(frozen)).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0
        self._shared = shared
        mine, theirs = ({**dict(m.named_parameters()), **dict(m.named_buffers())} for m in (self.model, model))
        moving = [(mine[name], tensor) for name, tensor in theirs.items() if id(tensor) not in frozen]
        self._floats = _columns([pair for pair in moving if pair[0].is_floating_point()])
        self._integers = _columns([pair for pair in moving if not pair[0].is_floating_point()])

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are now, after an optimiser step; nothing waits for the device."""
        self.updates += 1
        decay = min(self.decay, (self.updates - 1) / (self.updates + 8))
        torch._foreach_lerp_(*self._floats, 1 - decay)
        if self._integers[0]:
            torch._foreach_copy_(*self._integers)

    def state_dict(self) -> dict[str, Tensor]:
        """All that `load_state_dict` needs to resume, without shared parameters; the averages are not copied."""
        own = {name: tensor for name, tensor in self.model.state_dict().items() if name not in self._shared}
        averages = {f"model.{name}": tensor for name, tensor in own.items()}
        return {"updates": torch.tensor(self.updates), **averages}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Resume from another average; raises `KeyError` or `RuntimeError` where it was of another network."""
        averages = {name.removeprefix("model."): tensor for name, tensor in state.items() if name != "updates"}
        self.model.load_state_dict({**self._shared, **averages})
        self.updates = int(state["updates"])


class MeanOfEpochs:
    """The mean of the weights after some epochs: stochastic weight averaging (arXiv:1803.05407), by torch's own means.

    Batch norm's statistics are not averaged: they are recomputed by the averaged network.

    Args:
        model: on the device and in the layout that it is trained in.
    """

    def __init__(self, model: nn.Module) -> None:
        self._source = model
        self._averaged = AveragedModel(model)
        self._averaged.module.requires_grad_(False)
        self.number = 0

    @property
    def model(self) -> nn.Module:
        """The averaged network in evaluation mode."""
        averaged: nn.Module = self._averaged.module
        return averaged.eval()

    def update(self, inputs: Iterable[Tensor]) -> None:
        """Take in the weights as they are after an epoch.

        Args:
            inputs: batches (N, C, H, W) on which batch norm's statistics are then taken.
        """
        self._averaged.update_parameters(self._source)
        self.number += 1
        update_bn(inputs, self._averaged.module)

    def state_dict(self) -> dict[str, Tensor]:
        """All that `load_state_dict` needs to resume."""
        return {"number": torch.tensor(self.number), **self._averaged.state_dict()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Resume from another mean; raises `KeyError` or `RuntimeError` where it was of another network."""
        self._averaged.load_state_dict({name: tensor for name, tensor in state.items() if name != "number"})
        self.number = int(state["number"])


def _columns(pairs: list[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]
