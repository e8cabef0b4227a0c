"""Stems. Legend: N batch, C channels, H W pixels."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from resnet_lab.core.errors import SpecError
from resnet_lab.network.hookspecs import Register, hookimpl
from resnet_lab.network.model import ConvStem, StemParts
from resnet_lab.network.spec import StemConv, listed_stem


def listed_convolutions(convs: Sequence[StemConv], max_pool: bool, in_channels: int, parts: StemParts) -> ConvStem:
    """Convolutions with norm and activation behind each, and a pool or none; the names of several are timm's."""
    layers: list[nn.Module] = []
    for conv in convs:
        if layers:
            layers += [parts.norm(in_channels), parts.act()]
        layers.append(parts.conv(in_channels, conv.out_channels, conv.kernel_size, conv.stride))
        in_channels = conv.out_channels
    return ConvStem(
        conv1=layers[0] if len(layers) == 1 else nn.Sequential(*layers),
        bn1=parts.norm(in_channels),
        act1=parts.act(),
        maxpool=nn.MaxPool2d(3, stride=2, padding=1) if max_pool else nn.Identity(),
    )


def plain(in_channels: int, out_channels: int, parts: StemParts) -> nn.Module:
    """7x7/2 and a 3x3/2 max pool: He et al. 2015, arXiv:1512.03385, table 1."""
    return listed_convolutions(*listed_stem("plain", out_channels), in_channels, parts)


def deep(in_channels: int, out_channels: int, parts: StemParts) -> nn.Module:
    """3x3/2, 3x3, 3x3 and a 3x3/2 max pool: ResNet-C and D, arXiv:1812.01187, figure 2b."""
    return listed_convolutions(*listed_stem("deep", out_channels), in_channels, parts)


def cifar(in_channels: int, out_channels: int, parts: StemParts) -> nn.Module:
    """3x3 without a pool, for images of some 32 pixels: He et al. 2015, section 4.2."""
    return listed_convolutions(*listed_stem("cifar", out_channels), in_channels, parts)


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
    for factory in (plain, deep, cifar, patchify):
        register(factory.__name__, factory)
