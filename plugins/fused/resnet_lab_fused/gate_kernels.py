"""Kernels of CBAM at the end of a residual branch. Legend: N batch, P pixels (H x W), C channels.

Maps are channels-last, so that they lie in memory as (N, P, C); all else is float32. With x the map, m, a and b a
channel's shift, scale and bias (the norm before CBAM), g the channel gate (N, C) and s the spatial gate (N, P):

    y = a (x - m) + b        z = g y        out = act(s z + identity)

No pass writes y or z: each computes them from x again. Where a maximum is met again in a later pass it is compared
exactly, so these kernels are to be compiled without contraction of multiplications and additions (`FUSION`).
"""

import triton
import triton.language as tl

FUSION = False
"""Of `enable_fp_fusion`: contracted in one kernel and not in the next, z would differ in its last bit."""


@triton.jit
def _normalised(x, affine, c, keep, C):
    """y of a tile of x, (pixels, channels)."""
    shift = tl.load(affine + c, keep, other=0.0)
    scale = tl.load(affine + C + c, keep, other=0.0)
    bias = tl.load(affine + 2 * C + c, keep, other=0.0)
    return scale * (x - shift) + bias


@triton.jit
def _activated(u, ACT: tl.constexpr):
    if ACT == "relu":
        u = tl.maximum(u, 0.0)
    elif ACT == "gelu":
        u = 0.5 * u * (1.0 + tl.erf(u * 0.7071067811865476))
    elif ACT == "silu":
        u = u * tl.sigmoid(u)
    return u


@triton.jit
def _slope(u, ACT: tl.constexpr):
    """Derivative of the activation."""
    if ACT == "relu":
        slope = tl.where(u > 0.0, 1.0, 0.0)
    elif ACT == "gelu":
        slope = 0.5 * (1.0 + tl.erf(u * 0.7071067811865476)) + u * tl.exp(-0.5 * u * u) * 0.3989422804014327
    else:
        gate = tl.sigmoid(u)
        slope = gate * (1.0 + u * (1.0 - gate))
    return slope


@triton.jit
def pixel_statistics(
    x,
    weight,
    out,
    P,
    C,
    HAS_WEIGHT: tl.constexpr,
    CHUNK: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Mean, sum of squared deviations, maximum, and how many pixels share it, of each channel of an image.

    Where the norm's weight is negative the maximum is that of -x: of what the norm makes of it. One read of x. `out` is
    (splits, 4, N, C): a program has CHUNK pixels.
    """
    n, block, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    c = block * CHANNELS + tl.arange(0, CHANNELS)
    keep = c < C
    sign = tl.full((CHANNELS,), 1.0, tl.float32)
    if HAS_WEIGHT:
        sign = tl.where(tl.load(weight + c, keep, other=0.0) < 0.0, -1.0, 1.0)
    count = 0.0
    mean = tl.zeros((CHANNELS,), tl.float32)
    squares = tl.zeros((CHANNELS,), tl.float32)
    high = tl.full((CHANNELS,), float("-inf"), tl.float32)
    ties = tl.zeros((CHANNELS,), tl.float32)
    base = x + n.to(tl.int64) * P * C
    for start in range(split * CHUNK, tl.minimum((split + 1) * CHUNK, P), PIXELS):
        p = start + tl.arange(0, PIXELS)
        mask = (p < P)[:, None] & keep[None, :]
        tile = tl.load(base + p[:, None] * C + c[None, :], mask, other=0.0).to(tl.float32)
        size = tl.minimum(P - start, PIXELS).to(tl.float32)
        tile_mean = tl.sum(tile, 0) / size
        away = tl.where(mask, tile - tile_mean[None, :], 0.0)
        moved = tile_mean - mean
        total = count + size
        mean += moved * (size / total)
        squares += tl.sum(away * away, 0) + moved * moved * (count * size / total)
        count = total
        signed = tl.where(mask, tile * sign[None, :], float("-inf"))
        top = tl.max(signed, 0)
        same = tl.sum(tl.where(signed == top[None, :], 1.0, 0.0), 0)
        higher = tl.maximum(high, top)
        ties = tl.where(high == higher, ties, 0.0) + tl.where(top == higher, same, 0.0)
        high = higher
    N = tl.num_programs(0)
    to = out + (split * 4 * N + n) * C + c
    tl.store(to, mean, keep)
    tl.store(to + N * C, squares, keep)
    tl.store(to + 2 * N * C, high, keep)
    tl.store(to + 3 * N * C, ties, keep)


@triton.jit
def channel_statistics(x, affine, gate, out, P, C, PIXELS: tl.constexpr, CHANNELS: tl.constexpr):
    """Mean and maximum of z over channels, and how many share the maximum: (N, 3, P). One read of x."""
    n = tl.program_id(1)
    p = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    inside = p < P
    total = tl.zeros((PIXELS,), tl.float32)
    high = tl.full((PIXELS,), float("-inf"), tl.float32)
    ties = tl.zeros((PIXELS,), tl.float32)
    rows = x + n.to(tl.int64) * P * C + p[:, None] * C
    for start in range(0, C, CHANNELS):
        c = start + tl.arange(0, CHANNELS)
        keep = c < C
        mask = inside[:, None] & keep[None, :]
        tile = tl.load(rows + c[None, :], mask, other=0.0).to(tl.float32)
        z = _normalised(tile, affine, c, keep, C) * tl.load(gate + n * C + c, keep, other=0.0)[None, :]
        total += tl.sum(z, 1)
        z = tl.where(mask, z, float("-inf"))
        top = tl.max(z, 1)
        same = tl.sum(tl.where(z == top[:, None], 1.0, 0.0), 1)
        higher = tl.maximum(high, top)
        ties = tl.where(high == higher, ties, 0.0) + tl.where(top == higher, same, 0.0)
        high = higher
    to = out + n * 3 * P + p
    tl.store(to, total / C, inside)
    tl.store(to + P, high, inside)
    tl.store(to + 2 * P, ties, inside)


@triton.jit
def gated(
    x,
    identity,
    affine,
    gate,
    spatial,
    out,
    P,
    C,
    HAS_IDENTITY: tl.constexpr,
    ACT: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Write act(s z + identity). One read of x, one of the identity, one write."""
    n = tl.program_id(2)
    p = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    keep, inside = c < C, p < P
    mask = inside[:, None] & keep[None, :]
    offset = n.to(tl.int64) * P * C + p[:, None] * C + c[None, :]
    tile = tl.load(x + offset, mask, other=0.0).to(tl.float32)
    z = _normalised(tile, affine, c, keep, C) * tl.load(gate + n * C + c, keep, other=0.0)[None, :]
    u = z * tl.load(spatial + n * P + p, inside, other=0.0)[:, None]
    if HAS_IDENTITY:
        u += tl.load(identity + offset, mask, other=0.0).to(tl.float32)
    tl.store(out + offset, _activated(u, ACT).to(out.dtype.element_ty), mask)


@triton.jit
def backward_gated(
    gradient,
    x,
    identity,
    affine,
    gate,
    spatial,
    inner,
    by_pixel,
    by_channel,
    P,
    C,
    HAS_IDENTITY: tl.constexpr,
    ACT: tl.constexpr,
    CHUNK: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Gradient of s z + identity, G, which is written if it is not `gradient` itself, and sums of it over one read.

    `by_pixel` (channel blocks, N, P): sums of G z. `by_channel` (splits, 2, N, C): sums of s G and s G (x - m).
    """
    n, block, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    N = tl.num_programs(0)
    c = block * CHANNELS + tl.arange(0, CHANNELS)
    keep = c < C
    weights = tl.load(gate + n * C + c, keep, other=0.0)
    shift = tl.load(affine + c, keep, other=0.0)
    sums = tl.zeros((CHANNELS,), tl.float32)
    products = tl.zeros((CHANNELS,), tl.float32)
    image = n.to(tl.int64) * P * C
    for start in range(split * CHUNK, tl.minimum((split + 1) * CHUNK, P), PIXELS):
        p = start + tl.arange(0, PIXELS)
        inside = p < P
        mask = inside[:, None] & keep[None, :]
        offset = image + p[:, None] * C + c[None, :]
        tile = tl.load(x + offset, mask, other=0.0).to(tl.float32)
        z = _normalised(tile, affine, c, keep, C) * weights[None, :]
        s = tl.load(spatial + n * P + p, inside, other=0.0)[:, None]
        given = tl.load(gradient + offset, mask, other=0.0)
        G = given.to(tl.float32)
        if ACT != "none":
            u = z * s
            if HAS_IDENTITY:
                u += tl.load(identity + offset, mask, other=0.0).to(tl.float32)
            rounded = (G * _slope(u, ACT)).to(given.dtype)
            tl.store(inner + offset, rounded, mask)
            G = rounded.to(tl.float32)
        tl.store(by_pixel + (block * N + n) * P + p, tl.sum(G * z, 1), inside)
        scaled = G * s
        sums += tl.sum(scaled, 0)
        products += tl.sum(scaled * (tile - shift[None, :]), 0)
    to = by_channel + (split * 2 * N + n) * C + c
    tl.store(to, sums, keep)
    tl.store(to + N * C, products, keep)


@triton.jit
def _of_pools(z, maps, pooled, n, p, inside, P):
    """Gradient of z that came by way of its mean and maximum over channels."""
    high = tl.load(maps + n * 3 * P + P + p, inside, other=0.0)[:, None]
    mean = tl.load(pooled + n * 2 * P + p, inside, other=0.0)[:, None]
    share = tl.load(pooled + n * 2 * P + P + p, inside, other=0.0)[:, None]
    return mean + tl.where(z == high, share, 0.0)


@triton.jit
def backward_pools(
    x,
    affine,
    gate,
    maps,
    pooled,
    by_channel,
    P,
    C,
    CHUNK: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Sums over pixels of what z gets from its means and maxima, d, and of d (x - m): (splits, 2, N, C).

    `pooled` is (N, 2, P): what each channel gets of the mean, and each that is the maximum. One read of x.
    """
    n, block, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    N = tl.num_programs(0)
    c = block * CHANNELS + tl.arange(0, CHANNELS)
    keep = c < C
    weights = tl.load(gate + n * C + c, keep, other=0.0)
    shift = tl.load(affine + c, keep, other=0.0)
    sums = tl.zeros((CHANNELS,), tl.float32)
    products = tl.zeros((CHANNELS,), tl.float32)
    base = x + n.to(tl.int64) * P * C
    for start in range(split * CHUNK, tl.minimum((split + 1) * CHUNK, P), PIXELS):
        p = start + tl.arange(0, PIXELS)
        inside = p < P
        mask = inside[:, None] & keep[None, :]
        tile = tl.load(base + p[:, None] * C + c[None, :], mask, other=0.0).to(tl.float32)
        z = _normalised(tile, affine, c, keep, C) * weights[None, :]
        d = tl.where(mask, _of_pools(z, maps, pooled, n, p, inside, P), 0.0)
        sums += tl.sum(d, 0)
        products += tl.sum(d * (tile - shift[None, :]), 0)
    to = by_channel + (split * 2 * N + n) * C + c
    tl.store(to, sums, keep)
    tl.store(to + N * C, products, keep)


@triton.jit
def backward_input(
    inner,
    x,
    affine,
    gate,
    spatial,
    maps,
    pooled,
    statistics,
    by_image,
    by_batch,
    out,
    P,
    C,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Gradient of x. One read of G, one of x, one write.

    `by_image` (2, N, C): what each pixel's y gets of the mean over pixels, and each that is the maximum. `by_batch`
    (2, C): what the norm's mean and variance take from each x, constant and by x - m.
    """
    n = tl.program_id(2)
    N = tl.num_programs(2)
    p = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    keep, inside = c < C, p < P
    mask = inside[:, None] & keep[None, :]
    offset = n.to(tl.int64) * P * C + p[:, None] * C + c[None, :]
    tile = tl.load(x + offset, mask, other=0.0).to(tl.float32)
    weights = tl.load(gate + n * C + c, keep, other=0.0)[None, :]
    shift = tl.load(affine + c, keep, other=0.0)[None, :]
    scale = tl.load(affine + C + c, keep, other=0.0)[None, :]
    z = _normalised(tile, affine, c, keep, C) * weights
    G = tl.load(inner + offset, mask, other=0.0).to(tl.float32)
    d = G * tl.load(spatial + n * P + p, inside, other=0.0)[:, None]
    d += _of_pools(z, maps, pooled, n, p, inside, P)
    extremum = tl.load(statistics + (2 * N + n) * C + c, keep, other=0.0)[None, :]
    mean = tl.load(by_image + n * C + c, keep, other=0.0)[None, :]
    share = tl.load(by_image + (N + n) * C + c, keep, other=0.0)[None, :]
    d = weights * d + mean + tl.where((tile == extremum) | (scale == 0.0), share, 0.0)
    constant = tl.load(by_batch + c, keep, other=0.0)[None, :]
    slope = tl.load(by_batch + C + c, keep, other=0.0)[None, :]
    result = scale * d - constant - slope * (tile - shift)
    tl.store(out + offset, result.to(out.dtype.element_ty), mask)
