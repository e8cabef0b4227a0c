"""Kernels of CBAM at the end of a residual branch. Legend: N batch, P pixels (H x W), C channels.

Maps are channels-last, so that they lie in memory as (N, P, C); all else is float32. With x the map, m, a and b a
channel's shift, scale and bias (the norm before CBAM), g the channel gate (N, C) and s the spatial gate (N, P):

    z = g (a (x - m) + b)        out = act(s z + identity)

No pass writes z: each computes it from x again, with `shift` m (C,) and `scales` g a and g b (2, N, C). Where a maximum
is met again in a later pass it is compared exactly, so these kernels have to be compiled without contraction of
products and sums (`launching.launch`). A program has CHUNK pixels and CHANNELS channels of an image.
"""

# ruff: noqa: N803, N806 (sizes are named as in the legend, and constants of compilation are written as such)

import triton
import triton.language as tl


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
def _channels(C, CHANNELS: tl.constexpr):
    """Channels of a program, and which of them there are."""
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    return c, c < C


@triton.jit
def _vector(array, row, c, keep, C):
    """Values of a program's channels in a row of an array, (1, channels)."""
    return tl.load(array + row * C + c, keep, other=0.0)[None, :]


@triton.jit
def _pixel(array, row, p, inside, P):
    """Values of a tile's pixels in a row of an array, (pixels, 1)."""
    return tl.load(array + row * P + p, inside, other=0.0)[:, None]


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
    """Mean, sum of squared deviations, maximum, and how many pixels share it: (splits, 4, N, C). One read of x.

    Where the norm's weight is negative the maximum is that of -x: of what the norm makes of it.
    """
    n, split = tl.program_id(0), tl.program_id(2)
    c, keep = _channels(C, CHANNELS)
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
def channel_statistics(x, shift, scales, out, P, C, PIXELS: tl.constexpr, CHANNELS: tl.constexpr):
    """Mean and maximum of z over channels, and how many share the maximum: (N, 3, P). One read of x."""
    n = tl.program_id(1)
    N = tl.num_programs(1)
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
        away = tile - _vector(shift, 0, c, keep, C)
        z = _vector(scales, n, c, keep, C) * away + _vector(scales, N + n, c, keep, C)
        total += tl.sum(tl.where(mask, z, 0.0), 1)
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
    shift,
    scales,
    spatial,
    out,
    P,
    C,
    HAS_IDENTITY: tl.constexpr,
    ACT: tl.constexpr,
    CHUNK: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Write act(s z + identity). One read of x, one of the identity, one write."""
    n, split = tl.program_id(0), tl.program_id(2)
    N = tl.num_programs(0)
    c, keep = _channels(C, CHANNELS)
    m = _vector(shift, 0, c, keep, C)
    ga, gb = _vector(scales, n, c, keep, C), _vector(scales, N + n, c, keep, C)
    image = n.to(tl.int64) * P * C
    for start in range(split * CHUNK, tl.minimum((split + 1) * CHUNK, P), PIXELS):
        p = start + tl.arange(0, PIXELS)
        inside = p < P
        mask = inside[:, None] & keep[None, :]
        offset = image + p[:, None] * C + c[None, :]
        tile = tl.load(x + offset, mask, other=0.0).to(tl.float32)
        u = (ga * (tile - m) + gb) * _pixel(spatial, n, p, inside, P)
        if HAS_IDENTITY:
            u += tl.load(identity + offset, mask, other=0.0).to(tl.float32)
        tl.store(out + offset, _activated(u, ACT).to(out.dtype.element_ty), mask)


@triton.jit
def backward_gated(
    gradient,
    x,
    identity,
    shift,
    scales,
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
    """G, the gradient of s z + identity, and sums of it. One read of x, identity and gradient, one write of G.

    Where there is no activation G is the gradient, and not written. `by_pixel` (channel blocks, N, P): sums of G z.
    `by_channel` (splits, 2, N, C): sums of s G and s G (x - m).
    """
    n, block, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    N = tl.num_programs(0)
    c, keep = _channels(C, CHANNELS)
    m = _vector(shift, 0, c, keep, C)
    ga, gb = _vector(scales, n, c, keep, C), _vector(scales, N + n, c, keep, C)
    sums = tl.zeros((CHANNELS,), tl.float32)
    products = tl.zeros((CHANNELS,), tl.float32)
    image = n.to(tl.int64) * P * C
    for start in range(split * CHUNK, tl.minimum((split + 1) * CHUNK, P), PIXELS):
        p = start + tl.arange(0, PIXELS)
        inside = p < P
        mask = inside[:, None] & keep[None, :]
        offset = image + p[:, None] * C + c[None, :]
        away = tl.load(x + offset, mask, other=0.0).to(tl.float32) - m
        z = ga * away + gb
        s = _pixel(spatial, n, p, inside, P)
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
        products += tl.sum(scaled * away, 0)
    to = by_channel + (split * 2 * N + n) * C + c
    tl.store(to, sums, keep)
    tl.store(to + N * C, products, keep)


@triton.jit
def _of_pools(z, pools, shares, n, p, inside, P):
    """Gradient that z gets from its mean and maximum over channels."""
    high = _pixel(pools, 3 * n + 1, p, inside, P)
    return _pixel(shares, 2 * n, p, inside, P) + tl.where(z == high, _pixel(shares, 2 * n + 1, p, inside, P), 0.0)


@triton.jit
def backward_pools(
    x,
    shift,
    scales,
    pools,
    shares,
    by_channel,
    P,
    C,
    CHUNK: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Sums over pixels of the gradient d that z gets from its pools, and of d (x - m): (splits, 2, N, C).

    `shares` (N, 2, P): what each channel gets of the mean, and each that is the maximum. One read of x.
    """
    n, split = tl.program_id(0), tl.program_id(2)
    N = tl.num_programs(0)
    c, keep = _channels(C, CHANNELS)
    m = _vector(shift, 0, c, keep, C)
    ga, gb = _vector(scales, n, c, keep, C), _vector(scales, N + n, c, keep, C)
    sums = tl.zeros((CHANNELS,), tl.float32)
    products = tl.zeros((CHANNELS,), tl.float32)
    base = x + n.to(tl.int64) * P * C
    for start in range(split * CHUNK, tl.minimum((split + 1) * CHUNK, P), PIXELS):
        p = start + tl.arange(0, PIXELS)
        inside = p < P
        mask = inside[:, None] & keep[None, :]
        away = tl.load(base + p[:, None] * C + c[None, :], mask, other=0.0).to(tl.float32) - m
        d = tl.where(mask, _of_pools(ga * away + gb, pools, shares, n, p, inside, P), 0.0)
        sums += tl.sum(d, 0)
        products += tl.sum(d * away, 0)
    to = by_channel + (split * 2 * N + n) * C + c
    tl.store(to, sums, keep)
    tl.store(to + N * C, products, keep)


@triton.jit
def backward_input(
    inner,
    x,
    shift,
    scales,
    spatial,
    pools,
    shares,
    extremum,
    by_image,
    by_batch,
    out,
    P,
    C,
    CHUNK: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Gradient of x. One read of G, one of x, one write.

    `by_image` (2, N, C): what each pixel gets by the mean over pixels, and each that is the extremum (N, C). `by_batch`
    (2, C): what the norm's mean and variance take from each pixel, by a constant and by x - m.
    """
    n, split = tl.program_id(0), tl.program_id(2)
    N = tl.num_programs(0)
    c, keep = _channels(C, CHANNELS)
    m = _vector(shift, 0, c, keep, C)
    ga, gb = _vector(scales, n, c, keep, C), _vector(scales, N + n, c, keep, C)
    extreme = _vector(extremum, n, c, keep, C)
    mean, share = _vector(by_image, n, c, keep, C), _vector(by_image, N + n, c, keep, C)
    constant, slope = _vector(by_batch, 0, c, keep, C), _vector(by_batch, 1, c, keep, C)
    image = n.to(tl.int64) * P * C
    for start in range(split * CHUNK, tl.minimum((split + 1) * CHUNK, P), PIXELS):
        p = start + tl.arange(0, PIXELS)
        inside = p < P
        mask = inside[:, None] & keep[None, :]
        offset = image + p[:, None] * C + c[None, :]
        tile = tl.load(x + offset, mask, other=0.0).to(tl.float32)
        away = tile - m
        d = tl.load(inner + offset, mask, other=0.0).to(tl.float32) * _pixel(spatial, n, p, inside, P)
        d = ga * (d + _of_pools(ga * away + gb, pools, shares, n, p, inside, P))
        d += mean + tl.where(tile == extreme, share, 0.0)
        tl.store(out + offset, (d - constant - slope * away).to(out.dtype.element_ty), mask)
