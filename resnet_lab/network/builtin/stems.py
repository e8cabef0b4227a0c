"""Stems. Legend: N batch, C channels, H W pixels."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

from torch import Tensor, nn
from torch.nn import functional as F

from resnet_lab.core.errors import SpecError
from resnet_lab.network.builtin.downsamples import Blur
from resnet_lab.network.hookspecs import Register, hookimpl
from resnet_lab.network.model import ConvStem, StemParts
from resnet_lab.network.spec import StemConv, listed_stem

Pool: TypeAlias = Literal["max", "max_blur", "average", "conv", "stride"]


def _convolution(channels: int, parts: StemParts) -> nn.Module:
    return nn.Sequential(parts.conv(channels, channels, 3, 2), parts.norm(channels), parts.act())


POOLS: Mapping[str, Callable[[int, StemParts], nn.Module]] = {
    "max": lambda channels, parts: nn.MaxPool2d(3, stride=2, padding=1),
    "max_blur": lambda channels, parts: nn.Sequential(
        nn.MaxPool2d(3, stride=1, padding=1), Blur(channels, 2, 3, "reflect")
    ),
    "average": lambda channels, parts: nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False),
    "conv": _convolution,
    "stride": lambda channels, parts: nn.Identity(),
}
"""What halves the resolution behind the convolutions; with `stride` the last of them does."""


def listed_convolutions(
    convs: Sequence[StemConv], max_pool: bool, in_channels: int, parts: StemParts, pool: Pool = "max"
) -> ConvStem:
    """Convolutions with norm and activation behind each, and a pool or none; the names of several are timm's."""
    layers: list[nn.Module] = []
    for conv in convs:
        if layers:
            layers += [parts.norm(in_channels), parts.act()]
        stride = 2 * conv.stride if pool == "stride" and conv is convs[-1] else conv.stride
        layers.append(parts.conv(in_channels, conv.out_channels, conv.kernel_size, stride))
        in_channels = conv.out_channels
    return ConvStem(
        conv1=layers[0] if len(layers) == 1 else nn.Sequential(*layers),
        bn1=parts.norm(in_channels),
        act1=parts.act(),
        maxpool=POOLS[pool](in_channels, parts) if max_pool else nn.Identity(),
    )


def plain(in_channels: int, out_channels: int, parts: StemParts, *, pool: Pool = "max") -> nn.Module:
    """7x7/2 and a 3x3/2 max pool: He et al. 2015, arXiv:1512.03385, table 1."""
    return listed_convolutions(*listed_stem("plain", out_channels), in_channels, parts, pool)


def deep(in_channels: int, out_channels: int, parts: StemParts, *, pool: Pool = "max") -> nn.Module:
    """3x3/2, 3x3, 3x3 and a 3x3/2 max pool: ResNet-C and D, arXiv:1812.01187, figure 2b."""
    return listed_convolutions(*listed_stem("deep", out_channels), in_channels, parts, pool)


def deep_tiered(in_channels: int, out_channels: int, parts: StemParts, *, pool: Pool = "max") -> nn.Module:
    """`deep` with 3/8, 1/2 and all of the channels: timm's ResNet-T."""
    return listed_convolutions(*listed_stem("deep_tiered", out_channels), in_channels, parts, pool)


def cifar(in_channels: int, out_channels: int, parts: StemParts) -> nn.Module:
    """3x3 without a pool, for images of some 32 pixels: He et al. 2015, section 4.2."""
    return listed_convolutions(*listed_stem("cifar", out_channels), in_channels, parts)


class SpaceToDepthStem(nn.Module):
    """Each 4x4 pixels as 16 times the channels, then a 3x3 convolution, norm and activation: arXiv:2003.13630.

    The order of channels is TResNet's: row in the patch, column in it, input channel. Where 4 does not divide the
    image, zeros are added on the right and at the bottom.
    """

    def __init__(self, in_channels: int, out_channels: int, parts: StemParts) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.conv = parts.conv(16 * in_channels, out_channels, 3)
        self.norm = parts.norm(out_channels)
        self.act = parts.act()

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, -x.shape[3] % 4, 0, -x.shape[2] % 4))
        x = F.pixel_unshuffle(x, 4)  # N 16C H/4 W/4, the channels before the place in the patch
        x = x.view(-1, self.in_channels, 16, x.shape[2], x.shape[3]).transpose(1, 2).flatten(1, 2)
        x = self.conv(x)
        x = self.norm(x)
        out: Tensor = self.act(x)
        return out


def space_to_depth(in_channels: int, out_channels: int, parts: StemParts) -> nn.Module:
    """Each 4x4 pixels as 16 times the channels, then a 3x3 convolution, norm and activation."""
    return SpaceToDepthStem(in_channels, out_channels, parts)


class PatchifyStem(nn.Module):
    """A convolution over patches that do not overlap, and a norm: ConvNeXt, arXiv:2201.03545, section 2.2.

    Where the size does not divide the image, zeros are added on the right and at the bottom.
    """

    def __init__(self, in_channels: int, out_channels: int, size: int, parts: StemParts) -> None:
        super().__init__()
        self.size = size
        self.conv = parts.conv(in_channels, out_channels, size, size, padding=0)
        self.norm = parts.norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, -x.shape[3] % self.size, 0, -x.shape[2] % self.size))  # a condition could not be traced
        x = self.conv(x)  # N C H / size W / size
        x = self.norm(x)
        return x


def patchify(in_channels: int, out_channels: int, parts: StemParts, *, size: int = 4) -> nn.Module:
    """A convolution over patches that do not overlap, and a norm.

    Raises:
        SpecError: `size` is below 1.
    """
    if size < 1:
        raise SpecError(f"stem patchify(size={size}): the size must be at least 1")
    return PatchifyStem(in_channels, out_channels, size, parts)


@hookimpl
def register_stems(register: Register) -> None:
    for factory in (plain, deep, deep_tiered, cifar, patchify, space_to_depth):
        register(factory.__name__, factory)
