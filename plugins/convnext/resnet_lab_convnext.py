"""The ConvNeXt block for resnet-lab. Legend: N batch, C channels, H W pixels."""

from math import inf

import torch
from torch import Tensor, nn

from resnet_lab.plugin_api import Parts, Register, SpecError, hookimpl

requires_api = 1

EXPANSION = 4


class ConvNeXtBlock(nn.Module):
    """Depthwise 7x7, norm, 1x1 to four times the channels, activation, 1x1 back, layer scale, and the shortcut.

        out = x + scale * project(act(expand(norm(depthwise(x)))))

    (N, in_channels, H, W) to (N, out_channels, ceil(H / stride), ceil(W / stride)). Liu et al. 2022, "A ConvNet for the
    2020s", arXiv:2201.03545, figure 4; there norm is a layer norm and act GELU. The 7x7 takes the stride; four times
    is of `out_channels`. Dropout stands before the second 1x1. An attention at the end of the branch stands before the
    scale, where it sees values of ordinary size.

    Args:
        layer_scale: of every channel's scale before training.

    Raises:
        SpecError: `layer_scale` is not positive and finite.
    """

    def __init__(
        self, in_channels: int, width: int, out_channels: int, stride: int, parts: Parts, *, layer_scale: float = 1e-6
    ) -> None:
        super().__init__()
        if not 0 < layer_scale < inf:
            raise SpecError(f"block convnext(layer_scale={layer_scale}): layer_scale must be positive and finite")
        hidden = EXPANSION * out_channels
        self.depthwise = nn.Conv2d(in_channels, in_channels, 7, stride, padding=3, groups=in_channels)
        self.norm = parts.norm(in_channels)
        self.expand = nn.Conv2d(in_channels, hidden, 1)
        self.act = parts.act()
        self.dropout = parts.dropout()
        self.project = nn.Conv2d(hidden, out_channels, 1)
        self.attn = parts.attn(out_channels)
        self.scale = nn.Parameter(torch.full((out_channels, 1, 1), float(layer_scale)))
        self.downsample = parts.shortcut(in_channels, out_channels, stride)
        self.output_attn = parts.output_attn(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        out = self.norm(self.depthwise(x))
        out = self.dropout(self.act(self.expand(out)))  # N 4C H W
        out = self.attn(self.project(out))
        identity = x if self.downsample is None else self.downsample(x)
        return self.output_attn(identity + self.scale.to(out.dtype) * out)


@hookimpl
def register_blocks(register: Register) -> None:
    register("convnext", ConvNeXtBlock)
