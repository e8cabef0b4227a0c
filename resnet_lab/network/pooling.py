"""Means of feature maps whose gradients keep the map's memory layout. Legend: N batch, C channels, H W pixels.

torch's mean gives a channels-last map a channels-first gradient. Residual additions hand that layout on to all earlier
blocks, where an operator that meets both layouts takes many times as long (torch 2.14.1, on a CPU).
"""

import torch
from torch import Tensor


def pixel_mean(x: Tensor) -> Tensor:
    """The mean over pixels, (N, C, H, W) to (N, C, 1, 1)."""
    if not is_channels_last(x):
        return x.mean((2, 3), keepdim=True)
    return x.permute(0, 2, 3, 1).mean((1, 2), keepdim=True).permute(0, 3, 1, 2)


def channel_mean(x: Tensor) -> Tensor:
    """The mean over channels, (N, C, H, W) to (N, 1, H, W)."""
    if not is_channels_last(x):
        return x.mean(1, keepdim=True)
    return x.permute(0, 2, 3, 1).mean(3, keepdim=True).permute(0, 3, 1, 2)


def is_channels_last(x: Tensor) -> bool:
    """Whether the channels of a pixel lie side by side in memory, where that makes a difference."""
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
