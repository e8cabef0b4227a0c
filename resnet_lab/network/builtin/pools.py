"""Pooling of the last feature map into a vector. Legend: N batch, C channels, H W pixels."""

from math import inf

import torch
from torch import Tensor, nn

from resnet_lab.core.errors import SpecError
from resnet_lab.network.hookspecs import Register, hookimpl
from resnet_lab.network.pooling import pixel_max, pixel_mean


def average(channels: int) -> nn.Module:
    """The mean of all pixels: He et al. 2015, arXiv:1512.03385, table 1."""
    return PixelMean()


class PixelMean(nn.Module):
    """The mean of all pixels."""

    def forward(self, x: Tensor) -> Tensor:
        return pixel_mean(x)


class Maximum(nn.Module):
    """The largest value of each channel."""

    def forward(self, x: Tensor) -> Tensor:
        return pixel_max(x)


def maximum(channels: int) -> nn.Module:
    """The largest value of each channel."""
    return Maximum()


class AverageMaximum(nn.Module):
    """Half of the mean and half of the maximum: timm's `avgmax`."""

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * (pixel_mean(x) + pixel_max(x))


def average_maximum(channels: int) -> nn.Module:
    """Half of the mean and half of the maximum."""
    return AverageMaximum()


class Concatenation(nn.Module):
    """Mean and maximum as twice the channels: timm's `catavgmax`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out_channels = 2 * channels

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((pixel_mean(x), pixel_max(x)), dim=1)


def concatenation(channels: int) -> nn.Module:
    """Mean and maximum as twice the channels."""
    return Concatenation(channels)


class GeneralizedMean(nn.Module):
    """mean(max(x, eps)^p)^(1/p), p learned from where it starts: Radenovic et al. 2017, arXiv:1711.02512, equation 3.

    At p = 1 the mean of what is positive, towards infinity the maximum.
    """

    def __init__(self, *, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.start, self.eps = p, eps
        self.p = nn.Parameter(torch.empty(1))  # with a dimension, so that it makes bfloat16 float32
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.constant_(self.p, self.start)

    def forward(self, x: Tensor) -> Tensor:
        pooled = pixel_mean(x.clamp_min(self.eps).pow(self.p)).pow(1 / self.p)  # N C 1 1
        return pooled.to(x.dtype)


def gem(channels: int, *, p: float = 3.0, eps: float = 1e-6) -> nn.Module:
    """The generalized mean, between average and maximum.

    Raises:
        SpecError: `p` or `eps` is not positive and finite.
    """
    for name, value in (("p", p), ("eps", eps)):
        if not 0 < value < inf:
            raise SpecError(f"pool gem({name}={value}): {name} must be positive and finite")
    return GeneralizedMean(p=p, eps=eps)


@hookimpl
def register_pools(register: Register) -> None:
    for factory in (average, maximum, average_maximum, concatenation, gem):
        register(factory.__name__, factory)
