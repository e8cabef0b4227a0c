"""Downsampling of the residual branch. Legend: N batch, C channels, H W pixels."""

from math import comb
from typing import Literal, TypeAlias

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from resnet_lab.core.errors import SpecError
from resnet_lab.network.hookspecs import Register, hookimpl


def strided(channels: int, stride: int) -> nn.Module:
    """Every `stride`-th pixel; in a network the convolution has the stride, and nothing else is computed."""
    return nn.MaxPool2d(1, stride)


def average(channels: int, stride: int) -> nn.Module:
    """The mean of `stride` x `stride` pixels, of fewer at the right and lower edge."""
    return nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False)


Padding: TypeAlias = Literal["zeros", "reflect"]


class Blur(nn.Module):
    """A binomial filter, then every `stride`-th pixel: Zhang 2019, arXiv:1904.11486, section 3.

    Outside the map are zeros, or the map mirrored at its outermost pixels, as in the author's code and timm's.

    Raises:
        SpecError: the map is too small to be mirrored.
    """

    kernel: Tensor

    def __init__(self, channels: int, stride: int, size: int, padding: Padding = "zeros") -> None:
        super().__init__()
        self.channels, self.stride, self.size, self.padding = channels, stride, size, padding
        row = torch.tensor([comb(size - 1, place) for place in range(size)], dtype=torch.float32)
        kernel = torch.outer(row, row) / 4 ** (size - 1)
        self.register_buffer("kernel", kernel.repeat(channels, 1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        padding = self.size // 2
        if self.padding == "reflect":
            x, padding = _mirrored(x, self.size), 0
        return F.conv2d(x, self.kernel, stride=self.stride, padding=padding, groups=self.channels)


@fx.wrap  # traced as one call: what it does depends on the map's size
def _mirrored(x: Tensor, size: int) -> Tensor:
    height, width = x.shape[2:]
    half = size // 2
    if min(height, width) <= half:
        raise SpecError(
            f"a map of {height} x {width} pixels is too small to be mirrored by {half} for a blur of size {size}; give "
            "larger images, or padding=zeros"
        )
    return F.pad(x, (half, half, half, half), mode="reflect")


def blur(channels: int, stride: int, *, size: int = 3, padding: Padding = "zeros") -> nn.Module:
    """A binomial filter, then every `stride`-th pixel.

    Raises:
        SpecError: `size` is even or not from 3 to 7.
    """
    return Blur(channels, stride, _odd("blur", size), padding)


def max_blur(channels: int, stride: int, *, size: int = 3, padding: Padding = "zeros") -> nn.Module:
    """The maximum of 3x3 pixels around each, then `blur`: MaxBlurPool, arXiv:1904.11486, section 3.

    Raises:
        SpecError: `size` is even or not from 3 to 7.
    """
    return nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), Blur(channels, stride, _odd("max_blur", size), padding))


def _odd(name: str, size: int) -> int:
    if size not in (3, 5, 7):
        raise SpecError(f"downsample {name}(size={size}): the size must be 3, 5 or 7")
    return size


@hookimpl
def register_downsamples(register: Register) -> None:
    for factory in (strided, average, blur, max_blur):
        register(factory.__name__, factory)
