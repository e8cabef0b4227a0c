"""Layers that attentions are made of. Legend: N batch, C channels."""

from typing import Literal, TypeAlias

from torch import Tensor, nn
from torch.nn import functional as F

from resnet_lab.core.errors import SpecError

MAX_KERNEL = 255

Init: TypeAlias = Literal["default", "identity"]
"""Start of a gate: as published, or at 1, so that an attention in a trained network changes nothing at first."""


class PooledConv2d(nn.Conv2d):
    """A 1x1 convolution of a single pixel, (N, C, 1, 1), as the matrix product it is, which takes half the time."""

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, 1, bias=bias)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(input.flatten(1), weight.flatten(1), bias)[:, :, None, None]


class PooledBatchNorm2d(nn.BatchNorm2d):
    """Batch norm of single pixels, (N, C, 1, 1); one image alone has no variance and gets the running statistics."""

    def forward(self, input: Tensor) -> Tensor:
        if self.training and input.shape[0] > 1:
            return super().forward(input)
        return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class _AtZero(nn.Module):
    """Layer whose parameters start at zero."""

    def reset_parameters(self) -> None:
        for parameter in self.parameters(recurse=False):
            nn.init.zeros_(parameter)


class _ZeroPooledConv2d(_AtZero, PooledConv2d):
    pass


class _ZeroConv1d(_AtZero, nn.Conv1d):
    pass


class _ZeroConv2d(_AtZero, nn.Conv2d):
    pass


LAST: dict[Init, tuple[type[PooledConv2d], type[nn.Conv1d], type[nn.Conv2d]]] = {
    "default": (PooledConv2d, nn.Conv1d, nn.Conv2d),
    "identity": (_ZeroPooledConv2d, _ZeroConv1d, _ZeroConv2d),
}
"""Classes of a gate's last layer: of a pooled map, of a sequence of channels, of a map."""


def gate(z: Tensor, init: Init) -> Tensor:
    """sigmoid(z), or 2 sigmoid(z), which is exactly 1 where the layer before it starts at zero."""
    return 2 * z.sigmoid() if init == "identity" else z.sigmoid()


def hidden_channels(name: str, channels: int, reduction: int) -> int:
    """`channels` divided by `reduction`, at least 1.

    Raises:
        SpecError: `reduction` is below 1.
    """
    if reduction < 1:
        raise SpecError(f"attention {name}(reduction={reduction}): the reduction must be at least 1")
    return max(1, channels // reduction)


def odd_kernel(name: str, kernel_size: int) -> int:
    """The kernel size.

    Raises:
        SpecError: it is even, or not from 1 to 255.
    """
    if not 1 <= kernel_size <= MAX_KERNEL or kernel_size % 2 == 0:
        raise SpecError(f"attention {name}(kernel_size={kernel_size}): it must be odd, from 1 to {MAX_KERNEL}")
    return kernel_size
