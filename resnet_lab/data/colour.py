"""Colours that an embedded ICC profile defines (ICC.1:2022), as sRGB (IEC 61966-2-1)."""

import io
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import numpy as np
from PIL import Image, ImageCms

Outcome = Literal["", "colour profile", "unreadable profile"]
Conversion = Callable[[Image.Image], Image.Image]

LARGEST = 2**23
"""Bytes of a profile that is looked at; those of printing presses have one or two million."""

SAME = 2
"""Levels of 256 by which a profile may differ from sRGB and count as that: many files carry one of several sRGBs."""

MODES = {b"RGB ": ("RGB", "RGBA"), b"GRAY": ("L",), b"CMYK": ("CMYK",)}
"""Pillow's modes for the colour space that a profile names in its bytes 16 to 19."""


def to_srgb(image: Image.Image, profile: bytes | None, in_place: bool) -> tuple[Image.Image, Outcome]:
    """The picture in sRGB, and what became of its profile; the same picture where there is nothing to convert.

    Conversion is relative colorimetric with black-point compensation, as Adobe's programs have it by default.

    Args:
        image: loaded, of 8 bits a channel.
        in_place: whether the picture itself may be changed.
    """
    if not profile:
        return image, ""
    modes, chosen = MODES.get(profile[16:20], ()), image
    if image.mode == "LA" and "L" in modes:
        grey, outcome = to_srgb(image.getchannel("L"), profile, in_place)
        return Image.merge("LA", (grey, image.getchannel("A"))), outcome
    if "RGB" in modes and image.mode not in (*modes, "CMYK"):
        chosen = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if chosen.mode not in modes or len(profile) > LARGEST:
        return image, "unreadable profile"
    try:
        convert = _conversion(profile, chosen.mode, in_place or chosen is not image)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, ImportError):
        return image, "unreadable profile"
    return (image, "") if convert is None else (convert(chosen), "colour profile")


@lru_cache(maxsize=8)
def _conversion(profile: bytes, mode: str, in_place: bool) -> Conversion | None:
    """The way from a profile to sRGB; None where it is sRGB already."""
    if mode == "L":  # a table of its 256 levels is exact, and faster than the library's own way
        ramp = np.arange(256, dtype=np.uint8)[None]
        levels = _applied(Image.fromarray(ramp), _transform(profile, mode, ImageCms.Flags.NOOPTIMIZE)).convert("L")
        if _is_same(levels, ramp):
            return None
        table = np.asarray(levels).ravel().tolist()
        return lambda image: image.point(table)
    transform = _transform(profile, mode)
    if mode == "CMYK":
        return lambda image: _applied(image, transform)
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    if _is_same(_applied(Image.fromarray(colours).convert(mode), transform).convert("RGB"), colours):
        return None

    def change(image: Image.Image) -> Image.Image:
        ImageCms.applyTransform(image, transform, inPlace=True)
        return image

    return change if in_place else lambda image: _applied(image, transform)


def _transform(profile: bytes, mode: str, flags: int = 0) -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        mode,
        mode if mode == "RGBA" else "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags(flags) | ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


def _applied(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None  # as it is in place alone
    return converted


def _is_same(image: Image.Image, levels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bool:
    return bool(np.abs(np.asarray(image, dtype=np.int16) - levels).max() <= SAME)
