"""CBAM at the end of a residual branch as an operator of torch. Legend: N batch, C channels, H W pixels, P = H W.

act(CBAM(norm(x)) + identity): Woo et al. 2018, arXiv:1807.06521, equations 2 and 3; the norm is Ioffe and Szegedy 2015,
arXiv:1502.03167. Norm, identity and activation may each be left out. Forward, x is read three times, the identity once,
and the result written once; kept for the gradient are x, the identity and vectors. Backward, the gradient and the
identity are read once, x three times; the inner gradient, which is also the identity's, is written and read once, and
the gradient of x written once. The sums that the norm needs follow from those that the gates need, without a pass.
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

EXTREMUM, TIES = 1, 2
"""Rows of `statistics` (4, N, C), after the mean: what the norm makes the maximum, and how many pixels share it. The last
are sums of squared deviations."""

NORM = slice(SCALE, BIAS + 1)
POOLED = slice(0, EXTREMUM + 1)


@torch.library.custom_op("resnet_lab_fused::gated_branch", mutates_args=())
def gated_branch(
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
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """act(CBAM(norm(x)) + identity), in the type of x, and what its gradient needs.

    Args:
        x: (N, C, H, W), channels-last, in float32, bfloat16 or float16.
        identity: as x, or None.
        weight: of the norm (C,), or None for no norm.
        mean: of the norm, where it is in evaluation; otherwise the batch's is taken.
        fc1: (hidden, C, 1, 1).
        fc2: (C, hidden, 1, 1).
        conv: (1, 2, k, k).
        act: one of `kernels.ACTIVATIONS`.

    Returns:
        The result, `affine`, `statistics`, channel gate (N, C), pools of channels (N, 3, H, W), spatial gate (N, H, W).
    """
    n, channels, height, width = x.shape
    pixels = height * width
    with torch.autocast(x.device.type, enabled=False):
        statistics = _statistics(x, weight)
        affine = _affine(statistics, pixels, weight, bias, mean, variance, eps)
        gate = _mlp(statistics, affine, fc1, fc2)[-1].sigmoid()
        scales = gate * affine[NORM, None]
        pools = torch.empty((n, 3, height, width), device=x.device)
        launch(
            kernels.channel_statistics,
            (triton.cdiv(pixels, SHORT), n),
            (x, affine[SHIFT], scales, pools, pixels, channels),
            PIXELS=SHORT,
            CHANNELS=tile(channels, NARROW),
        )
        spatial = F.conv2d(pools[:, :2], conv, padding=conv.shape[-1] // 2).sigmoid()[:, 0]
        out = torch.empty_like(x)
        _launch(
            kernels.gated,
            x,
            (x, x if identity is None else identity, affine[SHIFT], scales, spatial, out),
            HAS_IDENTITY=identity is not None,
            ACT=act,
        )
    return out, affine, statistics, gate, pools, spatial


@gated_branch.register_fake
def _(x, identity, weight, bias, mean, variance, eps, fc1, fc2, conv, act):  # type: ignore[no-untyped-def]
    n, channels, height, width = x.shape
    float32 = x.new_empty((), dtype=torch.float32)
    return (
        torch.empty_like(x),
        float32.new_empty(5, channels),
        float32.new_empty(4, n, channels),
        float32.new_empty(n, channels),
        float32.new_empty(n, 3, height, width),
        float32.new_empty(n, height, width),
    )


def _launch(kernel: Any, x: Tensor, arguments: tuple[Tensor, ...], **constants: Any) -> None:
    """Run a kernel over chunks of pixels and blocks of channels of each image of x."""
    n, channels, height, width = x.shape
    pixels, block = height * width, tile(channels, CHANNELS)
    grid = (n, triton.cdiv(channels, block), triton.cdiv(pixels, CHUNK))
    sizes = {"CHUNK": CHUNK, "PIXELS": PIXELS, "CHANNELS": block}
    launch(kernel, grid, (*arguments, pixels, channels), **constants, **sizes)


def _statistics(x: Tensor, weight: Tensor | None) -> Tensor:
    n, channels, height, width = x.shape
    pixels = height * width
    parts = torch.empty((triton.cdiv(pixels, CHUNK), 4, n, channels), device=x.device)
    has_weight = weight is not None
    _launch(kernels.pixel_statistics, x, (x, weight if has_weight else x, parts), HAS_WEIGHT=has_weight)
    mean, squares, high, ties = _merged(parts, pixels)
    if weight is not None:
        high = torch.where(weight == 0, mean, torch.where(weight < 0, -high, high))
        ties = torch.where(weight == 0, float(pixels), ties)  # the norm makes all pixels equal
    return torch.stack((mean, high, ties, squares))


def _merged(parts: Tensor, pixels: int) -> Tensor:
    """Statistics (4, N, C) of whole images, as the kernel gives them of their chunks, (splits, 4, N, C)."""
    if len(parts) == 1:
        return parts[0]
    sizes = torch.full((len(parts), 1, 1), float(CHUNK), device=parts.device)
    sizes[-1] = pixels - CHUNK * (len(parts) - 1)
    means, squares, highs, ties = parts.unbind(1)
    mean = (means * sizes).sum(0) / pixels
    high = highs.amax(0)
    squares = (squares + sizes * (means - mean).square()).sum(0)
    return torch.stack((mean, squares, high, (ties * (highs == high)).sum(0)))


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


@torch.library.custom_op("resnet_lab_fused::gated_branch_backward", mutates_args=())
def gated_branch_backward(
    gradient: Tensor,
    x: Tensor,
    identity: Tensor | None,
    has_norm: bool,
    in_training: bool,
    fc1: Tensor,
    fc2: Tensor,
    conv: Tensor,
    act: str,
    affine: Tensor,
    statistics: Tensor,
    gate: Tensor,
    pools: Tensor,
    spatial: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, the branch before the activation, (weight, bias) of the norm (2, C), fc1, fc2 and conv.

    Where there is no activation the second is empty: it is `gradient`.
    """
    n, channels, height, width = x.shape
    pixels = height * width
    blocks, splits = triton.cdiv(channels, tile(channels, CHANNELS)), triton.cdiv(pixels, CHUNK)
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    inner = gradient.new_empty(0) if act == "none" else torch.empty_like(gradient)
    with torch.autocast(x.device.type, enabled=False):
        shift, scales = affine[SHIFT], gate * affine[NORM, None]
        by_pixel = torch.empty((blocks, n, height, width), device=x.device)
        sums = torch.empty((2, splits, 2, n, channels), device=x.device)
        _launch(
            kernels.backward_gated,
            x,
            (gradient, x, x if identity is None else identity, shift, scales, spatial, inner, by_pixel, sums[0]),
            HAS_IDENTITY=identity is not None,
            ACT=act,
        )
        logits = by_pixel.sum(0) * spatial * (1 - spatial)  # N H W
        of_pools, of_conv, _ = torch.ops.aten.convolution_backward(
            logits[:, None],
            pools[:, :2],
            conv,
            None,
            [1, 1],
            [conv.shape[-1] // 2] * 2,
            [1, 1],
            False,
            [0, 0],
            1,
            [True, True, False],
        )
        shares = torch.stack((of_pools[:, 0] / channels, of_pools[:, 1] / pools[:, 2]), 1)  # N 2 H W
        _launch(kernels.backward_pools, x, (x, shift, scales, pools, shares, sums[1]))
        total, product = sums.sum((0, 1))  # of the gradient of z, and of it times x - m: N C
        of_gate = affine[SCALE] * product + affine[BIAS] * total
        by_image, of_fc1, of_fc2 = _mlp_backward(of_gate * gate * (1 - gate), statistics, affine, fc1, fc2)
        total = gate * total + by_image.sum(0)  # of the gradient of y
        product = gate * product + (by_image * (statistics[POOLED] - affine[SHIFT])).sum(0)
        of_bias, of_weight = total.sum(0), product.sum(0) * affine[RECIPROCAL]
        by_batch = torch.zeros_like(affine[:2])
        if has_norm and in_training:
            step = affine[SCALE] / (n * pixels)
            by_batch = torch.stack((step * of_bias, step * of_weight * affine[RECIPROCAL]))
        by_image = affine[SCALE] * by_image / torch.stack((torch.full_like(gate, pixels), statistics[TIES]))
        of_x = torch.empty_like(x)
        _launch(
            kernels.backward_input,
            x,
            (
                *(gradient if act == "none" else inner, x, shift, scales, spatial),
                *(pools, shares, statistics[EXTREMUM], by_image, by_batch, of_x),
            ),
        )
    of_norm = torch.stack((of_weight, of_bias))
    return of_x, inner, of_norm, _like(fc1, of_fc1), _like(fc2, of_fc2), _like(conv, of_conv)


def _like(weight: Tensor, gradient: Tensor) -> Tensor:
    """A gradient in its weight's shape and memory layout."""
    return torch.empty_like(weight).copy_(gradient.view_as(weight))


def _mlp_backward(
    logits: Tensor, statistics: Tensor, affine: Tensor, fc1: Tensor, fc2: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of means and maxima over pixels (2, N, C), of fc1 and of fc2."""
    pooled, hidden, _ = _mlp(statistics, affine, fc1, fc2)
    of_fc2 = logits.t() @ hidden.sum(0)
    inside = (logits @ fc2.flatten(1)) * (hidden > 0)  # 2 N hidden
    of_fc1 = inside.flatten(0, 1).t() @ pooled.flatten(0, 1)
    return inside @ fc1.flatten(1), of_fc1, of_fc2


@gated_branch_backward.register_fake
def _(gradient, x, identity, has_norm, in_training, fc1, fc2, conv, act, *kept):  # type: ignore[no-untyped-def]
    inner = gradient.new_empty(0) if act == "none" else torch.empty_like(x)
    affine = kept[0]
    return (
        torch.empty_like(x),
        inner,
        torch.empty_like(affine[:2]),
        torch.empty_like(fc1),
        torch.empty_like(fc2),
        torch.empty_like(conv),
    )


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, identity, weight, _, mean, _, _, fc1, fc2, conv, ctx.act = inputs
    ctx.has_norm, ctx.in_training = weight is not None, mean is None
    ctx.save_for_backward(x, identity, fc1, fc2, conv, *output[1:])


def _gradients(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    x, identity, fc1, fc2, conv, *kept = ctx.saved_tensors
    of_x, inner, of_norm, of_fc1, of_fc2, of_conv = gated_branch_backward(
        gradient, x, identity, ctx.has_norm, ctx.in_training, fc1, fc2, conv, ctx.act, *kept
    )
    of_identity = None if identity is None else gradient if ctx.act == "none" else inner
    of_weight, of_bias = of_norm if ctx.has_norm else (None, None)
    return of_x, of_identity, of_weight, of_bias, None, None, None, of_fc1, of_fc2, of_conv, None


gated_branch.register_autograd(_gradients, setup_context=_keep)
refuse_second_derivatives(gated_branch_backward)
