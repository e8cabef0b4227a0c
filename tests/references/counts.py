"""Parameters and multiply-adds of an unmodified network by arithmetic on its spec, apart from the package's own code.

Counts convolutions and linear layers (MACs), and these with batch norm's weight and bias (parameters).
"""

from dataclasses import dataclass

from resnet_lab.network.spec import ModelSpec, StageSpec


@dataclass
class Counter:
    """Running totals, and the height (= width) of the feature map."""

    size: int
    parameters: int = 0
    macs: int = 0

    def conv(self, c_in: int, c_out: int, kernel: int, size: int, groups: int = 1) -> None:
        """A convolution without bias and the batch norm after it, at `size` x `size` outputs."""
        weights = c_out * (c_in // groups) * kernel * kernel
        self.parameters += weights + 2 * c_out
        self.macs += weights * size * size


def count(spec: ModelSpec) -> tuple[int, int]:
    """(parameters, MACs) of a network of dense convolutions, batch norms and no attention."""
    total = Counter(spec.input_size)
    channels = spec.in_channels
    for conv in spec.stem.convs:
        total.size = -(-total.size // conv.stride)
        total.conv(channels, conv.out_channels, conv.kernel_size, total.size)
        channels = conv.out_channels
    if spec.stem.max_pool:
        total.size = -(-total.size // 2)
    for stage in spec.stages:
        for block in range(stage.depth):
            _block(total, stage, channels, stage.stride if block == 0 else 1)
            channels = stage.out_channels
    weights = channels * spec.head.num_classes
    return total.parameters + weights + spec.head.num_classes, total.macs + weights


def _block(total: Counter, stage: StageSpec, c_in: int, stride: int) -> None:
    before, after = total.size, -(-total.size // stride)
    width, c_out = stage.width, stage.out_channels
    options = dict(stage.block.kind.parameters)
    if stage.block.kind.name == "basic":
        total.conv(c_in, width, 3, after)
        total.conv(width, c_out, 3, after)
    else:
        first = after if options.get("stride_on") == "conv1" else before
        total.conv(c_in, width, 1, first)
        total.conv(width, width, 3, after, groups=int(options.get("groups", 1)))
        total.conv(width, c_out, 1, after)
    if stage.block.shortcut.name != "zero_pad" and (stride != 1 or c_in != c_out):
        total.conv(c_in, c_out, 1, after)
    total.size = after
