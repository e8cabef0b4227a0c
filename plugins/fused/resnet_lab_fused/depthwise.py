"""The depthwise 3x3 convolution as an operator of torch. Legend: N batch, C channels, H W and K L pixels.

y[n, c, i, j] = bias[c] + sum over a, b in 0 .. 2 of w[c, a, b] x[n, c, stride i + a - 1, stride j + b - 1], x zero
outside the map. Forward reads x once and writes y; backward reads both once and writes the gradient of x. Gradients of
weights are summed in two steps, in a fixed order, so that they are the same in every run.
"""

from typing import Any

import torch
import triton
from torch import Tensor

from resnet_lab_fused import depthwise_kernels as kernels
from resnet_lab_fused.launching import launch, refuse_second_derivatives, tile

ROWS, COLUMNS, CHANNELS = 16, 16, 64
"""Rows of a program, and the tile in which it goes through them."""

BACKWARD_COLUMNS = 8
"""Of the backward pass, which keeps nine sums for each."""


def _programs(height: int, width: int, columns: int) -> int:
    return int(triton.cdiv(height, ROWS) * triton.cdiv(width, columns))


@torch.library.custom_op("resnet_lab_fused::depthwise", mutates_args=())
def depthwise(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    """Depthwise 3x3 convolution, (N, C, H, W) to (N, C, ceil(H / stride), ceil(W / stride)), in the type of x.

    Args:
        x: channels-last, in float32, bfloat16 or float16.
        weight: (C, 1, 3, 3).
        stride: 1 or 2.
    """
    n, channels, height, width = x.shape
    out = _empty_output(x, stride)
    block, (rows, columns) = tile(channels, CHANNELS), out.shape[2:]
    launch(
        kernels.forward,
        (_programs(rows, columns, COLUMNS), triton.cdiv(channels, block), n),
        (x, weight.contiguous(), weight if bias is None else bias, out, height, width, rows, columns, channels),
        STRIDE=stride,
        HAS_BIAS=bias is not None,
        ROWS=ROWS,
        COLUMNS=COLUMNS,
        CHANNELS=block,
    )
    return out


@depthwise.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    return _empty_output(x, stride)


def _empty_output(x: Tensor, stride: int) -> Tensor:
    n, channels, height, width = x.shape
    size = (n, channels, -(-height // stride), -(-width // stride))
    return torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


@torch.library.custom_op("resnet_lab_fused::depthwise_backward", mutates_args=())
def depthwise_backward(gradient: Tensor, x: Tensor, weight: Tensor, stride: int) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias; of the latter two in float32."""
    n, channels, height, width = x.shape
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    rows, columns = gradient.shape[2:]
    block, programs = tile(channels, CHANNELS), _programs(rows, columns, BACKWARD_COLUMNS)
    of_x = torch.empty_like(x)
    sums = torch.empty((n * programs, 10, channels), device=x.device)
    launch(
        kernels.backward,
        (programs, triton.cdiv(channels, block), n),
        (gradient, x, weight.contiguous(), of_x, sums, height, width, rows, columns, channels),
        STRIDE=stride,
        ROWS=ROWS,
        COLUMNS=BACKWARD_COLUMNS,
        CHANNELS=block,
    )
    total = sums.sum(0)  # 10 C
    return of_x, total[:9].t().reshape(channels, 1, 3, 3).contiguous(), total[9].clone()


@depthwise_backward.register_fake
def _(gradient: Tensor, x: Tensor, weight: Tensor, stride: int) -> tuple[Tensor, Tensor, Tensor]:
    float32 = weight.new_empty(weight.shape, dtype=torch.float32)
    return torch.empty_like(x), float32, float32.new_empty(len(weight))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, bias, ctx.stride = inputs
    ctx.bias_type = None if bias is None else bias.dtype
    ctx.save_for_backward(x, weight)


def _gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    of_x, of_weight, of_bias = depthwise_backward(gradient, x, weight, ctx.stride)
    return of_x, of_weight.to(weight.dtype), None if ctx.bias_type is None else of_bias.to(ctx.bias_type), None


depthwise.register_autograd(_gradients, setup_context=_keep)
refuse_second_derivatives(depthwise_backward)
