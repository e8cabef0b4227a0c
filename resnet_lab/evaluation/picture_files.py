"""Pictures as WebP files that together keep within a budget. Legend: C channels."""

import io
from collections.abc import Iterator, Sequence
from math import isqrt

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BUDGET = 5_500_000
"""Bytes of all pictures together; base64 makes a third more of them."""

QUALITY = 78

TYPICAL = 0.25
"""Bytes per pixel of a painting at `QUALITY`; noise takes three times as many."""


def affordable_side(pictures: int) -> int:
    """The largest side, in pixels, at which so many pictures keep within the budget as a rule."""
    return max(1, isqrt(int(BUDGET / TYPICAL / pictures)))


def as_files(squares: Sequence[NDArray[np.uint8]]) -> tuple[list[bytes], int]:
    """WebP files that keep within the budget, and their side: where they would not, all are made smaller.

    Args:
        squares: pictures of one size, uint8, shape (side, side, C).
    """
    side = len(squares[0])
    while True:
        files = list(_files(squares, side))
        total = sum(map(len, files))
        if total <= BUDGET or side == 1:
            return files, side
        side = max(1, int(0.95 * side * (BUDGET / total) ** 0.5))


def _files(squares: Sequence[NDArray[np.uint8]], side: int) -> Iterator[bytes]:
    for square in squares:
        image = Image.fromarray(square.squeeze(-1) if square.shape[-1] == 1 else square).convert("RGB")
        if side < len(square):
            image = image.resize((side, side), Image.Resampling.LANCZOS)
        content = io.BytesIO()
        image.save(content, format="WEBP", quality=QUALITY)
        yield content.getvalue()
