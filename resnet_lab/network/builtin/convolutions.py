"""Replacements of a block's 3x3 convolution."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_lab.core.errors import SpecError
from resnet_lab.network.hookspecs import RegisterConvolution, hookimpl


def dense(in_channels: int, out_channels: int, stride: int, groups: int, bias: bool, *, dilation: int = 1) -> nn.Module:
    """The 3x3 convolution of the paper; grouped where the block asks for it, as ResNeXt's do.

    Raises:
        SpecError: `dilation` is below 1.
    """
    step = _positive("dense", dilation)
    return nn.Conv2d(in_channels, out_channels, 3, stride, step, step, groups=groups, bias=bias)


def depthwise(
    in_channels: int, out_channels: int, stride: int, groups: int, bias: bool, *, dilation: int = 1
) -> nn.Module:
    """One 3x3 filter a channel (groups = channels).

    Raises:
        SpecError: `dilation` is below 1.
    """
    step = _positive("depthwise", dilation)
    return nn.Conv2d(in_channels, out_channels, 3, stride, step, step, groups=in_channels, bias=bias)


def separable(
    in_channels: int, out_channels: int, stride: int, groups: int, bias: bool, *, dilation: int = 1
) -> nn.Module:
    """Depthwise 3x3 and then a 1x1, with nothing between: Chollet 2016, arXiv:1610.02357.

    Raises:
        SpecError: `dilation` is below 1.
    """
    step = _positive("separable", dilation)
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, 3, stride, step, step, groups=in_channels, bias=False),
        nn.Conv2d(in_channels, out_channels, 1, bias=bias),
    )


class StandardizedConv2d(nn.Conv2d):
    """A 3x3 whose weights have mean 0 and variance 1 in each output channel: Qiao et al. 2019, arXiv:1903.10520."""

    eps = 1e-6

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        variance, mean = torch.var_mean(weight, (1, 2, 3), correction=0, keepdim=True)
        weight = (weight - mean) * (variance + self.eps).rsqrt()
        return cast(Tensor, super()._conv_forward(input, weight, bias))


def ws(in_channels: int, out_channels: int, stride: int, groups: int, bias: bool, *, dilation: int = 1) -> nn.Module:
    """A 3x3 with standardised weights.

    Raises:
        SpecError: `dilation` is below 1.
    """
    step = _positive("ws", dilation)
    return StandardizedConv2d(in_channels, out_channels, 3, stride, step, step, groups=groups, bias=bias)


class PartialConv2d(nn.Conv2d):
    """A 3x3 divided by the share of its 9 pixels that lie in the map: Liu et al. 2018, arXiv:1811.11718."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ones = torch.ones(1, 1, input.shape[2], input.shape[3], device=input.device)
        there = F.avg_pool2d(ones, 3, self.stride, padding=1)  # 1 1 H' W': share of the 9 that lies in the map
        out = cast(Tensor, super()._conv_forward(input, weight, None)) / there.to(input.dtype)
        return out if bias is None else out + bias.view(-1, 1, 1)


def partial(in_channels: int, out_channels: int, stride: int, groups: int, bias: bool) -> nn.Module:
    """A 3x3 divided by the share of its 9 pixels that lie in the map."""
    return PartialConv2d(in_channels, out_channels, 3, stride, padding=1, groups=groups, bias=bias)


class Ghost(nn.Module):
    """A 3x3 to half of the channels, and a depthwise 3x3 of these for the rest: Han et al. 2019, arXiv:1911.11907."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, bias: bool) -> None:
        super().__init__()
        half = (out_channels + 1) // 2
        self.out_channels = out_channels
        self.primary = nn.Conv2d(in_channels, half, 3, stride, padding=1, bias=bias)
        self.cheap = nn.Conv2d(half, half, 3, padding=1, groups=half, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.primary(x)
        x = torch.cat((x, self.cheap(x)), dim=1)
        return x[:, : self.out_channels]  # nothing, and no gradient of another layout, where their number is even


def ghost(in_channels: int, out_channels: int, stride: int, groups: int, bias: bool) -> nn.Module:
    """A 3x3 to half of the channels, and a depthwise 3x3 of these for the rest."""
    return Ghost(in_channels, out_channels, stride, bias)


def _positive(name: str, dilation: int) -> int:
    if dilation < 1:
        raise SpecError(f"convolution {name}(dilation={dilation}): the dilation must be at least 1")
    return dilation


@hookimpl
def register_convolutions(register: RegisterConvolution) -> None:
    register("dense", dense)
    register("depthwise", depthwise, mixes_channels=False, takes_groups=False)
    register("separable", separable, takes_groups=False)
    register("ws", ws)
    register("partial", partial)
    register("ghost", ghost, takes_groups=False)
