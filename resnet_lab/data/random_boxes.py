"""Random rectangles of images. Legend: N images, S size."""

from math import log
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from resnet_lab.data.draws import Draws

Box: TypeAlias = tuple[int, int, int, int]
"""Top, left, height and width, in pixels."""

Scale: TypeAlias = float | NDArray[np.float64]
"""One of all images, or one of each, (N, 1)."""

ATTEMPTS = 10
"""Attempts at drawing a box that fits, as in torchvision."""


def random_boxes(
    draws: Draws, name: str, scale: tuple[Scale, Scale], ratio: tuple[float, float], size: int, largest: int
) -> list[Box | None]:
    """A random rectangle in each image of `size` x `size` pixels, as torchvision draws it; None where none fits.

    Args:
        name: of the draws.
        scale: lowest and highest share of the area, of all images or of each.
        ratio: lowest and highest width / height.
        largest: width and height allowed.
    """
    numbers = draws.uniform(name, 2 * ATTEMPTS + 2).numpy()
    area = size**2 * (scale[0] + (scale[1] - scale[0]) * numbers[:, :ATTEMPTS])  # N ATTEMPTS
    low, high = log(ratio[0]), log(ratio[1])
    aspect = np.exp(low + (high - low) * numbers[:, ATTEMPTS:-2])
    sides = np.stack([np.sqrt(area / aspect), np.sqrt(area * aspect)]).round()  # 2 N ATTEMPTS: height, width
    fits: NDArray[np.bool_] = np.all((sides >= 1) & (sides <= largest), axis=0)  # N ATTEMPTS
    sides = sides[:, np.arange(len(numbers)), fits.argmax(axis=1)].T  # N 2, of the first attempt that fits
    corners = np.floor(numbers[:, -2:] * (size - sides + 1))
    boxes = np.concatenate([corners, sides], axis=1).astype(int).tolist()
    return [
        (top, left, height, width) if fitting else None
        for (top, left, height, width), fitting in zip(boxes, np.any(fits, axis=1).tolist(), strict=True)
    ]
