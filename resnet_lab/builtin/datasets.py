"""Data sets that need no download."""

import numpy as np
from PIL import Image

from resnet_lab.hookspecs import Register, hookimpl
from resnet_lab.images import ImageSet


def digits() -> ImageSet:
    """1,797 handwritten digits, 8x8 greyscale, ten classes: the UCI test part that scikit-learn carries.

    Alpaydin and Kaynak 1998, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository.
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    pixels = np.round(data.images * (255 / 16)).astype(np.uint8)  # N 8 8, grey levels 0 to 16
    return ImageSet(
        name="digits",
        classes=tuple(str(digit) for digit in range(10)),
        paths=tuple(f"digits/{index:04d}" for index in range(len(pixels))),
        labels=data.target.astype(np.int64),
        read=lambda index: Image.fromarray(pixels[index]),
    )


@hookimpl
def register_datasets(register: Register) -> None:
    register("digits", digits)
