"""Shortcuts where the shape changes. Legend: N batch, C channels, H W pixels."""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from resnet_lab.core.errors import SpecError
from resnet_lab.network.hookspecs import Register, hookimpl
from resnet_lab.network.model import ShortcutParts


def projection(
    in_channels: int, out_channels: int, stride: int, parts: ShortcutParts, *, kernel_size: int = 1
) -> nn.Module:
    """A strided 1x1 convolution and a norm: option B of He et al. 2015, arXiv:1512.03385, section 3.3.

    Where the stride is more than 1, `kernel_size` may be 3, as in SENet-154.

    Raises:
        SpecError: `kernel_size` is neither 1 nor 3.
    """
    if kernel_size not in (1, 3):
        raise SpecError(f"shortcut projection(kernel_size={kernel_size}): the kernel size must be 1 or 3")
    size = kernel_size if stride > 1 else 1
    return nn.Sequential(parts.conv(in_channels, out_channels, size, stride), parts.norm(out_channels))


def pooled_projection(in_channels: int, out_channels: int, stride: int, parts: ShortcutParts) -> nn.Module:
    """A 2x2 average pool, then a 1x1 convolution and a norm: ResNet-D, arXiv:1812.01187, figure 2c.

    In a stage dilated in place of a stride the pool has stride 1, with zeros at the right and lower edge, as in timm.
    """
    pool: nn.Module = nn.Identity()
    if stride > 1:
        pool = nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False)
    elif parts.dilation > 1:
        pool = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.AvgPool2d(2, 1))
    return nn.Sequential(pool, parts.pointwise(in_channels, out_channels, 1), parts.norm(out_channels))


class ZeroPadShortcut(nn.Module):
    """Every `stride`-th pixel, with zeros for the new channels: option A of He et al. 2015, section 3.3.

    The paper does not specify where the zeros stand: behind the old channels (`zeros="end"`), or half of them before
    (`"both"`), as some public code does.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, *, zeros: Literal["end", "both"] = "end"
    ) -> None:
        super().__init__()
        new_channels = out_channels - in_channels
        self.before = new_channels // 2 if zeros == "both" else 0
        self.behind = new_channels - self.before
        self.every = nn.AvgPool2d(1, stride)  # unlike a slice's, its gradient keeps the memory layout

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(self.every(x), (0, 0, 0, 0, self.before, self.behind))  # C grows


def zero_pad(
    in_channels: int, out_channels: int, stride: int, parts: ShortcutParts, *, zeros: Literal["end", "both"] = "end"
) -> nn.Module:
    """Every `stride`-th pixel, with zeros for the new channels.

    Raises:
        SpecError: fewer channels than before.
    """
    if out_channels < in_channels:
        raise SpecError(f"a zero_pad shortcut cannot lead from {in_channels} to {out_channels} channels")
    return ZeroPadShortcut(in_channels, out_channels, stride, zeros=zeros)


@hookimpl
def register_shortcuts(register: Register) -> None:
    for factory in (projection, zero_pad, pooled_projection):
        register(factory.__name__, factory)
