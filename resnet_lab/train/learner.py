"""One step of learning. Legend: N images, C channels, H W pixels, K classes."""

import torch
from torch import Tensor, nn

from resnet_lab.device import Placement
from resnet_lab.device.processes import Processes
from resnet_lab.train.averaging import Average, MeanOfEpochs
from resnet_lab.train.config import TrainConfig
from resnet_lab.train.distributed import exchange
from resnet_lab.train.optimisation import Loss, clip_gradients, make_optimizer


class Learner:
    """A network with what changes it.

    Args:
        model: the network, as it is saved.
        network: the same as a step calls it, compiled or spread over processes; its parameters are `model`'s.

    Attributes:
        average: the moving average of the weights, if there is one.
        mean: that of the last epochs, if there is one.
    """

    def __init__(
        self,
        model: nn.Module,
        network: nn.Module,
        loss: Loss,
        config: TrainConfig,
        placement: Placement,
        processes: Processes | None = None,
    ) -> None:
        self.model = model
        self.network = network
        self.loss = loss
        self.placement = placement
        self.processes = processes or Processes()
        self.pieces = config.accumulate
        self.clip_norm = config.clip_norm
        self.optimizer = make_optimizer(model, config)
        self.scaler = placement.scaler()
        self.average = Average(model, config.ema) if config.ema else None
        self.mean = MeanOfEpochs(model) if config.average_last else None

    @property
    def scored(self) -> nn.Module:
        """Network that an epoch is scored by, and kept: an average, once there is one, or the network itself."""
        if self.mean is not None and self.mean.number:
            return self.mean.model
        return self.model if self.average is None else self.average.model

    def step(self, x: Tensor, y: Tensor, rate: float) -> tuple[Tensor, Tensor, Tensor]:
        """Learn from this process's share of a step (N, C, H, W) with its labels (N,) or shares (N, K).

        Returns:
            Sum of these images' losses, what to divide it by for their mean, and outputs (N, K).
        """
        with self.placement.products():
            return self._step(x, y, rate)

    def _step(self, x: Tensor, y: Tensor, rate: float) -> tuple[Tensor, Tensor, Tensor]:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        weight = self.loss.weight(y)
        divisor = self.processes.total(weight) / self.processes.world_size  # of gradients that are averaged
        losses, outputs = [], []
        pieces = zip(x.tensor_split(self.pieces), y.tensor_split(self.pieces), strict=True)
        for number, (inputs, targets) in enumerate(pieces, 1):
            with exchange(self.network, last=number == self.pieces):
                with self.placement.autocast():
                    outputs.append(self.network(inputs))
                losses.append(self.loss.sum(outputs[-1], targets))
                self.scaler.scale(losses[-1] / divisor).backward()  # type: ignore[no-untyped-call]
        if self.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            clip_gradients(self.model.parameters(), self.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update()
        return torch.stack(losses).sum().detach(), weight, torch.cat(outputs).detach()
