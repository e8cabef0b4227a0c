"""Gates from the means of rows and of columns. Legend: N batch, C channels, H W pixels."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_lab.network.builtin.gates import LAST, Init, gate, hidden_channels, odd_kernel
from resnet_lab.network.pooling import column_mean, row_mean


class CoordinateAttention(nn.Module):
    """x * sigmoid(Wh f) * sigmoid(Ww g), f and g of rows and columns: Hou et al. 2021, arXiv:2103.02907, eq. 4 to 9.

    [f, g] = hardswish(BN(W1 [row means, column means])), of max(8, C / reduction) channels.

    Raises:
        SpecError: `reduction` is below 1.
    """

    def __init__(self, channels: int, *, reduction: int = 32, init: Init = "default") -> None:
        super().__init__()
        hidden = max(8, hidden_channels("coord", channels, reduction))
        self.conv1 = nn.Conv2d(channels, hidden, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.conv_h = LAST[init][2](hidden, channels, 1)
        self.conv_w = LAST[init][2](hidden, channels, 1)
        self.init = init

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        means = torch.cat((row_mean(x), column_mean(x).transpose(2, 3)), dim=2)  # N C H+W 1
        means = F.hardswish(self.bn1(self.conv1(means)))
        rows, columns = torch.split(means, [height, width], dim=2)
        rows, columns = self.conv_h(rows), self.conv_w(columns.transpose(2, 3))
        return x * (gate(rows, self.init) * gate(columns, self.init))  # gate: N C H W


def _along(channels: int, kernel_size: int, init: Init, *, rows: bool) -> nn.Conv2d:
    """A depthwise convolution along the means of rows, (N, C, H, 1), or of columns, (N, C, 1, W)."""
    half = kernel_size // 2
    size, padding = ((kernel_size, 1), (half, 0)) if rows else ((1, kernel_size), (0, half))
    return LAST[init][2](channels, channels, size, padding=padding, groups=channels, bias=False)


class StripAttention(nn.Module):
    """x * sigmoid(row means * kh + column means * kw), k depthwise: timm's, after strip pooling, arXiv:2003.13328.

    Raises:
        SpecError: `kernel_size` is even or not from 1 to 255.
    """

    def __init__(self, channels: int, *, kernel_size: int = 3, init: Init = "default") -> None:
        super().__init__()
        odd_kernel("strip", kernel_size)
        self.conv_h = _along(channels, kernel_size, init, rows=True)
        self.conv_w = _along(channels, kernel_size, init, rows=False)
        self.init = init

    def forward(self, x: Tensor) -> Tensor:
        means = self.conv_h(row_mean(x)) + self.conv_w(column_mean(x))  # N C H W
        return x * gate(means, self.init)


class _OneGroup(nn.GroupNorm):
    """Group norm of one group that also takes a single value, which it makes zero."""

    def __init__(self, channels: int) -> None:
        super().__init__(1, channels)

    def forward(self, input: Tensor) -> Tensor:
        return torch.group_norm(input, 1, self.weight, self.bias, self.eps)


class EfficientLocalAttention(nn.Module):
    """x * sigmoid(f) * sigmoid(g), f = silu(GN(row means * kh)), g of columns: Xu and Wan 2024, arXiv:2403.01123.

    k is depthwise, the group norm of one group; the SiLU is timm's, and the paper has none.

    Raises:
        SpecError: `kernel_size` is even or not from 1 to 255.
    """

    def __init__(self, channels: int, *, kernel_size: int = 7, init: Init = "default") -> None:
        super().__init__()
        odd_kernel("ela", kernel_size)
        self.conv_h = _along(channels, kernel_size, init, rows=True)
        self.conv_w = _along(channels, kernel_size, init, rows=False)
        self.norm_h = _OneGroup(channels)
        self.norm_w = _OneGroup(channels)
        self.init = init

    def forward(self, x: Tensor) -> Tensor:
        rows = F.silu(self.norm_h(self.conv_h(row_mean(x))))  # N C H 1
        columns = F.silu(self.norm_w(self.conv_w(column_mean(x))))  # N C 1 W
        return x * (gate(rows, self.init) * gate(columns, self.init))
