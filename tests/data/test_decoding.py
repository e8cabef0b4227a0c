"""Compared with Pillow's and torchvision's own calls, and numpy on the pixels that were encoded."""

import io
import os
import struct
import threading
import warnings
import zlib
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torchvision.transforms import v2

from resnet_lab.core.errors import DataError
from resnet_lab.data import decoding, squaring
from resnet_lab.data.decoding import ImageInfo, UnreadableError, decode, digest_of, to_array, without_warnings
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.data.preparation import channel_statistics
from resnet_lab.data.signatures import signature

LOSSLESS = {
    "PNG": {},
    "BMP": {},
    "TIFF": {},
    "WEBP": {"lossless": True},
    "GIF": {},  # of at most 256 colours
}


def noise(height: int = 12, width: int = 20, channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    """Few enough colours for a GIF."""
    colours = np.random.default_rng(seed).integers(0, 256, (200, channels), dtype=np.uint8)
    return np.asarray(colours[np.random.default_rng(seed + 1).integers(0, 200, (height, width))].squeeze())


def smooth(height: int = 96, width: int = 128) -> Image.Image:
    """Waves that a perceptual hash can hold on to."""
    y, x = np.mgrid[0:height, 0:width] / 32
    waves = np.stack([np.sin(x + y), np.cos(2 * x - y), np.sin(x * y)], axis=-1)
    return Image.fromarray((127.5 * (1 + waves)).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def squashed(image: Image.Image, size: int = 8) -> NDArray[np.uint8]:
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def examined(content: bytes | Image.Image, image_format: ImageFormat = ImageFormat(8)) -> ImageInfo:  # noqa: B008 (frozen)
    return decode(content, image_format)[1]


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_formats_give_the_pixels_that_were_saved(kind: str) -> None:
    image = Image.fromarray(noise())
    content = encoded(image, kind, **LOSSLESS[kind])
    assert np.array_equal(to_array(content, ImageFormat(8)), squashed(image))
    seen = examined(content)
    assert (seen.width, seen.height, seen.cause) == (20, 12, "")
    assert seen.kinds == (("palette",) if kind == "GIF" else ())


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF"])
def test_lossy_formats_give_what_pillow_makes_of_them(kind: str) -> None:
    if kind not in Image.registered_extensions().values():
        pytest.skip(f"this Pillow was built without {kind}")
    content = encoded(smooth(), kind, quality=90)
    expected = squashed(Image.open(io.BytesIO(content)).convert("RGB"))
    assert np.array_equal(to_array(content, ImageFormat(8)), expected)
    assert np.abs(expected.astype(int) - squashed(smooth())).max() < 12, "and that is the picture"


def test_squash_is_torchvisions_resize() -> None:
    content = encoded(smooth(), "PNG")
    expected = v2.functional.pil_to_tensor(v2.Resize((24, 24))(smooth())).permute(1, 2, 0).numpy()
    assert np.array_equal(to_array(content, ImageFormat(24)), expected)


@pytest.mark.parametrize(("width", "height"), [(20, 12), (12, 20), (16, 16), (9, 31)])
def test_crop_takes_the_middle_and_pad_adds_white(width: int, height: int) -> None:
    image = Image.fromarray(noise(height, width))
    content, side, size = encoded(image, "PNG"), min(width, height), 8
    left, top = (width - side) / 2, (height - side) / 2
    middle = image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
    assert np.array_equal(to_array(content, ImageFormat(size, fit="crop")), np.asarray(middle))

    scale = size / max(width, height)
    inner = image.resize((round(width * scale), round(height * scale)), Image.Resampling.BILINEAR)
    padded = Image.new("RGB", (size, size), (255, 255, 255))
    padded.paste(inner, (round((size - inner.width) / 2), round((size - inner.height) / 2)))
    assert np.array_equal(to_array(content, ImageFormat(size, fit="pad")), np.asarray(padded))
    grey = to_array(encoded(image.convert("L"), "PNG"), ImageFormat(size, 1, "pad"))[..., 0]
    assert np.all(grey[np.all(np.asarray(padded) == 255, axis=-1)] == 255)


@pytest.mark.parametrize(("width", "height"), [(300, 200), (200, 301), (64, 64), (57, 400), (30, 20)])
@pytest.mark.parametrize(("resize", "size"), [(64, 56), (58, 56), (56, 56)])
def test_a_resized_side_and_a_middle_are_torchvision_s(width: int, height: int, resize: int, size: int) -> None:
    image = Image.fromarray(np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8))
    expected = v2.CenterCrop(size)(v2.Resize(resize, antialias=True)(image))
    np.testing.assert_array_equal(to_array(image, ImageFormat(size, 3, "crop", resize=resize)), np.asarray(expected))


def test_the_middle_of_a_long_strip_takes_no_memory_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(6).integers(0, 256, (600, 40, 3), dtype=np.uint8)
    image, image_format = Image.fromarray(pixels), ImageFormat(32, 3, "crop", resize=36)
    whole = to_array(image, image_format)
    monkeypatch.setattr(squaring, "MAX_RESIZED", 0)
    assert np.abs(to_array(image, image_format).astype(int) - whole).max() <= 2


def test_a_format_of_another_size_shows_the_same_part() -> None:
    assert ImageFormat(224, 3, "crop", resize=256).at(112) == ImageFormat(112, 3, "crop", resize=128)
    assert ImageFormat(224, 3, "crop", resize=232).at(1) == ImageFormat(1, 3, "crop", resize=1)
    assert ImageFormat(224).at(32) == ImageFormat(32)


def test_greyscale_is_repeated_and_colours_become_grey_by_bt_601() -> None:
    grey = noise(channels=1)
    content = encoded(Image.fromarray(grey), "PNG")
    expected = squashed(Image.fromarray(grey))
    assert np.array_equal(to_array(content, ImageFormat(8)), np.repeat(expected[..., None], 3, axis=2))
    assert np.array_equal(to_array(content, ImageFormat(8, 1)), expected[..., None])
    assert examined(content).kinds == ("greyscale",)
    colours = noise(8, 8)
    weighted = colours @ np.array([0.299, 0.587, 0.114])
    found = to_array(encoded(Image.fromarray(colours), "PNG"), ImageFormat(8, 1))[..., 0]
    assert np.abs(found - weighted).max() <= 0.51


def test_black_and_white() -> None:
    bits = noise(8, 8, 1) > 127
    content = encoded(Image.fromarray(bits), "PNG")
    assert np.array_equal(to_array(content, ImageFormat(8, 1))[..., 0], np.where(bits, 255, 0))
    assert examined(content).kinds == ("greyscale",)


def test_cmyk_is_multiplied_out() -> None:
    inks = noise(8, 8, 4)
    content = encoded(Image.fromarray(inks, "CMYK"), "TIFF")
    c, m, y, k = np.moveaxis(inks.astype(float), -1, 0) / 255
    expected = np.stack([(1 - c) * (1 - k), (1 - m) * (1 - k), (1 - y) * (1 - k)], axis=-1) * 255
    assert np.abs(to_array(content, ImageFormat(8)) - expected).max() <= 1
    assert (examined(content).mode, examined(content).kinds) == ("CMYK", ("CMYK",))
    jpeg = encoded(Image.fromarray(inks, "CMYK"), "JPEG", quality=100)
    assert np.array_equal(to_array(jpeg, ImageFormat(8)), np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_transparent_pixels_are_put_on_white(kind: str) -> None:
    pixels = noise(8, 8, 4)
    content = encoded(Image.fromarray(pixels, "RGBA"), kind, **({"exact": True} | LOSSLESS[kind]))
    opacity = pixels[..., 3:] / 255
    expected = pixels[..., :3] * opacity + 255 * (1 - opacity)
    assert np.abs(to_array(content, ImageFormat(8)) - expected).max() <= 1.01
    assert examined(content).kinds == ("transparent",)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_palette_with_a_transparent_colour(kind: str) -> None:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([200, 10, 20, 30, 40, 250])
    image.paste(1, (0, 0, 8, 4))
    content = encoded(image, kind, transparency=0)
    pixels = to_array(content, ImageFormat(8))
    assert np.all(pixels[:4] == (30, 40, 250))
    assert np.all(pixels[4:] == 255)
    assert examined(content).kinds == ("palette", "transparent")


def test_the_colour_of_invisible_pixels_does_not_bleed_into_their_neighbours() -> None:
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[:, :32] = (0, 0, 255, 255)  # visible blue beside invisible black
    found = to_array(encoded(Image.fromarray(pixels, "RGBA"), "PNG"), ImageFormat(9))
    assert np.all(found[..., 2] >= 254), "between blue and white there is no dark line"


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_keep_their_upper_eight(kind: str) -> None:
    values = np.random.default_rng(0).integers(0, 2**16, (8, 8), dtype=np.uint16)
    content = encoded(Image.fromarray(values), kind)
    assert np.array_equal(to_array(content, ImageFormat(8, 1))[..., 0], values >> 8)
    assert examined(content).kinds == ("greyscale", "16-bit")


def test_sixteen_bits_of_colour() -> None:
    values = np.random.default_rng(0).integers(0, 2**16, (8, 8, 3), dtype=np.uint16)
    content = png(8, 8, values.astype(">u2").tobytes(), depth=16)
    assert np.array_equal(to_array(content, ImageFormat(8)), values >> 8)
    assert examined(content).kinds == ("16-bit",)


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.transpose(1, 0, 2)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: a[::-1, ::-1].transpose(1, 0, 2)),
        (8, lambda a: np.rot90(a, 1)),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_pictures_are_turned_upright(kind: str, orientation: int, turn: Any) -> None:
    """The turns as CIPA DC-008 words them: where row 0 and column 0 of the stored pixels belong."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = smooth(16, 32)
    content = encoded(image, kind, exif=exif, **LOSSLESS.get(kind, {"quality": 95}))
    stored = image if kind != "JPEG" else Image.open(io.BytesIO(content))
    assert np.array_equal(to_array(content, ImageFormat(8)), squashed(Image.fromarray(turn(np.asarray(stored)))))
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    assert np.array_equal(to_array(content, ImageFormat(8)), squashed(upright.convert("RGB")))
    seen = examined(content)
    assert (seen.width, seen.height) == upright.size
    assert ("rotated" in seen.kinds) == (orientation > 1)


def test_damaged_metadata_turns_nothing() -> None:
    image = smooth(16, 32)
    content = encoded(image, "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert np.array_equal(to_array(content, ImageFormat(8)), squashed(image))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF", "TIFF"])
def test_of_animations_the_first_frame_is_taken(kind: str) -> None:
    if kind not in Image.registered_extensions().values():
        pytest.skip(f"this Pillow was built without {kind}")
    frames = [Image.fromarray(noise(16, 16, seed=seed)) for seed in (0, 7)]
    options = LOSSLESS.get(kind, {"quality": 100, "subsampling": "4:4:4"})
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    pixels = to_array(content, ImageFormat(8)).astype(int)
    assert np.abs(pixels - squashed(frames[0])).max() <= (0 if kind != "AVIF" else 8)
    assert "animated" in examined(content).kinds


def test_a_camera_s_second_picture_is_no_animation() -> None:
    picture = smooth()
    content = encoded(picture, "MPO", save_all=True, append_images=[picture])
    assert examined(content).kinds == ()
    assert examined(content).cause == ""


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_a_truncated_file_is_named_so(kind: str, share: float) -> None:
    content = encoded(smooth(), kind)
    pixels, seen = decode(content[: int(share * len(content))], ImageFormat(8))
    assert pixels is None
    assert 0 < len(seen.cause) <= 120
    assert "\n" not in seen.cause
    assert "0x" not in seen.cause, "no address of an object"
    assert (seen.digest, seen.width, seen.sums) == (digest_of(content[: int(share * len(content))]), 0, ())


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "empty file"),
        (b"These are my notes on the paintings.\n" * 20, "not an image of a known format"),
        (b"\xff\xd8\xff\xe0", "damaged header"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "damaged header"),
        (
            encoded(Image.new("F", (8, 8)), "TIFF"),
            "32-bit pixels (mode F), whose white is not known; convert it to 8 bits",
        ),
        (
            encoded(Image.new("I", (8, 8)), "TIFF"),
            "32-bit pixels (mode I), whose white is not known; convert it to 8 bits",
        ),
    ],
)
def test_what_is_no_usable_image_has_a_cause(content: bytes, cause: str) -> None:
    with without_warnings():
        assert examined(content).cause == cause
        with pytest.raises(UnreadableError) as failure:
            to_array(content, ImageFormat(8))
    assert str(failure.value) == cause


def test_formats_that_run_other_programs_are_not_opened() -> None:
    assert examined(encoded(smooth(), "EPS")).cause == "not an image of a known format"


def png(width: int, height: int, rows: bytes, depth: int = 8) -> bytes:
    """An RGB PNG written by hand."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    line = width * 3 * depth // 8
    filtered = b"".join(b"\0" + rows[start : start + line] for start in range(0, len(rows), line))
    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    end = chunk(b"IDAT", zlib.compress(filtered)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + end


@pytest.mark.parametrize(
    ("width", "height", "cause"),
    [
        (30_000, 30_000, "more than 178956970 pixels; shrink it"),
        (12_000, 10_000, "12000 x 10000 pixels, more than 89478485; shrink it"),
        (8_000, 8_000, "8000 x 8000 pixels as PNG may take 793 MiB to decode, more than 320; shrink it"),
    ],
)
def test_decompression_bombs_are_refused_before_memory_is_asked_for(
    width: int, height: int, cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fails)
    bomb = png(width, height, b"\0" * 9000)
    assert len(bomb) < 200
    with without_warnings():
        assert examined(bomb).cause == cause


@pytest.mark.parametrize("progressive", [False, True])
def test_of_a_very_large_jpeg_a_smaller_version_is_decoded(progressive: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """libjpeg's scaled inverse transform is not pixel for pixel that of the whole."""
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = smooth(640, 480)
    content = encoded(picture, "JPEG", progressive=progressive, exif=exif, quality=95)
    whole, seen = decode(content, ImageFormat(32))
    sizes: list[tuple[int, int]] = []
    upright = decoding._upright

    def watched(image: Image.Image, *arguments: Any) -> Any:
        sizes.append(image.size)
        return upright(image, *arguments)

    monkeypatch.setattr(decoding, "_upright", watched)
    monkeypatch.setattr(decoding, "MAX_MEMORY", 640 * 480 * 8)
    small, seen_small = decode(content, ImageFormat(32))
    assert 64 <= sizes[0][0] < 480
    assert whole is not None
    assert small is not None
    assert np.abs(whole.astype(int) - small).mean() < 3
    assert (seen_small.width, seen_small.height) == (seen.width, seen.height) == (640, 480)
    monkeypatch.setattr(decoding, "MAX_MEMORY", 640 * 480)
    cause = (
        f"480 x 640 pixels as JPEG may take {480 * 640 * (13 if progressive else 9) >> 20} MiB to decode, more than 0"
    )
    assert examined(content, ImageFormat(32)).cause == (f"{cause}; shrink it" if progressive else "")


def test_a_progressive_jpeg_that_asks_for_too_many_passes() -> None:
    content = encoded(Image.new("RGB", (256, 256)), "JPEG", progressive=True)
    scan = content.rindex(b"\xff\xda")
    bomb = content[:scan] + content[scan:-2] * 20_000 + content[-2:]
    assert examined(content).cause == ""
    scans = 20_000 + content[:scan].count(b"\xff\xda")
    assert examined(bomb).cause == f"256 x 256 pixels in {scans} passes; save it again"


def test_a_huge_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_BYTES", 1000)
    content = encoded(Image.fromarray(noise(64, 64)), "BMP")
    assert examined(content).cause == f"a file of {len(content)} bytes, more than 1000; shrink it"


def test_too_little_memory_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fails)
    assert examined(encoded(smooth(), "PNG")).cause == decoding.NO_MEMORY == "not enough memory to decode it"


def test_a_bug_is_no_unreadable_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: object) -> None:
        raise TypeError("a bug of ours")

    monkeypatch.setattr(decoding, "squared", fails)
    with pytest.raises(TypeError, match="a bug of ours"):
        decode(encoded(smooth(), "PNG"), ImageFormat(8))


def test_decoded_images_are_taken_as_they_are() -> None:
    image = Image.fromarray(noise())
    assert np.array_equal(to_array(image, ImageFormat(8)), squashed(image))
    assert image.getpixel((0, 0)) == tuple(noise()[0, 0]), "and left open"
    assert examined(image).digest == digest_of(image.copy())


def test_digests_distinguish_contents() -> None:
    image = Image.fromarray(noise())
    recoloured = image.convert("P")
    other = recoloured.copy()
    other.putpalette([255 - value for value in recoloured.getpalette() or []])
    turned = image.copy()
    turned.getexif()[0x0112] = 3
    transparent = recoloured.copy()
    transparent.info["transparency"] = 0
    several = [image, recoloured, other, turned, transparent, image.transpose(Image.Transpose.ROTATE_90)]
    several.append(Image.frombytes("RGB", (12, 20), image.tobytes()))
    digests = {digest_of(each) for each in several}
    assert len(digests) == len(several)
    assert all(len(digest) == 64 for digest in digests)


def test_a_lazily_opened_image_that_is_damaged() -> None:
    content = encoded(smooth(), "PNG")
    lazy = Image.open(io.BytesIO(content[: len(content) // 2]))
    pixels, seen = decode(lazy, ImageFormat(8))
    assert pixels is None
    assert seen.digest == ""
    assert "truncated" in seen.cause


def test_a_lazily_opened_bomb() -> None:
    with without_warnings():
        lazy = Image.open(io.BytesIO(png(12_000, 10_000, b"")))
        assert examined(lazy).cause == "12000 x 10000 pixels, more than 89478485; shrink it"


@pytest.mark.parametrize("channels", [1, 3])
def test_sums_are_exact_and_statistics_are_numpys(channels: int) -> None:
    image_format = ImageFormat(32, channels)
    decoded = [decode(encoded(Image.fromarray(noise(40, 50, seed=seed)), "PNG"), image_format) for seed in range(20)]
    values = np.stack([pixels for pixels, _ in decoded if pixels is not None]).astype(np.int64)
    for image, (_, seen) in zip(values, decoded, strict=True):
        assert seen.sums == tuple(image.sum(axis=(0, 1)).tolist())
        assert seen.squares == tuple((image**2).sum(axis=(0, 1)).tolist())
    sums, squares = (np.sum([getattr(seen, name) for _, seen in decoded], axis=0) for name in ("sums", "squares"))
    mean, std = channel_statistics(len(decoded), sums.tolist(), squares.tolist(), image_format)
    scaled = values.astype(np.float64) / 255
    assert np.allclose(mean, scaled.mean(axis=(0, 1, 2)), rtol=0, atol=1e-12)
    assert np.allclose(std, scaled.std(axis=(0, 1, 2)), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "image_format", [ImageFormat(64), ImageFormat(8), ImageFormat(64, fit="crop"), ImageFormat(64, 1)]
)
def test_the_signature_is_of_the_whole_picture_in_any_format(image_format: ImageFormat) -> None:
    assert examined(encoded(smooth(), "PNG"), image_format).signature == signature(smooth()) != b""


def test_a_format_of_two_channels() -> None:
    with pytest.raises(DataError) as failure:
        ImageFormat(8, 2)
    assert str(failure.value) == "images have 1 channel (greyscale) or 3 (RGB), the network wants 2"


def test_warnings_are_silent_while_any_thread_decodes() -> None:
    first_is_in, second_is_out = threading.Event(), threading.Event()

    def long_one() -> None:
        with without_warnings():
            first_is_in.set()
            second_is_out.wait(5)
            warnings.warn("unheard", stacklevel=1)

    thread = threading.Thread(target=long_one)
    thread.start()
    first_is_in.wait(5)
    with without_warnings():
        warnings.warn("unheard", stacklevel=1)
    second_is_out.set()
    thread.join()
    with pytest.raises(UserWarning, match="heard again"):
        warnings.warn("heard again", stacklevel=1)


def test_pictures_wait_for_memory_that_others_hold() -> None:
    allowance, order, held = decoding._Allowance(100), [], threading.Event()

    def second() -> None:
        held.wait(5)
        with allowance.taken(60):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with allowance.taken(60):
        held.set()
        with allowance.taken(40):
            thread.join(0.05)
            order.append("first")
    thread.join(5)
    assert order == ["first", "second"]


def test_mutated_files_are_accepted_or_listed() -> None:
    fuzz_images = pytest.importorskip("benchmarks.fuzz_images", reason="benchmarks are not in this copy")
    figures = SimpleNamespace(**fuzz_images.fuzz(images=200, seed=1))
    assert figures.crashes == []
    assert figures.hangs == []
    assert figures.accepted + sum(figures.causes.values()) == 200
    assert figures.accepted > 20
    assert len(figures.causes) > 5
    assert figures.peak_rss_mib < 1024


@pytest.mark.slow
def test_the_command_agrees_on_mutated_files() -> None:
    fuzz_images = pytest.importorskip("benchmarks.fuzz_images", reason="benchmarks are not in this copy")
    figures = SimpleNamespace(**fuzz_images.checked(images=1000, seed=1))
    assert figures.exit_code == 0
    assert figures.accepted + figures.listed == 1000
    assert figures.accepted == fuzz_images.fuzz(images=1000, seed=1)["accepted"]
    assert figures.peak_rss_mib < 768 + 64 * max(0, (os.cpu_count() or 1) - 5)  # what more threads may take


@pytest.mark.slow
def test_memory_of_large_pictures_goes_back_to_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else glibc keeps as much as the largest of them took, for every thread."""
    given_back: list[int] = []
    monkeypatch.setattr(decoding, "give_back_freed_memory", lambda: given_back.append(1))
    decode(encoded(smooth(640, 480), "PNG"), ImageFormat(32))  # 4 MiB
    assert not given_back
    decode(encoded(smooth(3000, 2000), "PNG"), ImageFormat(32))  # 74 MiB
    assert given_back == [1, 1]  # before it and after
