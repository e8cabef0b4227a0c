"""Attentions: gates that scale a feature map. Legend: N batch, C channels, H W pixels.

With `init="identity"` the layers before a gate start at zero and the gate is doubled, so that it starts at exactly 1.

Pooling is by means and maxima, whose CUDA gradients are deterministic where adaptive pooling's are not.
"""

from math import log2

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_lab.core.errors import SpecError
from resnet_lab.network.builtin.context_attentions import BottleneckAttention, GlobalContext
from resnet_lab.network.builtin.gates import LAST, MAX_KERNEL, Init, PooledConv2d, gate, hidden_channels, odd_kernel
from resnet_lab.network.builtin.strip_attentions import CoordinateAttention, EfficientLocalAttention, StripAttention
from resnet_lab.network.hookspecs import Register, hookimpl
from resnet_lab.network.pooling import channel_max, channel_mean, pixel_max, pixel_mean


def none(channels: int) -> nn.Module:
    """No attention."""
    return nn.Identity()


class SqueezeExcitation(nn.Module):
    """x * sigmoid(W2 relu(W1 mean(x))): Hu et al. 2017, arXiv:1709.01507, equations 2 to 4, with biases.

    Raises:
        SpecError: `reduction` is below 1.
    """

    def __init__(self, channels: int, *, reduction: int = 16, init: Init = "default") -> None:
        super().__init__()
        hidden = hidden_channels("se", channels, reduction)
        self.fc1 = PooledConv2d(channels, hidden)
        self.fc2 = LAST[init][0](hidden, channels)
        self.init = init

    def forward(self, x: Tensor) -> Tensor:
        pooled: Tensor = pixel_mean(x)  # N C 1 1
        pooled = self.fc2(F.relu(self.fc1(pooled)))
        return x * gate(pooled, self.init)


class EfficientChannelAttention(nn.Module):
    """x * sigmoid(conv1d(mean(x)) along channels): Wang et al. 2019, arXiv:1910.03151.

    The kernel size, unless given, grows with the channels (equation 12): |(log2(C) + beta) / gamma|, made odd.

    Raises:
        SpecError: `kernel_size` is even or negative, or `gamma` not positive.
    """

    def __init__(
        self,
        channels: int,
        *,
        kernel_size: int = 0,
        gamma: float = 2.0,
        beta: float = 1.0,
        init: Init = "default",
    ) -> None:
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
        self.conv = LAST[init][1](1, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.init = init

    def forward(self, x: Tensor) -> Tensor:
        pooled: Tensor = pixel_mean(x).flatten(1).unsqueeze(1)  # N 1 C
        pooled = self.conv(pooled).transpose(1, 2).unsqueeze(3)  # N C 1 1
        return x * gate(pooled, self.init)


class CBAM(nn.Module):
    """A channel gate and then a spatial gate: Woo et al. 2018, arXiv:1807.06521, equations 2 and 3.

    Channel: sigmoid(W1 relu(W0 mean(x)) + W1 relu(W0 max(x))), the MLP shared and without biases. Spatial: sigmoid of
    a convolution over channel mean and channel max. `norm` puts a BatchNorm after that convolution, as the authors'
    code and timm do and the formula does not.

    Raises:
        SpecError: `reduction` is below 1, or `kernel_size` is even or not from 1 to 255.
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 16,
        kernel_size: int = 7,
        norm: bool = False,
        init: Init = "default",
    ) -> None:
        super().__init__()
        padding = odd_kernel("cbam", kernel_size) // 2
        hidden = hidden_channels("cbam", channels, reduction)
        self.fc1 = PooledConv2d(channels, hidden, bias=False)
        self.fc2 = LAST[init][0](hidden, channels, bias=False)
        self.conv = LAST[init][2](2, 1, kernel_size, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(1) if norm else nn.Identity()
        self.init = init

    def mlp(self, pooled: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.relu(self.fc1(pooled)))
        return out

    def forward(self, x: Tensor) -> Tensor:
        x = x * gate(self.mlp(pixel_mean(x)) + self.mlp(pixel_max(x)), self.init)  # gate: N C 1 1
        pooled = torch.cat((channel_mean(x), channel_max(x)), dim=1)  # N 2 H W
        return x * gate(self.bn(self.conv(pooled)), self.init)  # gate: N 1 H W


@hookimpl
def register_attentions(register: Register) -> None:
    register("none", none)
    register("se", SqueezeExcitation)
    register("eca", EfficientChannelAttention)
    register("cbam", CBAM)
    register("bam", BottleneckAttention)
    register("gc", GlobalContext)
    register("coord", CoordinateAttention)
    register("strip", StripAttention)
    register("ela", EfficientLocalAttention)
