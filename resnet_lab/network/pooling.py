"""Means and maxima of feature maps, with gradients that a CPU computes fast. Legend: N batch, C channels, H W pixels.

torch's mean gives a channels-last map a channels-first gradient. Residual additions hand that layout on to all earlier
blocks, where an operator that meets both layouts takes many times as long. The gradient of its maximum counts ties in
64-bit integers, which takes up to eight times as long as in the map's own type (torch 2.14.1). Values and gradients
here are the same numbers, but for the rounding of means of columns.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary


def _traced_whole(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A function that symbolic tracing (`torch.fx`) records as one call: what it does depends on the map's layout."""

    @wraps(function)
    def called(x: Tensor) -> Tensor:
        if has_torch_function_unary(x):
            traced: Tensor = handle_torch_function(called, (x,), x)
            return traced
        return function(x)

    return called


@_traced_whole
def pixel_mean(x: Tensor) -> Tensor:
    """The mean over pixels, (N, C, H, W) to (N, C, 1, 1)."""
    if not is_channels_last(x):
        return x.mean((2, 3), keepdim=True)
    return x.permute(0, 2, 3, 1).mean((1, 2), keepdim=True).permute(0, 3, 1, 2)


@_traced_whole
def channel_mean(x: Tensor) -> Tensor:
    """The mean over channels, (N, C, H, W) to (N, 1, H, W)."""
    if not is_channels_last(x):
        return x.mean(1, keepdim=True)
    return x.permute(0, 2, 3, 1).mean(3, keepdim=True).permute(0, 3, 1, 2)


@_traced_whole
def row_mean(x: Tensor) -> Tensor:
    """The mean over the pixels of each row, (N, C, H, W) to (N, C, H, 1)."""
    if not is_channels_last(x):
        return x.mean(3, keepdim=True)
    means = (
        x.permute(0, 2, 3, 1).mean(2, keepdim=True).flatten(1)
    )  # N HC: flat, so that the gradient's own layout is left behind
    return means.view(-1, x.shape[2], 1, x.shape[1]).permute(0, 3, 1, 2)


@_traced_whole
def column_mean(x: Tensor) -> Tensor:
    """The mean over the pixels of each column, (N, C, H, W) to (N, C, 1, W)."""
    if not is_channels_last(x):
        return x.mean(2, keepdim=True)
    means = x.permute(0, 2, 3, 1).mean(1, keepdim=True).flatten(1)  # N WC
    return means.view(-1, 1, x.shape[3], x.shape[1]).permute(0, 3, 1, 2)


@_traced_whole
def pixel_max(x: Tensor) -> Tensor:
    """The maximum over pixels, (N, C, H, W) to (N, C, 1, 1); equal pixels share its gradient."""
    return _maximum(x, (2, 3))


@_traced_whole
def channel_max(x: Tensor) -> Tensor:
    """The maximum over channels, (N, C, H, W) to (N, 1, H, W); equal channels share its gradient."""
    return _maximum(x, (1,))


def is_channels_last(x: Tensor) -> bool:
    """Whether the channels of a pixel lie side by side in memory, where that makes a difference."""
    _, channels, _, width = x.shape
    return x.stride()[1:] == (1, width * channels, channels) and not x.is_contiguous()


def _maximum(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return x.amax(dims, keepdim=True)
    if not torch.is_grad_enabled():
        return _amax(x, dims)
    maximum: Tensor = _Maximum.apply(x, dims)
    return maximum


def _amax(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """`amax`, of channels-last maps on a CPU by the way to the same number that takes down to a tenth of the time."""
    if x.device.type == "cpu" and is_channels_last(x):
        if dims == (2, 3):
            return x.permute(0, 2, 3, 1).amax(1, keepdim=True).amax(2, keepdim=True).permute(0, 3, 1, 2)
        if x.dtype in (torch.bfloat16, torch.float16):
            return x.float().amax(dims, keepdim=True).to(x.dtype)
    return x.amax(dims, keepdim=True)


class _Maximum(torch.autograd.Function):
    """`amax`, with the gradient that torch gives it."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, dims: tuple[int, ...]) -> Tensor:
        return _amax(x, dims)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, tuple[int, ...]], output: Tensor) -> None:
        x, ctx.dims = inputs
        ctx.save_for_backward(x, output)
        ctx.save_for_forward(x, output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        x, maximum = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient is to be differentiated, or transformed
            ties = _ties(x, maximum)
            return ties * (gradient / ties.sum(ctx.dims, keepdim=True)), None
        ties = torch.eq(x, maximum, out=torch.empty_like(x))
        return ties.mul_(gradient / ties.sum(ctx.dims, keepdim=True)), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        ties = _ties(*ctx.saved_tensors)
        return (ties * tangent).sum(ctx.dims, keepdim=True) / ties.sum(ctx.dims, keepdim=True)


def _ties(x: Tensor, maximum: Tensor) -> Tensor:
    """1 where a value is the maximum, else 0, in the type of `x`."""
    return (x == maximum).to(x.dtype)
