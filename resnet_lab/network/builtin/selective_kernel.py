"""Blocks with selective kernels: Li et al. 2019, arXiv:1903.06586. Legend: N batch, C channels, H W pixels."""

from torch import Tensor, nn

from resnet_lab.core.errors import SpecError
from resnet_lab.network.builtin.gates import PooledBatchNorm2d, PooledConv2d
from resnet_lab.network.model import BasicBlock, Bottleneck, Parts
from resnet_lab.network.pooling import pixel_mean


class Path(nn.Module):
    """Convolution, norm, activation."""

    def __init__(self, conv: nn.Module, channels: int, parts: Parts) -> None:
        super().__init__()
        self.conv = conv
        self.bn = parts.norm(channels)
        self.act = parts.act()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(self.bn(self.conv(x)))
        return out


class KernelSelection(nn.Module):
    """Weights of the paths, softmax(W2 relu(BN(W1 mean(x)))): equations 2 to 6. (N, C, H, W) to (N, 2, C, 1, 1)."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc_reduce = PooledConv2d(channels, hidden, bias=False)
        self.bn = PooledBatchNorm2d(hidden)
        self.act = nn.ReLU(inplace=True)
        self.fc_select = PooledConv2d(hidden, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weights: Tensor = self.fc_select(self.act(self.bn(self.fc_reduce(pixel_mean(x)))))
        return weights.view(-1, 2, x.shape[1], 1, 1).softmax(1)


class SelectiveKernel(nn.Module):
    """A 3x3 and a 3x3 of dilation 2, weighed for each channel of each image by their sum: section 3.1.

    With `split`, as in timm, each takes half of the input channels.

    Raises:
        SpecError: `reduction` or `least` is below 1, or an odd number of channels cannot be split.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, parts: Parts, *, reduction: int, least: int,
        split: bool, groups: int = 1, must_mix: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        for name, value in (("reduction", reduction), ("least", least)):
            if value < 1:
                raise SpecError(f"a selective kernel's {name} must be at least 1, got {value}")
        if split and in_channels % 2:
            raise SpecError(f"a selective kernel cannot split {in_channels} channels in two; choose split=false")
        self.split = split
        taken = in_channels // 2 if split else in_channels
        self.paths = nn.ModuleList(
            Path(
                parts.conv(taken, out_channels, stride, groups=groups, must_mix=must_mix, dilation=dilation),
                out_channels,
                parts,
            )
            for dilation in (1, 2)
        )
        self.attn = KernelSelection(out_channels, max(out_channels // reduction, least))

    def forward(self, x: Tensor) -> Tensor:
        first, second = x, x
        if self.split:
            first, second = x.chunk(2, dim=1)
        first, second = self.paths[0](first), self.paths[1](second)
        weights = self.attn(first + second)
        out: Tensor = first * weights[:, 0] + second * weights[:, 1]
        return out


class SelectiveKernelBasic(BasicBlock):
    """A basic block with a selective kernel in the place of its first 3x3, as in timm."""

    def __init__(
        self, in_channels: int, width: int, out_channels: int, stride: int, parts: Parts, *, reduction: int = 16,
        least: int = 32, split: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(in_channels, width, out_channels, stride, parts)
        self.conv1 = SelectiveKernel(
            in_channels, width, stride if self.aa is None else 1, parts, reduction=reduction, least=least, split=split,
            must_mix=True,
        )  # fmt: skip
        self.bn1 = self.act1 = nn.Identity()  # those of the paths


class SelectiveKernelBottleneck(Bottleneck):
    """A bottleneck with a selective kernel in the place of its 3x3: the paper's SKNet with 32 groups."""

    def __init__(
        self, in_channels: int, width: int, out_channels: int, stride: int, parts: Parts, *, groups: int = 1,
        reduction: int = 16, least: int = 32, split: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(in_channels, width, out_channels, stride, parts, groups=groups)
        self.conv2 = SelectiveKernel(
            width, width, stride if self.aa is None else 1, parts, reduction=reduction, least=least, split=split,
            groups=groups,
        )  # fmt: skip
        self.bn2 = self.act2 = nn.Identity()  # those of the paths
