"""Signatures for near copies: the grey levels of a picture's content, whatever form it is given."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 32
"""Cells per side of a signature's grey levels."""

GRID = 112
"""Cells per side in which margins are searched."""

COMPARED_FROM = 64
"""Shorter side in pixels from which on two pictures are compared."""

CONTENT_FROM = 32
"""Shorter side within the margins, in pixels, from which on two pictures are compared."""

FLAT = 4
"""Standard deviation of grey levels 0 to 255 below which a picture has nothing to compare."""

MARGIN = 0.08
"""Share of the standard deviation that a margin's grey levels may differ from one another."""

MARGIN_SHARE = 0.95
"""Share of the cells of a line that must have the margin's grey level."""

MARGINS = 8
"""Most nested margins, such as a frame's and a mount's, that are taken off."""


def signature(picture: Image.Image) -> bytes:
    """Grey levels of an upright picture within its margins, stretched to 0 to 255: 32 rows of 32.

    Even margins, such as white that was added to make a picture square, are taken off.

    Args:
        picture: of mode L, RGB, or RGBA, which is seen on white.

    Returns:
        1024 bytes; none where the picture or its content is too small or too flat to compare.
    """
    if min(picture.size) < COMPARED_FROM:
        return b""
    grey = picture if picture.mode == "RGBA" else _in_grey(picture)  # one channel is resized sooner than three
    small = grey.resize((GRID, GRID), Image.Resampling.BILINEAR, reducing_gap=2.0)
    if small.mode == "RGBA":
        small = Image.alpha_composite(Image.new("RGBA", small.size, (255, 255, 255, 255)), small)
    small = _in_grey(small)
    cells = np.asarray(small, dtype=np.float32)
    left, top, right, bottom = _content(cells)
    sides = (right - left) * picture.width / GRID, (bottom - top) * picture.height / GRID
    if min(sides) < CONTENT_FROM or cells[top:bottom, left:right].std() < FLAT:
        return b""
    levels = _shares(top, bottom) @ cells @ _shares(left, right).T
    darkest, lightest = float(levels.min()), float(levels.max())
    stretched = np.rint((levels - darkest) * (255 / (lightest - darkest))).astype(np.uint8)
    return stretched.tobytes()


def _content(cells: NDArray[np.float32]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what is within even margins, in cells."""
    left, top, right, bottom = 0, 0, len(cells), len(cells)
    for _ in range(MARGINS):
        inside = cells[top:bottom, left:right]
        tolerance = max(1.0, MARGIN * float(inside.std()))
        above, below, before, behind = (
            _margin(lines, tolerance) for lines in (inside, inside[::-1], inside.T, inside.T[::-1])
        )
        height, width = inside.shape
        if not (above or below or before or behind) or above + below >= height or before + behind >= width:
            break
        left, top, right, bottom = left + before, top + above, right - behind, bottom - below
    side = len(cells)  # of a cut side the first line is mixed with the margin
    return left + (left > 0), top + (top > 0), right - (right < side), bottom - (bottom < side)


def _margin(lines: NDArray[np.float32], tolerance: float) -> int:
    """Number of leading lines that have the margin's grey level nearly everywhere."""
    first = lines[0]
    level = np.partition(first, len(first) // 2)[len(first) // 2]  # the median, sooner
    if np.count_nonzero(np.abs(first - level) < tolerance) < MARGIN_SHARE * len(first):
        return 0
    even = np.mean(np.abs(lines - level) < tolerance, axis=1) >= MARGIN_SHARE
    return len(lines) if even.all() else int(np.argmin(even))


def _shares(first: int, last: int) -> NDArray[np.float32]:
    """Share of each cell in the mean of each of SIDE equal parts between two edges, shape (SIDE, GRID)."""
    edges, cells = np.linspace(first, last, SIDE + 1), np.arange(GRID)
    within = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
    return np.asarray(np.clip(within, 0, None) * SIDE / (last - first), dtype=np.float32)


def _in_grey(image: Image.Image) -> Image.Image:
    return image if image.mode == "L" else image.convert("L")
