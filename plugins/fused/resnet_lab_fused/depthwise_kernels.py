"""Kernels of a depthwise 3x3 convolution. Legend: N batch, H W pixels of the input, K L of the output, C channels.

Maps are channels-last, (N, H, W, C) in memory; weights are (C, 9); sums are float32. A program has ROWS rows, COLUMNS
columns and CHANNELS channels of the output, and goes down row by row: each row of a map is loaded once, at its three
shifts, and used for all rows of the result that it belongs to.
"""

# ruff: noqa: N803 (sizes are named as in the legend, and constants of compilation are written as such)

import triton
import triton.language as tl


@triton.jit
def _tap(weight, c, keep, index: tl.constexpr):
    """One weight of each channel, (1, channels)."""
    return tl.load(weight + c * 9 + index, keep, other=0.0).to(tl.float32)[None, :]


@triton.jit
def _tile(image, row, columns, c, keep, H, W, C):
    """A tile (columns, channels) of a row; zero outside the map."""
    inside = (columns >= 0) & (columns < W) & (row >= 0) & (row < H)
    tile = tl.load(image + (row * W + columns)[:, None] * C + c[None, :], inside[:, None] & keep[None, :], other=0.0)
    return tile.to(tl.float32)


@triton.jit
def _put(image, row, columns, c, keep, H, W, C, values):
    inside = (columns < W) & (row < H)
    to = image + (row * W + columns)[:, None] * C + c[None, :]
    tl.store(to, values.to(image.dtype.element_ty), inside[:, None] & keep[None, :])


@triton.jit
def forward(
    x,
    weight,
    bias,
    out,
    H,
    W,
    K,
    L,
    C,
    STRIDE: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Convolution with stride 1 or 2 and a border of zeros, one pixel wide."""
    across = tl.cdiv(L, COLUMNS)
    first = tl.program_id(0) // across * ROWS
    q = tl.program_id(0) % across * COLUMNS + tl.arange(0, COLUMNS)
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    keep = c < C
    n = tl.program_id(2).to(tl.int64)
    x += n * H * W * C
    out += n * K * L * C
    w00, w01, w02 = _tap(weight, c, keep, 0), _tap(weight, c, keep, 1), _tap(weight, c, keep, 2)
    w10, w11, w12 = _tap(weight, c, keep, 3), _tap(weight, c, keep, 4), _tap(weight, c, keep, 5)
    w20, w21, w22 = _tap(weight, c, keep, 6), _tap(weight, c, keep, 7), _tap(weight, c, keep, 8)
    constant = tl.zeros((1, CHANNELS), tl.float32)
    if HAS_BIAS:
        constant += tl.load(bias + c, keep, other=0.0).to(tl.float32)[None, :]
    left, middle, right = STRIDE * q - 1, STRIDE * q, STRIDE * q + 1
    if STRIDE == 1:
        above = tl.zeros((COLUMNS, CHANNELS), tl.float32)  # of the row before, without its last row of the filter
        here = tl.zeros((COLUMNS, CHANNELS), tl.float32)  # of this row, so far
        for row in range(first - 1, first + ROWS + 1):
            a = _tile(x, row, left, c, keep, H, W, C)
            b = _tile(x, row, middle, c, keep, H, W, C)
            d = _tile(x, row, right, c, keep, H, W, C)
            if (row > first) & (row <= K):
                _put(out, row - 1, q, c, keep, K, L, C, above + (w20 * a + w21 * b + w22 * d) + constant)
            above = here + (w10 * a + w11 * b + w12 * d)
            here = w00 * a + w01 * b + w02 * d
    else:
        a = _tile(x, 2 * first - 1, left, c, keep, H, W, C)
        b = _tile(x, 2 * first - 1, middle, c, keep, H, W, C)
        d = _tile(x, 2 * first - 1, right, c, keep, H, W, C)
        here = w00 * a + w01 * b + w02 * d
        for row in range(first, tl.minimum(first + ROWS, K)):
            a = _tile(x, 2 * row, left, c, keep, H, W, C)
            b = _tile(x, 2 * row, middle, c, keep, H, W, C)
            d = _tile(x, 2 * row, right, c, keep, H, W, C)
            here += w10 * a + w11 * b + w12 * d
            a = _tile(x, 2 * row + 1, left, c, keep, H, W, C)
            b = _tile(x, 2 * row + 1, middle, c, keep, H, W, C)
            d = _tile(x, 2 * row + 1, right, c, keep, H, W, C)
            _put(out, row, q, c, keep, K, L, C, here + (w20 * a + w21 * b + w22 * d) + constant)
            here = w00 * a + w01 * b + w02 * d


@triton.jit
def _sum(to, c, keep, C, index: tl.constexpr, values):
    tl.store(to + index * C + c, tl.sum(values, 0), keep)


@triton.jit
def backward(
    gradient,
    x,
    weight,
    of_x,
    sums,
    H,
    W,
    K,
    L,
    C,
    STRIDE: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Gradient of x, and each program's share of those of the nine weights and the bias, `sums` (programs, 10, C).

    At stride 2 a pixel of the gradient has four of x, and each is read once.
    """
    across = tl.cdiv(L, COLUMNS)
    first = tl.program_id(0) // across * ROWS
    q = tl.program_id(0) % across * COLUMNS + tl.arange(0, COLUMNS)
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    keep = c < C
    n = tl.program_id(2).to(tl.int64)
    gradient += n * K * L * C
    x += n * H * W * C
    of_x += n * H * W * C
    w00, w01, w02 = _tap(weight, c, keep, 0), _tap(weight, c, keep, 1), _tap(weight, c, keep, 2)
    w10, w11, w12 = _tap(weight, c, keep, 3), _tap(weight, c, keep, 4), _tap(weight, c, keep, 5)
    w20, w21, w22 = _tap(weight, c, keep, 6), _tap(weight, c, keep, 7), _tap(weight, c, keep, 8)
    s00 = tl.zeros((COLUMNS, CHANNELS), tl.float32)
    s01, s02, s10, s11, s12, s20, s21, s22, total = s00, s00, s00, s00, s00, s00, s00, s00, s00
    if STRIDE == 1:
        a2 = _tile(gradient, first - 1, q - 1, c, keep, K, L, C)
        b2 = _tile(gradient, first - 1, q, c, keep, K, L, C)
        d2 = _tile(gradient, first - 1, q + 1, c, keep, K, L, C)
        a1 = _tile(gradient, first, q - 1, c, keep, K, L, C)
        b1 = _tile(gradient, first, q, c, keep, K, L, C)
        d1 = _tile(gradient, first, q + 1, c, keep, K, L, C)
        for row in range(first, tl.minimum(first + ROWS, K)):
            a0 = _tile(gradient, row + 1, q - 1, c, keep, K, L, C)
            b0 = _tile(gradient, row + 1, q, c, keep, K, L, C)
            d0 = _tile(gradient, row + 1, q + 1, c, keep, K, L, C)
            value = _tile(x, row, q, c, keep, H, W, C)
            s00 += value * d0
            s01 += value * b0
            s02 += value * a0
            s10 += value * d1
            s11 += value * b1
            s12 += value * a1
            s20 += value * d2
            s21 += value * b2
            s22 += value * a2
            total += b1
            result = w00 * d0 + w01 * b0 + w02 * a0 + w10 * d1 + w11 * b1 + w12 * a1 + w20 * d2 + w21 * b2 + w22 * a2
            _put(of_x, row, q, c, keep, H, W, C, result)
            a2, b2, d2 = a1, b1, d1
            a1, b1, d1 = a0, b0, d0
    else:
        b1 = _tile(gradient, first, q, c, keep, K, L, C)
        d1 = _tile(gradient, first, q + 1, c, keep, K, L, C)
        for row in range(first, tl.minimum(first + ROWS, K)):
            b0 = _tile(gradient, row + 1, q, c, keep, K, L, C)
            d0 = _tile(gradient, row + 1, q + 1, c, keep, K, L, C)
            total += b1
            value = _tile(x, 2 * row, 2 * q, c, keep, H, W, C)
            s11 += value * b1
            _put(of_x, 2 * row, 2 * q, c, keep, H, W, C, w11 * b1)
            value = _tile(x, 2 * row, 2 * q + 1, c, keep, H, W, C)
            s12 += value * b1
            s10 += value * d1
            _put(of_x, 2 * row, 2 * q + 1, c, keep, H, W, C, w12 * b1 + w10 * d1)
            value = _tile(x, 2 * row + 1, 2 * q, c, keep, H, W, C)
            s21 += value * b1
            s01 += value * b0
            _put(of_x, 2 * row + 1, 2 * q, c, keep, H, W, C, w21 * b1 + w01 * b0)
            value = _tile(x, 2 * row + 1, 2 * q + 1, c, keep, H, W, C)
            s22 += value * b1
            s20 += value * d1
            s02 += value * b0
            s00 += value * d0
            _put(of_x, 2 * row + 1, 2 * q + 1, c, keep, H, W, C, w22 * b1 + w20 * d1 + w02 * b0 + w00 * d0)
            b1, d1 = b0, d0
    sums += (n * tl.num_programs(0) + tl.program_id(0)) * 10 * C
    _sum(sums, c, keep, C, 0, s00)
    _sum(sums, c, keep, C, 1, s01)
    _sum(sums, c, keep, C, 2, s02)
    _sum(sums, c, keep, C, 3, s10)
    _sum(sums, c, keep, C, 4, s11)
    _sum(sums, c, keep, C, 5, s12)
    _sum(sums, c, keep, C, 6, s20)
    _sum(sums, c, keep, C, 7, s21)
    _sum(sums, c, keep, C, 8, s22)
    _sum(sums, c, keep, C, 9, total)
