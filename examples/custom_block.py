"""A block of one's own in a single file: the sum of two parallel 3x3 convolutions, as Inception has them.

usage: resnet-lab plugins check parallel --plugin custom_block.py
       resnet-lab study run --block basic,parallel --plugin custom_block.py
"""

from torch import Tensor, nn

from resnet_lab.plugin_api import Parts, Register, hookimpl


class ParallelBlock(nn.Module):
    """act(a(x) + b(x) + x): (N, in_channels, H, W) to (N, out_channels, ceil(H / stride), ceil(W / stride))."""

    def __init__(self, in_channels: int, width: int, out_channels: int, stride: int, parts: Parts) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(parts.conv(in_channels, out_channels, stride, must_mix=True), parts.norm(out_channels))
            for _ in range(2)
        )
        self.downsample = parts.shortcut(in_channels, out_channels, stride)
        self.act = parts.act()

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        return self.act(self.branches[0](x) + self.branches[1](x) + identity)


@hookimpl
def register_blocks(register: Register) -> None:
    register("parallel", ParallelBlock)
