"""Residual networks as plain modules, with torchvision's parameter names. Legend: N batch, C channels, H W pixels.

He et al. 2015, "Deep Residual Learning for Image Recognition", arXiv:1512.03385.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, cast

import torch
from torch import Tensor, nn


class MakeConvolution(Protocol):
    """Makes what stands in the place of a 3x3; where nothing else in the block mixes channels, `must_mix`."""

    def __call__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        groups: int = 1,
        must_mix: bool = False,
        dilation: int = 1,
    ) -> nn.Module: ...


@dataclass(frozen=True)
class Parts:
    """Makers of a block's parts; each call makes a new module.

    Attributes:
        conv: the chosen 3x3 convolution.
        pointwise: a 1x1 convolution, from (in_channels, out_channels, stride).
        norm: the chosen norm, from its channels.
        act: the chosen activation; it may overwrite its input.
        attn: the chosen attention where it stands on the residual branch, else identity; from its channels.
        output_attn: the same where it stands on the block's output.
        inner_attn: the same where it stands before the last convolution of the branch.
        dropout: dropout, or identity at probability 0.
        drop_path: stochastic depth of the residual branch, or identity; the last of the branch.
        shortcut: from (in_channels, out_channels, stride): None where the input can be added as it is.
        downsample: from (channels, stride): None where the convolution has the stride, as a strided one has; otherwise
            that convolution gets stride 1, and this stands behind it.
        more: makers of other kinds of component, by their options' names.
    """

    conv: MakeConvolution
    pointwise: Callable[[int, int, int], nn.Module]
    norm: Callable[[int], nn.Module]
    act: Callable[[], nn.Module]
    attn: Callable[[int], nn.Module]
    output_attn: Callable[[int], nn.Module]
    dropout: Callable[[], nn.Module]
    shortcut: Callable[[int, int, int], nn.Module | None]
    downsample: Callable[[int, int], nn.Module | None] = lambda channels, stride: None
    inner_attn: Callable[[int], nn.Module] = lambda channels: nn.Identity()
    drop_path: Callable[[], nn.Module] = nn.Identity
    more: Mapping[str, Callable[..., nn.Module]] = field(default_factory=dict)


class MakeStemConvolution(Protocol):
    """Makes a convolution of the stem, padded by half of its kernel by default."""

    def __call__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, *, padding: int | None = None
    ) -> nn.Module: ...


def padded_convolution(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    *,
    padding: int | None = None,
    bias: bool = False,
) -> nn.Module:
    """A convolution, padded by half of its kernel by default."""
    padding = kernel_size // 2 if padding is None else padding
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=padding, bias=bias)


@dataclass(frozen=True)
class ShortcutParts:
    """Makers of a shortcut's parts.

    Attributes:
        pointwise: a 1x1 convolution, from (in_channels, out_channels, stride).
        norm: the block's norm, from its channels.
        conv: a convolution of another size, with a bias where the norm adds none.
        dilation: of the stage, which has it in place of a stride.
    """

    pointwise: Callable[[int, int, int], nn.Module]
    norm: Callable[[int], nn.Module]
    conv: MakeStemConvolution = padded_convolution
    dilation: int = 1


@dataclass(frozen=True)
class StemParts:
    """Makers of a stem's parts.

    Attributes:
        conv: a convolution, with a bias where the chosen norm adds none.
        norm: the norm chosen for the stem, from its channels.
        act: the activation chosen for the stem; it may overwrite its input.
    """

    conv: MakeStemConvolution
    norm: Callable[[int], nn.Module]
    act: Callable[[], nn.Module]


def add(branch: Tensor, identity: Tensor, *, in_place: bool) -> Tensor:
    """The block's addition; `in_place` writes into the branch, which saves 2% of a ResNet-50's training step."""
    return branch.add_(identity) if in_place else branch + identity


def may_be_overwritten(norm: nn.Module, *behind: nn.Module) -> bool:
    """Whether a branch that ends so leaves an output that no gradient needs: batch norm keeps its input instead."""
    return isinstance(norm, nn.BatchNorm2d) and all(isinstance(module, nn.Identity) for module in behind)


class DropPath(nn.Module):
    """Stochastic depth: in training, the branch of each image is zero at this probability, else divided by the rest.

    Huang et al. 2016, arXiv:1603.09382; scaled in training rather than in evaluation, as in timm.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        kept = 1 - self.probability
        return x * x.new_empty(x.shape[0], 1, 1, 1).bernoulli_(kept).div_(kept)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions: He et al. 2015, figure 5, left. Dropout stands between them, as in arXiv:1605.07146."""

    def __init__(self, in_channels: int, width: int, out_channels: int, stride: int, parts: Parts) -> None:
        super().__init__()
        self.aa = parts.downsample(width, stride)
        self.conv1 = parts.conv(in_channels, width, stride if self.aa is None else 1, must_mix=True)
        self.bn1 = parts.norm(width)
        self.act1 = parts.act()
        self.inner_attn = parts.inner_attn(width)
        self.dropout = parts.dropout()
        self.conv2 = parts.conv(width, out_channels, must_mix=True)
        self.bn2 = parts.norm(out_channels)
        self.attn = parts.attn(out_channels)
        self.drop_path = parts.drop_path()
        self.add_in_place = may_be_overwritten(self.bn2, self.attn, self.drop_path)
        self.downsample = parts.shortcut(in_channels, out_channels, stride)
        self.act2 = parts.act()
        self.output_attn = parts.output_attn(out_channels)

    @property
    def last_norm(self) -> nn.Module:
        return self.bn2

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(x)
        out = self.bn1(out)
        out = self.act1(out)
        if self.aa is not None:
            out = self.aa(out)
        out = self.inner_attn(out)
        out = self.dropout(out)
        out = self.conv2(out)
        out = self.finish(out, x)
        return cast(Tensor, self.output_attn(out))

    def finish(self, out: Tensor, x: Tensor) -> Tensor:
        """All that follows the last convolution, up to the block's activation."""
        out = self.bn2(out)
        out = self.attn(out)
        out = self.drop_path(out)
        identity = x if self.downsample is None else self.downsample(x)
        out = add(out, identity, in_place=self.add_in_place)
        return cast(Tensor, self.act2(out))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1: He et al. 2015, figure 5, right.

    The stride stands in the 3x3 (`stride_on="conv2"`, "v1.5"), or in the first 1x1 as in the paper (`"conv1"`). The
    first 1x1 has `width / reduce_first` channels: SENet-154's has half.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        out_channels: int,
        stride: int,
        parts: Parts,
        *,
        groups: int = 1,
        stride_on: Literal["conv1", "conv2"] = "conv2",
        reduce_first: Literal[1, 2, 4] = 1,
    ) -> None:
        super().__init__()
        first = max(1, width // reduce_first)
        self.aa = parts.downsample(first if stride_on == "conv1" else width, stride)
        self.aa_on_conv1 = stride_on == "conv1"
        strides = (1, 1) if self.aa is not None else (stride, 1) if self.aa_on_conv1 else (1, stride)
        self.conv1 = parts.pointwise(in_channels, first, strides[0])
        self.bn1 = parts.norm(first)
        self.act1 = parts.act()
        self.conv2 = parts.conv(first, width, strides[1], groups=groups)
        self.bn2 = parts.norm(width)
        self.act2 = parts.act()
        self.inner_attn = parts.inner_attn(width)
        self.dropout = parts.dropout()
        self.conv3 = parts.pointwise(width, out_channels, 1)
        self.bn3 = parts.norm(out_channels)
        self.attn = parts.attn(out_channels)
        self.drop_path = parts.drop_path()
        self.add_in_place = may_be_overwritten(self.bn3, self.attn, self.drop_path)
        self.downsample = parts.shortcut(in_channels, out_channels, stride)
        self.act3 = parts.act()
        self.output_attn = parts.output_attn(out_channels)

    @property
    def last_norm(self) -> nn.Module:
        return self.bn3

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(x)
        out = self.bn1(out)
        out = self.act1(out)
        if self.aa is not None and self.aa_on_conv1:
            out = self.aa(out)
        out = self.conv2(out)
        out = self.bn2(out)
        out = self.act2(out)
        if self.aa is not None and not self.aa_on_conv1:
            out = self.aa(out)
        out = self.inner_attn(out)
        out = self.dropout(out)
        out = self.conv3(out)
        out = self.finish(out, x)
        return cast(Tensor, self.output_attn(out))

    def finish(self, out: Tensor, x: Tensor) -> Tensor:
        """All that follows the last convolution, up to the block's activation."""
        out = self.bn3(out)
        out = self.attn(out)
        out = self.drop_path(out)
        identity = x if self.downsample is None else self.downsample(x)
        out = add(out, identity, in_place=self.add_in_place)
        return cast(Tensor, self.act3(out))


class ConvStem(nn.Module):
    """Convolution, norm, activation and pool, each perhaps identity; several convolutions are one sequence."""

    def __init__(self, conv1: nn.Module, bn1: nn.Module, act1: nn.Module, maxpool: nn.Module) -> None:
        super().__init__()
        self.conv1 = conv1
        self.bn1 = bn1
        self.act1 = act1
        self.maxpool = maxpool

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        x = self.bn1(x)
        x = self.act1(x)
        return cast(Tensor, self.maxpool(x))


class Stage(nn.Sequential):
    """Blocks of one resolution, in order."""


class ResNet(nn.Module):
    """Stem, stages `layer1` to `layerN`, global pool, linear classifier: (N, C, H, W) to (N, num_classes)."""

    def __init__(
        self,
        conv1: nn.Module,
        bn1: nn.Module,
        act1: nn.Module,
        maxpool: nn.Module,
        stages: Sequence[Stage],
        avgpool: nn.Module,
        dropout: nn.Module,
        fc: nn.Linear,
    ) -> None:
        super().__init__()
        self.conv1 = conv1
        self.bn1 = bn1
        self.act1 = act1
        self.maxpool = maxpool
        self.stage_names = tuple(f"layer{number}" for number in range(1, len(stages) + 1))
        for name, stage in zip(self.stage_names, stages, strict=True):
            self.add_module(name, stage)
        self.avgpool = avgpool
        self.dropout = dropout
        self.fc = fc

    def features(self, x: Tensor) -> Tensor:
        """Output of the last stage: (N, C, H, W) to (N, C', H', W')."""
        x = self.conv1(x)
        x = self.bn1(x)
        x = self.act1(x)
        x = self.maxpool(x)
        for name in self.stage_names:
            x = self.get_submodule(name)(x)
        return x

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """Outputs of the stem before its pool and of each stage, as timm's `features_only` gives them."""
        x = self.act1(self.bn1(self.conv1(x)))
        maps = [x]
        x = self.maxpool(x)
        for name in self.stage_names:
            x = self.get_submodule(name)(x)
            maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = self.avgpool(x)
        x = torch.flatten(x, 1)  # N C 1 1 -> N C
        x = self.dropout(x)
        return cast(Tensor, self.fc(x))
