"""Two pictures laid over one another, and how alike they then are. Legend: P pairs, S side in cells.

The second picture is scaled and shifted along both axes, with gain and offset of its grey levels left free, by
Gauss-Newton steps (Lucas and Kanade 1981; Baker and Matthews 2004, "Lucas-Kanade 20 years on", part 3), coarse to fine.
Then the structure that both show is compared: grey levels less their local mean, over their local standard deviation,
as in the structure term of SSIM (Wang et al. 2004), which no smooth tone curve changes.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from resnet_lab.data.signatures import SIDE

Levels = NDArray[np.float32]
"""Grey levels, shape (P, S, S)."""

Places = NDArray[np.float32]
"""Scale and shift down, scale and shift across, shape (P, 4): (-1, 1) are a picture's edges."""

COARSE_STEPS, FINE_STEPS = 4, 3
LONGEST_STEP = 0.12
LOCAL = 2.0
"""Standard deviation in cells of the neighbourhood that structure is relative to."""

NOISE = 12.0
"""Grey levels: neighbourhoods that vary by less count for less."""

RELATED = 0.5
"""Structure of pairs below which, once they are roughly laid over one another, they are not compared any finer."""

OVERLAP = 0.42
"""Least overlap: share of a picture's area that must lie in the other's, inside of a rim."""

STRETCHED = 1.4
"""Most that a picture may be scaled by along an axis."""

PAIRS_AT_ONCE = 256


def likeness(one: NDArray[np.uint8], other: NDArray[np.uint8], scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """Correlation of the structure of pictures laid over one another, shape (P,); 0 for those that have little to do.

    Args:
        one, other: grey levels, shape (P, 32, 32).
        scale: of the other's part that the first is looked for in, shape (P,): 0.8 is its middle, 1.25 more than it.
    """
    found = np.zeros(len(one), dtype=np.float32)

    def compare(start: int) -> None:
        piece = slice(start, start + PAIRS_AT_ONCE)
        found[piece] = _likeness(one[piece].astype(np.float32), other[piece].astype(np.float32), scale[piece])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(compare, range(0, len(one), PAIRS_AT_ONCE)))
    return found


def _likeness(one: Levels, other: Levels, scale: NDArray[np.float32]) -> NDArray[np.float32]:
    nothing = np.zeros_like(scale)
    places = np.stack([scale, nothing, scale, nothing], axis=1)
    coarse_one, coarse_other = _halved(one), _halved(other)
    places = _align(_standardised(coarse_one), _standardised(coarse_other), places, COARSE_STEPS)
    found = _correlation(_structure(coarse_one, LOCAL / 2), _structure(coarse_other, LOCAL / 2), places)
    related = np.flatnonzero(found >= RELATED)
    found[found < RELATED] = 0
    one, other = _structure(one[related], LOCAL), _structure(other[related], LOCAL)
    found[related] = _correlation(one, other, _align(one, other, places[related], FINE_STEPS))
    return found


def _align(one: Levels, other: Levels, places: Places, steps: int) -> Places:
    """Places at which the other is more like the first."""
    side = one.shape[-1]
    along = _cell_centres(side)
    for _ in range(steps):
        (down, across), inside = _sampling(places, side)
        weights_down, slopes_down = _interpolation(down)
        weights_across, slopes_across = (each.transpose(0, 2, 1) for each in _interpolation(across))
        rows = weights_down @ other
        moved, downhill, sideways = rows @ weights_across, slopes_down @ other @ weights_across, rows @ slopes_across
        terms = [moved, np.ones_like(moved), downhill * along[:, None], downhill, sideways * along, sideways]
        design = (np.stack(terms, axis=1) * inside[:, None]).reshape(len(one), len(terms), side * side)
        normal = design @ design.transpose(0, 2, 1) + np.eye(len(terms), dtype=np.float32)  # never singular
        solved = np.linalg.solve(normal, design @ one.reshape(len(one), side * side, 1))[..., 0]
        gain = np.maximum(np.abs(solved[:, :1]), 0.2)
        places = places + np.clip(solved[:, 2:] / gain * 2 / side, -LONGEST_STEP, LONGEST_STEP)
    return places


def _correlation(one: Levels, other: Levels, places: Places) -> NDArray[np.float32]:
    """Correlation over cells in both pictures, away from the edges; 0 where there are too few, or one is distorted."""
    side = one.shape[-1]
    (down, across), inside = _sampling(places, side)
    moved = _interpolation(down)[0] @ other @ _interpolation(across)[0].transpose(0, 2, 1)
    number = inside.sum(axis=(1, 2))
    centred = [
        (each - ((each * inside).sum(axis=(1, 2)) / np.maximum(number, 1))[:, None, None]) * inside
        for each in (one, moved)
    ]
    product, first, second = (
        (a * b).sum(axis=(1, 2)) for a, b in ((centred[0], centred[1]), (centred[0],) * 2, (centred[1],) * 2)
    )
    scales = places[:, ::2]
    usable = (number >= OVERLAP * side**2) & (scales < STRETCHED).all(axis=1) & (scales > 1 / STRETCHED).all(axis=1)
    return np.where(usable, product / np.sqrt(first * second + 1e-6), 0).astype(np.float32)


def _sampling(places: Places, side: int) -> tuple[list[Levels], Levels]:
    """Positions of the first picture's rows and columns in the other, in cells, shape (P, S); cells in both."""
    along, rim = _cell_centres(side), side / 16
    own = np.arange(side)
    positions, inside = [], []
    for axis in (0, 2):
        at = (places[:, axis, None] * along + places[:, axis + 1, None] + 1) * (side / 2) - 0.5
        inside.append((at > rim - 0.5) & (at < side - 0.5 - rim) & (own >= rim) & (own < side - rim))
        positions.append(np.clip(at, 0, side - 1))
    return positions, (inside[0][:, :, None] & inside[1][:, None, :]).astype(np.float32)


def _interpolation(positions: Levels) -> tuple[Levels, Levels]:
    """Weights that interpolate linearly at positions, and those of the slope there, shape (P, S, S)."""
    distance = positions[:, :, None] - np.arange(positions.shape[1], dtype=np.float32)
    before, at, behind = (np.maximum(0, 1 - np.abs(distance + shift)) for shift in (-0.5, 0, 0.5))
    return at.astype(np.float32), (behind - before).astype(np.float32)


def _cell_centres(side: int) -> Levels:
    centres: Levels = np.linspace(1 / side - 1, 1 - 1 / side, side, dtype=np.float32)
    return centres


def _halved(levels: Levels) -> Levels:
    number, side, _ = levels.shape
    return np.asarray(levels.reshape(number, side // 2, 2, side // 2, 2).mean(axis=(2, 4)), dtype=np.float32)


def _standardised(levels: Levels) -> Levels:
    smooth = _blurred(levels, 0.7)
    smooth -= smooth.mean(axis=(1, 2), keepdims=True)
    smooth /= smooth.std(axis=(1, 2), keepdims=True) + 1
    return smooth


def _structure(levels: Levels, local: float) -> Levels:
    """Grey levels relative to their neighbourhood."""
    detail = levels - _blurred(levels, local)
    detail /= np.sqrt(_blurred(detail * detail, local) + NOISE**2)
    return detail


def _blurred(levels: Levels, deviation: float) -> Levels:
    matrix = _BLURS[levels.shape[-1], deviation]
    return np.asarray(matrix @ levels @ matrix.T, dtype=np.float32)


def _blur(side: int, deviation: float) -> Levels:
    identity = np.eye(side, dtype=np.float32)
    return np.asarray(gaussian_filter1d(identity, deviation, axis=0, mode="nearest"), dtype=np.float32)


_BLURS = {key: _blur(*key) for key in ((SIDE, LOCAL), (SIDE // 2, LOCAL / 2), (SIDE // 2, 0.7))}
