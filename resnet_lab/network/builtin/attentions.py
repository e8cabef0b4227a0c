"""Attentions: gates that scale a feature map. Legend: N batch, C channels, H W pixels.

Pooling is by means and maxima, whose CUDA gradients are deterministic where adaptive pooling's are not.
"""

from math import log2

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_lab.core.errors import SpecError
from resnet_lab.network.hookspecs import Register, hookimpl
from resnet_lab.network.pooling import channel_max, channel_mean, pixel_max, pixel_mean

MAX_KERNEL = 255


def none(channels: int) -> nn.Module:
    """No attention."""
    return nn.Identity()


class _PooledConv2d(nn.Conv2d):
    """A 1x1 convolution of a single pixel, (N, C, 1, 1), as the matrix product it is, which takes half the time."""

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, 1, bias=bias)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(input.flatten(1), weight.flatten(1), bias)[:, :, None, None]


def _hidden_channels(name: str, channels: int, reduction: int) -> int:
    if reduction < 1:
        raise SpecError(f"attention {name}(reduction={reduction}): the reduction must be at least 1")
    return max(1, channels // reduction)


class SqueezeExcitation(nn.Module):
    """x * sigmoid(W2 relu(W1 mean(x))): Hu et al. 2017, arXiv:1709.01507, equations 2 to 4, with biases.

    Raises:
        SpecError: `reduction` is below 1.
    """

    def __init__(self, channels: int, *, reduction: int = 16) -> None:
        super().__init__()
        hidden = _hidden_channels("se", channels, reduction)
        self.fc1 = _PooledConv2d(channels, hidden)
        self.fc2 = _PooledConv2d(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = pixel_mean(x)  # N C 1 1
        gate = self.fc2(F.relu(self.fc1(gate)))
        return x * gate.sigmoid()


class EfficientChannelAttention(nn.Module):
    """x * sigmoid(conv1d(mean(x)) along channels): Wang et al. 2019, arXiv:1910.03151.

    The kernel size, unless given, grows with the channels (equation 12): |(log2(C) + beta) / gamma|, made odd.

    Raises:
        SpecError: `kernel_size` is even or negative, or `gamma` not positive.
    """

    def __init__(self, channels: int, *, kernel_size: int = 0, gamma: float = 2.0, beta: float = 1.0) -> None:
        super().__init__()
        if gamma <= 0:
            raise SpecError(f"attention eca(gamma={gamma}): gamma must be positive")
        if kernel_size == 0:
            size = int(min(abs(log2(channels) + beta) / gamma, MAX_KERNEL))
            kernel_size = max(3, size if size % 2 else size + 1)
        if not 1 <= kernel_size <= MAX_KERNEL or kernel_size % 2 == 0:
            raise SpecError(
                f"attention eca(kernel_size={kernel_size}): it must be odd, from 1 to {MAX_KERNEL} (or 0: by channels)"
            )
        self.conv = nn.Conv1d(1, 1, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = pixel_mean(x).flatten(1).unsqueeze(1)  # N 1 C
        gate = self.conv(gate).transpose(1, 2).unsqueeze(3)  # N C 1 1
        return x * gate.sigmoid()


class CBAM(nn.Module):
    """A channel gate and then a spatial gate: Woo et al. 2018, arXiv:1807.06521, equations 2 and 3.

    Channel: sigmoid(W1 relu(W0 mean(x)) + W1 relu(W0 max(x))), the MLP shared and without biases. Spatial: sigmoid of
    a convolution over channel mean and channel max. `norm` puts a BatchNorm after that convolution, as the authors'
    code and timm do and the formula does not.

    Raises:
        SpecError: `reduction` is below 1, or `kernel_size` is even or below 1.
    """

    def __init__(self, channels: int, *, reduction: int = 16, kernel_size: int = 7, norm: bool = False) -> None:
        super().__init__()
        if not 1 <= kernel_size <= MAX_KERNEL or kernel_size % 2 == 0:
            raise SpecError(f"attention cbam(kernel_size={kernel_size}): it must be odd, from 1 to {MAX_KERNEL}")
        hidden = _hidden_channels("cbam", channels, reduction)
        self.fc1 = _PooledConv2d(channels, hidden, bias=False)
        self.fc2 = _PooledConv2d(hidden, channels, bias=False)
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.bn = nn.BatchNorm2d(1) if norm else nn.Identity()

    def mlp(self, pooled: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.relu(self.fc1(pooled)))
        return out

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.mlp(pixel_mean(x)) + self.mlp(pixel_max(x))  # N C 1 1
        x = x * gate.sigmoid()
        pooled = torch.cat((channel_mean(x), channel_max(x)), dim=1)  # N 2 H W
        gate = self.bn(self.conv(pooled))  # N 1 H W
        return x * gate.sigmoid()


@hookimpl
def register_attentions(register: Register) -> None:
    register("none", none)
    register("se", SqueezeExcitation)
    register("eca", EfficientChannelAttention)
    register("cbam", CBAM)
