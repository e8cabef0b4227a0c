"""Replacements of a block's 3x3 convolution."""

from torch import nn

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


def _positive(name: str, dilation: int) -> int:
    if dilation < 1:
        raise SpecError(f"convolution {name}(dilation={dilation}): the dilation must be at least 1")
    return dilation


@hookimpl
def register_convolutions(register: RegisterConvolution) -> None:
    register("dense", dense)
    register("depthwise", depthwise, mixes_channels=False, takes_groups=False)
    register("separable", separable, takes_groups=False)
