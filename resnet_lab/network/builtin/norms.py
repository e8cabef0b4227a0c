"""Normalisations over N C H W."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_lab.core.errors import SpecError
from resnet_lab.network.hookspecs import RegisterNorm, hookimpl
from resnet_lab.network.pooling import pixel_mean


def batch(channels: int, *, momentum: float = 0.1, eps: float = 1e-5) -> nn.Module:
    """Batch normalisation over N H W: Ioffe and Szegedy 2015, arXiv:1502.03167."""
    return nn.BatchNorm2d(channels, eps=eps, momentum=momentum)


def group(channels: int, *, groups: int = 32, eps: float = 1e-5) -> nn.Module:
    """Group normalisation over H W and the channels of a group: Wu and He 2018, arXiv:1803.08494.

    Raises:
        SpecError: the groups do not divide the channels.
    """
    if groups < 1 or channels % groups:
        raise SpecError(f"norm group(groups={groups}) does not divide {channels} channels; choose a divisor of them")
    return nn.GroupNorm(groups, channels, eps=eps)


class FrozenBatchNorm(nn.Module):
    """Batch norm by stored averages in training too, its scale and shift fixed: for pretrained weights.

    As in He et al. 2015, and as torchvision's detectors have it; at its start it is identity.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(name, torch.full((channels,), value))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


def frozen_batch(channels: int, *, eps: float = 1e-5) -> nn.Module:
    """Batch normalisation by fixed averages, scale and shift."""
    return FrozenBatchNorm(channels, eps)


class InstanceNorm(nn.GroupNorm):
    """Group norm of one channel a group, which also takes maps of a single pixel."""

    def forward(self, input: Tensor) -> Tensor:
        return torch.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)


def instance(channels: int, *, eps: float = 1e-5) -> nn.Module:
    """Instance normalisation over H W of each channel: Ulyanov et al. 2016, arXiv:1607.08022."""
    return InstanceNorm(channels, channels, eps=eps)


class FilterResponseNorm(nn.Module):
    """x / sqrt(mean of x^2 over H W + eps), scaled and shifted: Singh and Krishnan 2019, arXiv:1911.09737, eq. 1 to 3.

    The activation that follows stands for the paper's learned threshold.
    """

    def __init__(self, channels: int, *, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def reset_parameters(self) -> None:
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        squares = pixel_mean(x.square())  # N C 1 1
        weight, bias = self.weight.view(-1, 1, 1), self.bias.view(-1, 1, 1)
        return (x * ((squares + self.eps).rsqrt() * weight) + bias).to(x.dtype)


class ChannelLayerNorm(nn.LayerNorm):
    """Layer norm over the channels of each pixel, as in ConvNeXt (arXiv:2201.03545, section 2.6)."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)  # N C H W -> N H W C
        x = super().forward(x)
        return x.permute(0, 3, 1, 2)


def layer(channels: int, *, eps: float = 1e-6) -> nn.Module:
    """Layer normalisation over the channels of each pixel."""
    return ChannelLayerNorm(channels, eps=eps)


def none(channels: int) -> nn.Module:
    """No norm; the convolution before it gets a bias."""
    return nn.Identity()


@hookimpl
def register_norms(register: RegisterNorm) -> None:
    for factory in (batch, frozen_batch, group, instance, layer):
        register(factory.__name__, factory)
    register("filter_response", FilterResponseNorm)
    register("none", none, adds_bias=False)
