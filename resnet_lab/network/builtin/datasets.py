"""Data sets that need no download. Legend: N images, S size."""

import colorsys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnet_lab.core.columns import TextColumn
from resnet_lab.core.errors import DataError
from resnet_lab.core.images import ImageSet
from resnet_lab.network.hookspecs import Register, hookimpl

RENDERING = 1
"""Version of rendering, raised with every change of what `synthetic` draws: caches know its images by it."""

SMALLEST, LARGEST = 16, 8192
"""Pixels a side: below, stripes are no longer to be seen; above, no network takes an image."""

MOST = 10_000_000
"""Images, and classes."""


def digits() -> ImageSet:
    """1,797 handwritten digits, 8x8 greyscale, ten classes: the UCI test part, in the file that scikit-learn has too.

    Alpaydin and Kaynak 1998, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, CC BY 4.0.
    """
    file = Path(__file__).with_name("digits.csv.gz")
    table = np.loadtxt(file, dtype=np.int64, delimiter=",")  # N 65: grey levels 0 to 16, and the digit
    pixels = np.round(table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    return ImageSet(
        name="digits",
        classes=tuple(str(digit) for digit in range(10)),
        paths=tuple(f"digits/{index:04d}" for index in range(len(pixels))),
        labels=table[:, -1].copy(),
        read=lambda index: Image.fromarray(pixels[index]),
    )


def synthetic(*, images: int = 1000, classes: int = 10, size: int = 64, seed: int = 0) -> ImageSet:
    """Striped images over clouds of colour, drawn when they are read; image `i` depends on the seed and on `i` alone.

    A class is a direction of the stripes and a hue: classes lie evenly over half a turn and over the colour circle.
    Image `i` is of class `i` modulo the number of classes.

    Args:
        images: how many.
        size: pixels per side.

    Raises:
        DataError: fewer than two classes, fewer images than classes or more than ten million, a size below 16 or above
            8192, or a negative seed.
    """
    for name, value, least, most in (
        ("classes", classes, 2, MOST),
        ("images", images, classes, MOST),
        ("size", size, SMALLEST, LARGEST),
        ("seed", seed, 0, 2**62),
    ):
        if value < least:
            raise DataError(f"synthetic: {name} must be at least {least}, got {value}")
        if value > most:
            raise DataError(f"synthetic: {name} must be at most {most}, got {value}")
    labels = np.arange(images, dtype=np.int64) % classes
    return ImageSet(
        name="synthetic",
        classes=tuple(f"stripes {number:0{len(str(classes - 1))}d}" for number in range(classes)),
        paths=TextColumn(f"synthetic/{index:07d}" for index in range(images)),
        labels=labels,
        read=lambda index: Image.fromarray(striped(index, classes, size, seed)),
        stamp=lambda index: f"{RENDERING} {index} {classes} {size} {seed}",
    )


def striped(index: int, classes: int, size: int, seed: int) -> NDArray[np.uint8]:
    """Image `index` of `synthetic`, shape (S, S, 3)."""
    random = np.random.default_rng([seed, index])
    turn = (index % classes + random.uniform(-0.25, 0.25)) / classes
    frequency, phase = random.uniform(4, 6), random.uniform(0, 1)  # stripes over the image's width
    along = np.linspace(0, 1, size, dtype=np.float32)
    waves = np.cos(np.pi * turn) * along[None, :] + np.sin(np.pi * turn) * along[:, None]
    stripes = np.sin(2 * np.pi * (frequency * waves + phase), dtype=np.float32)
    colour = np.array(colorsys.hsv_to_rgb(turn % 1, 1, 1), dtype=np.float32) - 0.5
    clouds = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    background = np.asarray(clouds.resize((size, size), Image.Resampling.BILINEAR), dtype=np.float32)
    image: NDArray[np.float32] = 0.6 * background + 51 + 130 * stripes[..., None] * colour
    return np.clip(image, 0, 255).astype(np.uint8)


@hookimpl
def register_datasets(register: Register) -> None:
    register("digits", digits)
    register("synthetic", synthetic)
