"""Compared with numpy's own means, and pictures with known margins."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from resnet_lab.data.signatures import signature
from tests.data.drawn_sets import painted


def levels(image: Image.Image) -> np.ndarray:
    return np.frombuffer(signature(image), np.uint8).reshape(32, 32).astype(float)


def test_levels_are_means_of_the_whole_picture_stretched() -> None:
    image = painted(3, 256, 128)
    means = np.asarray(image.convert("L"), float).reshape(32, 4, 32, 8).mean(axis=(1, 3))
    expected = (means - means.min()) / (means.max() - means.min()) * 255
    assert np.abs(levels(image) - expected).mean() < 3
    darker = image.point([level // 3 + 20 for level in range(256)] * 3)
    assert np.abs(levels(darker) - levels(image)).mean() < 2


@pytest.mark.parametrize("colour", ["white", "black", (101, 67, 33)])
def test_even_margins_within_one_another_are_taken_off(colour: object) -> None:
    image = painted(4, 192, 128)
    square = ImageOps.pad(image, (192, 192), color="white")
    framed = ImageOps.expand(square, 20, colour)
    for other in (square, framed):
        assert np.corrcoef(levels(other).ravel(), levels(image).ravel())[0, 1] > 0.98
        assert np.abs(levels(other) - levels(image)).mean() < 8


def test_transparent_pixels_are_seen_on_white() -> None:
    image = painted(5, 128, 128).convert("RGBA")
    hole = Image.new("L", (128, 128), 255)
    ImageDraw.Draw(hole).rectangle((40, 40, 80, 80), fill=0)
    image.putalpha(hole)
    on_white = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    assert np.abs(levels(image) - levels(on_white)).mean() < 4


def small_in_a_large_one() -> Image.Image:
    image = Image.new("RGB", (300, 300), "white")
    image.paste(painted(6, 28, 28), (100, 100))
    return image


@pytest.mark.parametrize(
    "image",
    [painted(1, 63, 300), Image.new("RGB", (99, 99), (9, 99, 199)), small_in_a_large_one()],
    ids=["small", "flat", "small within margins"],
)
def test_small_and_flat_pictures_have_none(image: Image.Image) -> None:
    assert signature(image) == b""
