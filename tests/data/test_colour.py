"""Compared with the formulas of the colour spaces (`icc.py`)."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from resnet_lab.data.colour import to_srgb
from resnet_lab.data.decoding import decode, digest_of
from resnet_lab.data.image_format import ImageFormat
from tests.data import icc

RGB = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def file_of(image: Image.Image, profile: bytes | None, kind: str = "PNG", **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, icc_profile=profile, **options)
    return content.getvalue()


def decoded(content: bytes | Image.Image, channels: int = 3) -> tuple[Any, tuple[str, ...]]:
    pixels, seen = decode(content, ImageFormat(16, channels))
    assert seen.cause == ""
    return pixels, seen.kinds


@pytest.mark.parametrize(
    ("primaries", "gamma"),
    [(icc.ADOBE_RGB, 563 / 256), (icc.DISPLAY_P3, 2.19921875), (icc.PROPHOTO, 1.80078125)],
    ids=["adobe", "p3", "prophoto"],
)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_colours_become_srgb(primaries: Any, gamma: float, kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    content = file_of(Image.fromarray(RGB), icc.rgb_profile(primaries, gamma), kind, **options)
    pixels, kinds = decoded(content)
    expected = icc.srgb_of(RGB, primaries, gamma)
    assert np.abs(pixels - expected).max() <= 2
    assert np.abs(expected - RGB).max() > 10, "the profile changes something"
    assert kinds == ("colour profile",)


@pytest.mark.parametrize("profile", [ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), None])
def test_srgb_is_left_as_it_is(profile: bytes | None) -> None:
    pixels, kinds = decoded(file_of(Image.fromarray(RGB), profile))
    assert np.array_equal(pixels, RGB)
    assert kinds == ()


def test_transparent_pictures_and_palettes_are_converted_too() -> None:
    profile = icc.rgb_profile(icc.ADOBE_RGB, 563 / 256)
    clear = Image.fromarray(np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)]))
    clear.putpixel((0, 0), (10, 200, 10, 0))
    pixels, kinds = decoded(file_of(clear, profile))
    expected = icc.srgb_of(RGB, icc.ADOBE_RGB, 563 / 256)
    assert np.abs(pixels - expected).reshape(-1, 3)[1:].max() <= 2
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert kinds == ("transparent", "colour profile")
    palette = Image.fromarray(RGB).quantize(64)
    pixels, kinds = decoded(file_of(palette, profile))
    assert np.abs(pixels - icc.srgb_of(np.asarray(palette.convert("RGB")), icc.ADOBE_RGB, 563 / 256)).max() <= 2
    assert kinds == ("palette", "colour profile")


@pytest.mark.parametrize("mode", ["L", "LA"])
@pytest.mark.parametrize("gamma", [1.0, 1.80078125])
def test_grey_levels_with_a_profile(mode: str, gamma: float) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    pixels, kinds = decoded(file_of(Image.fromarray(levels).convert(mode), icc.grey_profile(gamma)), channels=1)
    linear = (levels / 255) ** gamma
    expected = 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.abs(pixels[..., 0] - expected).max() <= 1.5
    assert "colour profile" in kinds


@pytest.mark.parametrize("ink", ["", "c", "m", "y", "k"])
@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_inks_agree_with_their_profile(ink: str, kind: str) -> None:
    amounts = tuple(255 * (name == ink) for name in "cmyk")
    options = {"quality": 100} if kind == "JPEG" else {}
    content = file_of(Image.new("CMYK", (16, 16), amounts), icc.cmyk_profile(), kind, **options)
    pixels, kinds = decoded(content)
    assert np.abs(pixels - icc.srgb_of_lab(*icc.CORNERS[ink])).max() <= 4
    assert kinds == ("CMYK", "colour profile")


@pytest.mark.parametrize(
    "profile",
    [
        b"no profile",
        icc.cmyk_profile(),  # of another kind of picture
        icc.grey_profile(1.0),
        icc.rgb_profile(icc.ADOBE_RGB, 2.2)[:200],
        icc.rgb_profile(icc.ADOBE_RGB, 2.2).replace(b"rTRC", b"xTRC"),
        icc.rgb_profile(icc.ADOBE_RGB, 2.2).ljust(2**23 + 1, b"\0"),
    ],
    ids=["text", "inks", "grey", "cut", "lacking", "huge"],
)
def test_a_profile_that_cannot_be_used_is_counted_and_changes_nothing(profile: bytes) -> None:
    pixels, kinds = decoded(file_of(Image.fromarray(RGB), profile, "TIFF"))
    assert np.array_equal(pixels, RGB)
    assert kinds == ("unreadable profile",)


@pytest.mark.parametrize(
    ("mode", "profile"),
    [("RGB", icc.rgb_profile(icc.ADOBE_RGB, 2.2)), ("L", icc.grey_profile(1.8)), ("CMYK", icc.cmyk_profile())],
    ids=["RGB", "L", "CMYK"],
)
def test_mutated_profiles_are_converted_or_counted(mode: str, profile: bytes) -> None:
    draw = np.random.default_rng(0)
    for _ in range(40 if mode == "CMYK" else 200):
        damaged = bytearray(profile[: int(draw.integers(20, len(profile) + 1))] if draw.random() < 0.2 else profile)
        for place in draw.integers(0, len(damaged), 6):
            damaged[place] = draw.integers(0, 256)
        image, outcome = to_srgb(Image.new(mode, (4, 4)), bytes(damaged), True)
        assert image.size == (4, 4)
        assert outcome in ("", "colour profile", "unreadable profile")
        assert image.mode == ("RGB" if (mode, outcome) == ("CMYK", "colour profile") else mode)


def test_decoded_pictures_are_converted_and_left_as_they_are() -> None:
    plain, profiled = Image.fromarray(RGB), Image.fromarray(RGB)
    profiled.info["icc_profile"] = icc.rgb_profile(icc.ADOBE_RGB, 563 / 256)
    assert digest_of(profiled) != digest_of(plain)
    pixels, kinds = decoded(profiled)
    assert np.abs(pixels - icc.srgb_of(RGB, icc.ADOBE_RGB, 563 / 256)).max() <= 2
    assert kinds == ("colour profile",)
    assert np.array_equal(np.asarray(profiled), RGB)
