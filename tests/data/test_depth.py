"""Pictures of 16 bits of which fewer are in use: against shifts of the values that were written."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from resnet_lab.core.images import ImageSet
from resnet_lab.data.config import DataConfig
from resnet_lab.data.decoding import decode
from resnet_lab.data.description import check
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.data.pixels import gathered
from resnet_lab.data.preparation import decode_all
from tests.data.folder_sets import Listener
from tests.data.test_decoding import png


def values(bits: int, seed: int = 0) -> NDArray[np.uint16]:
    """Values of which the largest has so many bits."""
    made = np.random.default_rng(seed).integers(0, 2**bits, (8, 8), dtype=np.uint16)
    made[0, 0] = 2**bits - 1
    return made


def file_of(pixels: NDArray[np.uint16]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def tiff(pixels: NDArray[np.uint16], photometric: int = 1, bits: int = 16, **tags: int) -> bytes:
    """TIFF 6.0, uncompressed, little-endian, by hand."""
    height, width = pixels.shape
    content = pixels.astype("<u2").tobytes()
    if bits == 12:  # two values in three bytes
        content = b"".join(bytes((a >> 4, (a & 15) << 4 | b >> 8, b & 255)) for a, b in pixels.reshape(-1, 2).tolist())
    entries = {
        256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: height, 279: len(content),
        **({281: tags["largest"]} if "largest" in tags else {}),
    }  # fmt: skip
    table = struct.pack("<H", len(entries)) + b"".join(
        struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(entries.items())
    )
    return b"II*\0" + struct.pack("<I", 8 + len(content)) + content + table + bytes(4)


def grey(content: bytes, depth: int | None = None) -> NDArray[np.uint8]:
    pixels, seen = decode(content, ImageFormat(8, 1, depth=depth))
    assert pixels is not None, seen.cause
    return pixels[..., 0]


def set_of(*contents: bytes) -> ImageSet:
    paths = tuple(f"{number}.png" for number in range(len(contents)))
    labels = np.arange(len(contents), dtype=np.int64) % 2
    return ImageSet("a set of 16 bits", ("a", "b"), paths, labels, contents.__getitem__)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESNET_LAB_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("content", [file_of, tiff], ids=["png", "tiff"])
def test_a_picture_alone_is_scaled_by_the_bits_it_uses(bits: int, content) -> None:
    assert np.array_equal(grey(content(values(bits))), values(bits) >> (bits - 8))


def test_the_set_decides_not_the_picture() -> None:
    """A darker picture stays darker, whether it is among others or comes to the network later."""
    dark, bright = values(10), values(12, seed=1)
    listener = Listener()
    found = decode_all(set_of(file_of(dark), file_of(bright)), ImageFormat(8, 1), DataConfig(), listener)
    pixels = gathered(found.pixels, [0, 1])
    assert found.pixels.image_format == ImageFormat(8, 1, depth=12)
    assert np.array_equal(pixels[..., 0], np.stack([dark, bright]) >> 4)
    assert "2 pictures of 16 bits use 12 of them at most, so that 4095 is taken for white" in listener.notes
    assert np.array_equal(grey(file_of(dark), depth=12), dark >> 4)


@pytest.mark.parametrize("cache_use", ["disk", "stream"])
def test_one_full_range_image_keeps_the_others_with_a_remark(cache_use: str) -> None:
    dark, bright = values(12), values(16, seed=1)
    listener = Listener()
    config = DataConfig(cache=cache_use)
    found = decode_all(set_of(file_of(dark), file_of(bright)), ImageFormat(8, 1), config, listener)
    assert np.array_equal(gathered(found.pixels, [0, 1])[..., 0], np.stack([dark, bright]) >> 8)
    assert listener.notes == [
        "1 of 2 pictures of 16 bits use a sixteenth of the others' range or less, and stay dark: if they are of "
        "another kind, convert them to 8 bits"
    ]


def test_ordinary_sets_have_no_depth() -> None:
    content = io.BytesIO()
    Image.new("RGB", (8, 8), (3, 3, 3)).save(content, "PNG")
    listener = Listener()
    found = decode_all(set_of(content.getvalue()), ImageFormat(8), DataConfig(), listener)
    assert found.pixels.image_format.depth is None
    assert listener.notes == []


def test_white_is_zero_is_no_negative() -> None:
    assert np.array_equal(grey(tiff(values(16), photometric=0)), (65535 - values(16)) >> 8)
    assert np.array_equal(grey(tiff(values(12), photometric=0)), (4095 - values(12)) >> 4)


def test_the_file_s_own_tag_comes_first() -> None:
    dark = values(10)
    assert np.array_equal(grey(tiff(dark, largest=4095)), dark >> 4)
    assert np.array_equal(grey(tiff(dark, largest=4095), depth=16), dark >> 4)
    assert np.array_equal(grey(tiff(values(12), largest=255)), values(12) >> 4), "a tag that is wrong does not count"
    packed = values(10)
    assert np.array_equal(grey(tiff(packed, bits=12)), packed >> 4)


@pytest.mark.parametrize(("bits", "readable"), [(10, 2), (12, 4)])
def test_colours_of_few_bits_are_refused(bits: int, readable: int) -> None:
    """Pillow keeps the upper eight bits of colours."""
    colours = np.dstack([values(bits, seed) for seed in range(3)])
    content = png(8, 8, colours.astype(">u2").tobytes(), depth=16)
    pixels, seen = decode(content, ImageFormat(8))
    assert pixels is None
    assert seen.cause == (
        f"{bits} of 16 bits of its colours are in use, of which {readable} can be read; convert it to 8 bits"
    )
    whole = np.dstack([values(16, seed) for seed in range(3)])
    found = decode_all(
        set_of(content, png(8, 8, whole.astype(">u2").tobytes(), depth=16)), ImageFormat(8), DataConfig()
    )
    assert found.bad == [], "a dark picture among bright ones"
    assert np.array_equal(gathered(found.pixels, [0, 1]), np.stack([colours, whole]) >> 8)


def test_a_check_reports_it_too() -> None:
    listener = Listener()
    findings = check(set_of(file_of(values(12)), file_of(values(12, seed=1))), listener)
    assert findings.handled == {"greyscale": 2, "16-bit": 2}
    assert "2 pictures of 16 bits use 12 of them at most, so that 4095 is taken for white" in listener.notes
