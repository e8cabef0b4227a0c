"""CBAM at the end of a residual branch. Legend: N batch, C channels, H W pixels, P = H W.

act(CBAM(norm(x)) + identity): Woo et al. 2018, arXiv:1807.06521, equations 2 and 3; the norm is Ioffe and Szegedy 2015,
arXiv:1502.03167. Norm, identity and activation may each be left out. Forward, x is read three times, the identity once,
and the result written once; kept for the gradient are x, the identity and vectors. Backward, the gradient and the
identity are read once, x three times; the inner gradient, which is also the identity's, is written and read once, and
the gradient of x written once. The sums that the norm needs follow from those that the gates need, without a pass.

Each kernel is an operator of its own, so that torch's compiler sees what stands between them, and fuses that.
"""

from typing import Any

import torch
import triton
from torch import Tensor
from torch.nn import functional as F

from resnet_lab_fused import gate_kernels as kernels
from resnet_lab_fused.launching import launch, refuse_second_derivatives, tile

CHUNK, PIXELS, CHANNELS = 256, 16, 128
"""Pixels of a program, and its tile."""

SHORT, NARROW = 32, 64
"""The tile, pixels by channels, of a program that goes through all channels."""

SHIFT, SCALE, BIAS, RECIPROCAL, VARIANCE = range(5)
"""Rows of `affine` (5, C): the norm's mean, weight / deviation, bias, 1 / deviation, variance."""

NORM = slice(SCALE, BIAS + 1)

EXTREMUM, TIES = 1, 2
"""Rows of `statistics` (4, N, C) after the mean: what the norm makes the maximum, and how many pixels share it. Row
3 has sums of squared deviations."""

POOLED = slice(0, EXTREMUM + 1)


# Operators, one per kernel. Maps x, identity and gradients are (N, C, H, W), channels-last; all else is float32: shift
# (C,) and scales (2, N, C) as in `gate_kernels`, spatial (N, H, W), pools (N, 3, H, W), shares (N, 2, H, W).


def _splits(x: Tensor) -> int:
    return -(-x.shape[2] * x.shape[3] // CHUNK)


def _blocks(x: Tensor) -> int:
    return -(-x.shape[1] // tile(x.shape[1], CHANNELS))


def _launch(kernel: Any, x: Tensor, arguments: tuple[Tensor, ...], **constants: Any) -> None:
    """Run a kernel over blocks of channels and chunks of pixels of each image of x."""
    n, channels, height, width = x.shape
    sizes = {"CHUNK": CHUNK, "PIXELS": PIXELS, "CHANNELS": tile(channels, CHANNELS)}
    launch(kernel, (n, _blocks(x), _splits(x)), (*arguments, height * width, channels), **constants, **sizes)


def _float(x: Tensor, *shape: int) -> Tensor:
    return torch.empty(shape, dtype=torch.float32, device=x.device)


@torch.library.custom_op("resnet_lab_fused::pixel_statistics", mutates_args=())
def pixel_statistics(x: Tensor, weight: Tensor | None) -> Tensor:
    """Mean, squared deviations, maximum (by the sign of the norm's weight) and its ties: (splits, 4, N, C)."""
    out = _empty_statistics(x, weight)
    has_weight = weight is not None
    _launch(kernels.pixel_statistics, x, (x, weight if has_weight else x, out), HAS_WEIGHT=has_weight)
    return out


@pixel_statistics.register_fake
def _empty_statistics(x: Tensor, weight: Tensor | None) -> Tensor:
    return _float(x, _splits(x), 4, x.shape[0], x.shape[1])


@torch.library.custom_op("resnet_lab_fused::channel_statistics", mutates_args=())
def channel_statistics(x: Tensor, shift: Tensor, scales: Tensor) -> Tensor:
    """Pools of z: mean, maximum and its ties over channels."""
    n, channels, height, width = x.shape
    out = _empty_pools(x, shift, scales)
    launch(
        kernels.channel_statistics,
        (triton.cdiv(height * width, SHORT), n),
        (x, shift, scales, out, height * width, channels),
        PIXELS=SHORT,
        CHANNELS=tile(channels, NARROW),
    )
    return out


@channel_statistics.register_fake
def _empty_pools(x: Tensor, shift: Tensor, scales: Tensor) -> Tensor:
    return _float(x, x.shape[0], 3, x.shape[2], x.shape[3])


@torch.library.custom_op("resnet_lab_fused::gated", mutates_args=())
def gated(x: Tensor, identity: Tensor | None, shift: Tensor, scales: Tensor, spatial: Tensor, act: str) -> Tensor:
    """act(spatial z + identity), as x."""
    out = torch.empty_like(x)
    other = x if identity is None else identity
    _launch(kernels.gated, x, (x, other, shift, scales, spatial, out), HAS_IDENTITY=identity is not None, ACT=act)
    return out


@gated.register_fake
def _(x: Tensor, identity: Tensor | None, shift: Tensor, scales: Tensor, spatial: Tensor, act: str) -> Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("resnet_lab_fused::backward_gated", mutates_args=())
def backward_gated(
    gradient: Tensor, x: Tensor, identity: Tensor | None, shift: Tensor, scales: Tensor, spatial: Tensor, act: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Inner gradient G (empty where there is no activation), sums of G z and, over pixels, of spatial G and G (x - m).

    The sums are (blocks, N, H, W) and (splits, 2, N, C).
    """
    inner, by_pixel, by_channel = _empty_gradients(gradient, x, identity, shift, scales, spatial, act)
    other = x if identity is None else identity
    _launch(
        kernels.backward_gated,
        x,
        (gradient, x, other, shift, scales, spatial, inner, by_pixel, by_channel),
        HAS_IDENTITY=identity is not None,
        ACT=act,
    )
    return inner, by_pixel, by_channel


@backward_gated.register_fake
def _empty_gradients(
    gradient: Tensor, x: Tensor, identity: Tensor | None, shift: Tensor, scales: Tensor, spatial: Tensor, act: str
) -> tuple[Tensor, Tensor, Tensor]:
    n, channels, height, width = x.shape
    inner = x.new_empty(0) if act == "none" else torch.empty_like(x)
    return inner, _float(x, _blocks(x), n, height, width), _float(x, _splits(x), 2, n, channels)


@torch.library.custom_op("resnet_lab_fused::backward_pools", mutates_args=())
def backward_pools(x: Tensor, shift: Tensor, scales: Tensor, pools: Tensor, shares: Tensor) -> Tensor:
    """Sums over pixels of the gradient that z gets from its pools, and of it times x - m: (splits, 2, N, C)."""
    out = _empty_sums(x, shift, scales, pools, shares)
    _launch(kernels.backward_pools, x, (x, shift, scales, pools, shares, out))
    return out


@backward_pools.register_fake
def _empty_sums(x: Tensor, shift: Tensor, scales: Tensor, pools: Tensor, shares: Tensor) -> Tensor:
    return _float(x, _splits(x), 2, x.shape[0], x.shape[1])


@torch.library.custom_op("resnet_lab_fused::backward_input", mutates_args=())
def backward_input(
    inner: Tensor,
    x: Tensor,
    shift: Tensor,
    scales: Tensor,
    spatial: Tensor,
    pools: Tensor,
    shares: Tensor,
    extremum: Tensor,
    by_image: Tensor,
    by_batch: Tensor,
) -> Tensor:
    """Gradient of x; extremum (N, C), by_image (2, N, C), by_batch (2, C)."""
    out = torch.empty_like(x)
    vectors = shift, scales, spatial, pools, shares, extremum, by_image, by_batch
    _launch(kernels.backward_input, x, (inner, x, *vectors, out))
    return out


@backward_input.register_fake
def _(inner: Tensor, x: Tensor, *vectors: Tensor) -> Tensor:
    return torch.empty_like(x)


for _operator in (pixel_statistics, channel_statistics, gated, backward_gated, backward_pools, backward_input):
    refuse_second_derivatives(_operator)


# What stands between them


class GatedBranch(torch.autograd.Function):
    """act(CBAM(norm(x)) + identity), in the type of x, and the norm's `affine` (5, C).

    Arguments:
        x: (N, C, H, W), channels-last, in float32, bfloat16 or float16.
        identity: as x, or None.
        weight, bias: of the norm (C,), or None for no norm.
        mean, variance: of the norm in evaluation (C,), or None for those of the batch.
        fc1, fc2, conv: weights of CBAM, (hidden, C, 1, 1), (C, hidden, 1, 1) and (1, 2, k, k).
        act: `none`, `relu`, `gelu` or `silu`.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        identity: Tensor | None,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor | None,
        variance: Tensor | None,
        eps: float,
        fc1: Tensor,
        fc2: Tensor,
        conv: Tensor,
        act: str,
    ) -> tuple[Tensor, Tensor]:
        with torch.autocast(x.device.type, enabled=False):
            pixels = x.shape[2] * x.shape[3]
            statistics = _statistics(pixel_statistics(x, weight), pixels, weight)
            affine = _affine(statistics, pixels, weight, bias, mean, variance, eps)
            gate = _mlp(statistics, affine, fc1, fc2)[-1].sigmoid()
            scales = gate * affine[NORM, None]
            pools = channel_statistics(x, affine[SHIFT], scales)
            spatial = F.conv2d(pools[:, :2], conv, padding=conv.shape[-1] // 2).sigmoid()[:, 0]
            out = gated(x, identity, affine[SHIFT], scales, spatial, act)
        ctx.save_for_backward(x, identity, fc1, fc2, conv, affine, statistics, gate, pools, spatial)
        ctx.act, ctx.has_norm, ctx.in_training = act, weight is not None, weight is not None and mean is None
        ctx.mark_non_differentiable(affine)
        return out, affine

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Any) -> tuple[Tensor | None, ...]:
        x, identity, fc1, fc2, conv, affine, statistics, gate, pools, spatial = ctx.saved_tensors
        n, channels, height, width = x.shape
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        with torch.autocast(x.device.type, enabled=False):
            shift, scales = affine[SHIFT], gate * affine[NORM, None]
            inner, by_pixel, of_gated = backward_gated(gradient, x, identity, shift, scales, spatial, ctx.act)
            inner = gradient if ctx.act == "none" else inner
            logits = by_pixel.sum(0) * spatial * (1 - spatial)  # N H W
            of_pools, of_conv = _convolution_backward(logits[:, None], pools[:, :2], conv)
            shares = torch.stack((of_pools[:, 0] / channels, of_pools[:, 1] / pools[:, 2]), 1)  # N 2 H W
            of_maps = backward_pools(x, shift, scales, pools, shares)
            total, product = of_gated.sum(0) + of_maps.sum(0)  # of the gradient of z, and of it times x - m: N C
            of_gate = affine[SCALE] * product + affine[BIAS] * total
            by_image, of_fc1, of_fc2 = _mlp_backward(of_gate * gate * (1 - gate), statistics, affine, fc1, fc2)
            total = gate * total + by_image.sum(0)  # of the gradient of y
            product = gate * product + (by_image * (statistics[POOLED] - shift)).sum(0)
            of_bias, of_weight = total.sum(0), product.sum(0) * affine[RECIPROCAL]
            step = affine[SCALE] / (n * height * width) if ctx.in_training else torch.zeros_like(shift)
            by_batch = torch.stack((step * of_bias, step * of_weight * affine[RECIPROCAL]))
            by_image = torch.stack((by_image[0] / (height * width), by_image[1] / statistics[TIES])) * affine[SCALE]
            vectors = shift, scales, spatial, pools, shares, statistics[EXTREMUM], by_image, by_batch
            of_x = backward_input(inner, x, *vectors)
        of_norm = (of_weight, of_bias) if ctx.has_norm else (None, None)
        of_layers = _like(fc1, of_fc1), _like(fc2, of_fc2), torch.empty_like(conv).copy_(of_conv)
        return of_x, None if identity is None else inner, *of_norm, None, None, None, *of_layers, None


def _statistics(parts: Tensor, pixels: int, weight: Tensor | None) -> Tensor:
    """Means, extrema, ties and squared deviations (4, N, C) of images, from those of their chunks."""
    means, squares, highs, ties = parts.unbind(1)
    starts = torch.arange(len(parts), device=parts.device)[:, None, None] * CHUNK
    sizes = (pixels - starts).clamp(max=CHUNK)
    mean = (means * sizes).sum(0) / pixels
    squares = (squares + sizes * (means - mean).square()).sum(0)
    high = highs.amax(0)
    ties = (ties * (highs == high)).sum(0)
    if weight is not None:
        high = torch.where(weight == 0, mean, torch.where(weight < 0, -high, high))
        ties = torch.where(weight == 0, pixels, ties)  # the norm makes all pixels equal
    return torch.stack((mean, high, ties, squares))


def _affine(
    statistics: Tensor,
    pixels: int,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    eps: float,
) -> Tensor:
    means, squares = statistics[0], statistics[-1]
    if weight is None or bias is None:
        zero, one = torch.zeros_like(means[0]), torch.ones_like(means[0])
        return torch.stack((zero, one, zero, one, one))
    if mean is None or variance is None:
        mean = means.mean(0)
        variance = (squares + pixels * (means - mean).square()).sum(0) / (pixels * len(means))
    reciprocal = (variance + eps).rsqrt()
    return torch.stack((mean, weight * reciprocal, bias, reciprocal, variance))


def _mlp(statistics: Tensor, affine: Tensor, fc1: Tensor, fc2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Means and maxima over pixels (2, N, C), hidden values (2, N, hidden), and the gate's logits (N, C)."""
    pooled = affine[SCALE] * (statistics[POOLED] - affine[SHIFT]) + affine[BIAS]
    hidden = (pooled @ fc1.flatten(1).t()).relu()
    return pooled, hidden, hidden.sum(0) @ fc2.flatten(1).t()


def _mlp_backward(
    logits: Tensor, statistics: Tensor, affine: Tensor, fc1: Tensor, fc2: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of means and maxima over pixels (2, N, C), of fc1 and of fc2."""
    pooled, hidden, _ = _mlp(statistics, affine, fc1, fc2)
    of_fc2 = logits.t() @ hidden.sum(0)
    inside = (logits @ fc2.flatten(1)) * (hidden > 0)  # 2 N hidden
    of_fc1 = inside.flatten(0, 1).t() @ pooled.flatten(0, 1)
    return inside @ fc1.flatten(1), of_fc1, of_fc2


def _convolution_backward(gradient: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of input and weight of a convolution that keeps the size."""
    padding = [weight.shape[-1] // 2] * 2
    of_x, of_weight, _ = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, [1, 1], padding, [1, 1], False, [0, 0], 1, [True, True, False]
    )
    return of_x, of_weight


def _like(weight: Tensor, gradient: Tensor) -> Tensor:
    """A gradient (rows, columns) as that of a weight (rows, columns, 1, 1), with the weight's strides."""
    return gradient.contiguous().as_strided(weight.shape, weight.stride())
