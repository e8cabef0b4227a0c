"""Stand-ins for larger things."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from resnet_lab.data.image_format import ImageFormat


class ArrayPixels:
    """Decoded images in memory, shape (N, S, S, C)."""

    def __init__(self, array: NDArray[np.uint8]) -> None:
        self.array = array
        self.image_format = ImageFormat(array.shape[1], array.shape[3])

    def gather(self, positions: NDArray[np.int64], out: Iterable[NDArray[np.uint8]]) -> None:
        for position, target in zip(positions.tolist(), out, strict=True):
            target[...] = self.array[position]
