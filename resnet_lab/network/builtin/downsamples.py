"""Downsampling of the residual branch. Legend: N batch, C channels, H W pixels."""

from math import comb

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_lab.core.errors import SpecError
from resnet_lab.network.hookspecs import Register, hookimpl


def strided(channels: int, stride: int) -> nn.Module:
    """Every `stride`-th pixel; in a network the convolution has the stride, and nothing else is computed."""
    return nn.MaxPool2d(1, stride)


def average(channels: int, stride: int) -> nn.Module:
    """The mean of `stride` x `stride` pixels, of fewer at the right and lower edge."""
    return nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False)


class Blur(nn.Module):
    """A binomial filter, then every `stride`-th pixel: Zhang 2019, arXiv:1904.11486, section 3; zeros outside."""

    kernel: Tensor

    def __init__(self, channels: int, stride: int, size: int) -> None:
        super().__init__()
        self.channels, self.stride, self.size = channels, stride, size
        row = torch.tensor([comb(size - 1, place) for place in range(size)], dtype=torch.float32)
        kernel = torch.outer(row, row) / 4 ** (size - 1)
        self.register_buffer("kernel", kernel.repeat(channels, 1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel, stride=self.stride, padding=self.size // 2, groups=self.channels)


def blur(channels: int, stride: int, *, size: int = 3) -> nn.Module:
    """A binomial filter, then every `stride`-th pixel.

    Raises:
        SpecError: `size` is even or not from 3 to 7.
    """
    if size not in (3, 5, 7):
        raise SpecError(f"downsample blur(size={size}): the size must be 3, 5 or 7")
    return Blur(channels, stride, size)


@hookimpl
def register_downsamples(register: Register) -> None:
    for factory in (strided, average, blur):
        register(factory.__name__, factory)
