"""One image: from the bytes of its file to pixels, and what was seen on the way. Legend: S size, C channels."""

import io
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from hashlib import sha256
from textwrap import shorten

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.Image import Transpose

from resnet_lab.core.allocator import give_back_freed_memory
from resnet_lab.data.bit_depth import DEPTHS, FEW_BITS, depth_of, largest_value, of_sixteen_bits, stretched
from resnet_lab.data.colour import to_srgb
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.data.signatures import signature
from resnet_lab.data.squaring import in_mode, on_white, squared

SUFFIXES = frozenset({".avif", ".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
"""Formats that are opened, whatever a file's name; Pillow knows more, some of which run other programs."""

MAX_BYTES = 2**28
"""Largest size of a file."""

MAX_PIXELS = 89_478_485
"""Largest number of pixels of a picture: Pillow's own bound."""

MAX_MEMORY = 320 * 2**20
"""Bytes that decoding one picture may take; with torch loaded the process stays below 1 GiB."""

LARGE = 2**26
"""Bytes of a picture before and after which freed memory is given back to the system, which takes 4 ms each time."""

BYTES_A_PIXEL = {"WEBP": 21, "AVIF": 17}
"""Most that decoding takes, with turning and resizing, as measured; other formats take 13, and JPEG 9 if it is neither
progressive nor CMYK. A progressive JPEG takes 6 or, as CMYK, 8 of these before there is any pixel."""

MAX_SCANNED = 2**30
"""Pixels times passes of a progressive JPEG, which can ask for thousands of passes in a few bytes each."""

NO_MEMORY = "not enough memory to decode it"

LEVELS = np.arange(256, dtype=np.int64)
ORIENTATION = 0x0112
UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
"""Transposition that turns a picture of that EXIF orientation (CIPA DC-008-2023, tag 0x0112) upright."""
SIDEWAYS = range(5, 9)


class UnreadableError(Exception):
    """An image that cannot be used; the text has the reason."""


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """Properties of an image, found while decoding it.

    Attributes:
        digest: SHA-256 of the file, or of the pixels where there is none; 64 hexadecimal digits.
        cause: why the image cannot be used; empty where it can.
        width, height: in pixels, upright.
        mode: Pillow's name for the pixels as stored, such as `RGB` or `CMYK`.
        kinds: what about it is out of the ordinary, each handled.
        signature: what near copies are found by (`signatures.signature`); empty for images too small or too flat.
        sums, squares: of each channel's values 0 to 255 over the square image, and of their squares.
        depth: bits in use of pixels that are stored in 16; None of others, and where the file states it.
    """

    digest: str
    cause: str = ""
    width: int = 0
    height: int = 0
    mode: str = ""
    kinds: tuple[str, ...] = ()
    signature: bytes = b""
    sums: tuple[int, ...] = ()
    squares: tuple[int, ...] = ()
    depth: int | None = None


def digest_of(content: bytes | Image.Image) -> str:
    """SHA-256 of a file's bytes, or of decoded pixels with all that gives them their meaning.

    Raises:
        UnreadableError: pixels that were not yet decoded, and cannot be.
    """
    if isinstance(content, bytes):
        return sha256(content).hexdigest()
    with _guarded():
        _refuse_large(content)
        pixels = content.tobytes()
        meaning = (content.mode, content.size, content.getpalette("RGBA") if content.mode == "P" else None)
        profile = content.info.get("icc_profile") or b""
        return sha256(
            repr((*meaning, content.info.get("transparency"), _orientation(content))).encode() + pixels + profile
        ).hexdigest()


def decode(
    content: bytes | Image.Image, image_format: ImageFormat, digest: str | None = None
) -> tuple[NDArray[np.uint8] | None, ImageInfo]:
    """Pixels, shape (S, S, C), and what was seen; no pixels and the cause where the content is no usable image.

    Args:
        digest: the content's, where it is known already.
    """
    try:
        digest = digest or digest_of(content)
        image = _opened(content)
        with nullcontext() if image is content else closing(image):
            size, nbytes = image.size, _memory_for(image, image_format)
            with _allowance.taken(nbytes):
                upright, examined = _upright(image, size, digest, image_format, image is not content)
                if examined.cause:
                    return None, examined
                if image is not content and image is not upright:
                    image.close()  # its memory is wanted for what comes
                return _pixels(upright, image_format, examined)
    except UnreadableError as error:
        return None, ImageInfo(digest or "", cause=str(error))


def to_array(content: bytes | Image.Image, image_format: ImageFormat) -> NDArray[np.uint8]:
    """Pixels alone, shape (S, S, C).

    Raises:
        UnreadableError: the content is no usable image.
    """
    pixels, examined = decode(content, image_format)
    if pixels is None:
        raise UnreadableError(examined.cause)
    return pixels


@contextmanager
def without_warnings() -> Iterator[None]:
    """Pillow warns of odd metadata and large pictures; what matters of that is in `ImageInfo`.

    Filters are the process's own, so the first thread that enters silences all, and the last that leaves ends that.
    """
    global _silent_threads
    with _silencing:
        if not _silent_threads:
            _filters.enter_context(warnings.catch_warnings(action="ignore"))
        _silent_threads += 1
    try:
        yield
    finally:
        with _silencing:
            _silent_threads -= 1
            if not _silent_threads:
                _filters.close()


_silencing, _silent_threads, _filters = threading.Lock(), 0, ExitStack()


class _Allowance:
    """Memory that the pictures being decoded share, so that it does not grow with the number of threads."""

    def __init__(self, nbytes: int) -> None:
        self._left = nbytes
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, nbytes: int) -> Iterator[None]:
        """Wait until that much is free, and hold it."""
        with self._changed:
            self._changed.wait_for(lambda: self._left >= nbytes)
            self._left -= nbytes
        if nbytes >= LARGE:
            give_back_freed_memory()
        try:
            yield
        finally:
            if nbytes >= LARGE:
                give_back_freed_memory()
            with self._changed:
                self._left += nbytes
                self._changed.notify_all()


_allowance = _Allowance(max(MAX_MEMORY, (os.cpu_count() or 1) * 2**26))


@contextmanager
def _guarded() -> Iterator[None]:
    """Whatever Pillow raises on damaged content, as `UnreadableError`."""
    try:
        yield
    except UnreadableError:
        raise
    except Image.DecompressionBombError:
        raise UnreadableError(f"more than {2 * MAX_PIXELS} pixels; shrink it") from None
    except MemoryError:
        raise UnreadableError(NO_MEMORY) from None
    except OSError as error:
        raise UnreadableError(shorten(str(error), 120) or "cannot be decoded") from None
    except Exception as error:  # Pillow raises nearly anything
        raise UnreadableError(f"damaged ({shorten(str(error), 100) or type(error).__name__})") from None


def _opened(content: bytes | Image.Image) -> Image.Image:
    """The image with its header read."""
    if isinstance(content, Image.Image):
        return content
    if not content:
        raise UnreadableError("empty file")
    if len(content) > MAX_BYTES:
        raise UnreadableError(f"a file of {len(content)} bytes, more than {MAX_BYTES}; shrink it")
    with _guarded():
        try:
            image = Image.open(io.BytesIO(content), formats=_formats())
        except UnidentifiedImageError:
            known = any(accept and accept(content[:16]) for accept in (Image.OPEN[name][1] for name in _formats()))
            raise UnreadableError("damaged header" if known else "not an image of a known format") from None
    passes = content.count(b"\xff\xda") if image.format in ("JPEG", "MPO") else 1
    if passes * image.width * image.height > MAX_SCANNED:
        raise UnreadableError(f"{image.width} x {image.height} pixels in {passes} passes; save it again")
    return image


def _memory_for(image: Image.Image, image_format: ImageFormat) -> int:
    """Bytes that decoding the image may take; `UnreadableError` where that is too much.

    Of a JPEG that would take too much a smaller version is decoded, still at least twice as large as the image format.
    """
    _refuse_large(image)
    jpeg, progressive = image.format in ("JPEG", "MPO"), bool(image.info.get("progressive"))
    a_pixel = 9 if jpeg and image.mode != "CMYK" and not progressive else BYTES_A_PIXEL.get(image.format or "", 13)
    width, height = image.size
    nbytes = needed = width * height * a_pixel
    if needed > MAX_MEMORY and jpeg and image.draft(image.mode, (2 * image_format.size, 2 * image_format.size)):
        nbytes = image.width * image.height * a_pixel + progressive * width * height * 2 * len(image.getbands())
    if nbytes > MAX_MEMORY:
        what = f"{width} x {height} pixels as {image.format} may take {needed >> 20} MiB to decode"
        raise UnreadableError(f"{what}, more than {MAX_MEMORY >> 20}; shrink it")
    return nbytes


def _refuse_large(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise UnreadableError(f"{image.width} x {image.height} pixels, more than {MAX_PIXELS}; shrink it")


def _upright(
    image: Image.Image, size: tuple[int, int], digest: str, image_format: ImageFormat, may_change: bool
) -> tuple[Image.Image, ImageInfo]:
    """The picture in memory, as L, RGB or RGBA in sRGB, and what was seen of it; with the cause where it is no use.

    Args:
        size: that in the file.
        may_change: whether `image` itself may be changed.
    """
    with _guarded():
        kinds = _kinds(image)
        image.load()
        mode = image.mode
        if mode in ("I", "F"):
            raise UnreadableError(f"32-bit pixels (mode {mode}), whose white is not known; convert it to 8 bits")
        orientation = _orientation(image)  # only now: TIFF files were turned while they were loaded
        profile, depth = image.info.get("icc_profile"), None
        if mode.startswith("I;16"):  # Pillow would clip at 255
            image, depth = of_sixteen_bits(image, image_format.depth)
        elif "16-bit" in kinds and mode != "CMYK":  # of which Pillow keeps the upper eight
            depth = depth_of(largest_value(image) << 8)
            if (used := image_format.depth or depth) <= FEW_BITS:
                what = f"{used} of 16 bits of its colours are in use, of which {max(0, used - 8)} can be read"
                return image, ImageInfo(digest, f"{what}; convert it to 8 bits", *size, mode, kinds, depth=depth)
            if used < DEPTHS[-1]:
                image = stretched(image, used - 8)
        image, outcome = to_srgb(image, profile, may_change)
        kinds = (*kinds, outcome) if outcome else kinds
        upright = in_mode(image, "RGBA" if "transparent" in kinds else "L" if "greyscale" in kinds else "RGB")
        if orientation in UPRIGHT:
            upright = upright.transpose(UPRIGHT[orientation])
        width, height = size[::-1] if orientation in SIDEWAYS else size
        return upright, ImageInfo(digest, "", width, height, mode, kinds, depth=depth)


def _kinds(image: Image.Image) -> tuple[str, ...]:
    """Unusual properties of an image of which the header alone has been read."""
    is_so = {
        "animated": getattr(image, "is_animated", False) and image.format != "MPO",
        "CMYK": image.mode == "CMYK",
        "greyscale": image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I;16"),
        "16-bit": ";16" in f"{image.mode} {getattr(image, 'tile', '')}",
        "palette": image.mode in ("P", "PA"),
        "rotated": _orientation(image) in UPRIGHT,
        "transparent": image.has_transparency_data,
    }
    return tuple(kind for kind, so in is_so.items() if so)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # damaged metadata turns nothing; damaged pixels are found where they are decoded
        return 1


def _pixels(
    picture: Image.Image, image_format: ImageFormat, examined: ImageInfo
) -> tuple[NDArray[np.uint8], ImageInfo]:
    """Shape (S, S, C), and the properties found in the pixels; `picture` is upright and sound."""
    square = on_white(squared(picture, image_format))
    square = in_mode(square, "L" if image_format.channels == 1 else "RGB")
    counts = np.array(square.histogram(), dtype=np.int64).reshape(image_format.channels, 256)
    sums, squares = tuple((counts @ LEVELS).tolist()), tuple((counts @ LEVELS**2).tolist())
    pixels = np.asarray(square, dtype=np.uint8).reshape(image_format.shape)
    return pixels, replace(examined, signature=signature(picture), sums=sums, squares=squares)


def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)
