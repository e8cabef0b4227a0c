"""Sets of drawn pictures, of which none is a copy of another, and copies made of pictures."""

import io
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps
from scipy.ndimage import gaussian_filter

FONTS = [
    path
    for path in sorted(Path(matplotlib.get_data_path(), "fonts/ttf").glob("DejaVu*.ttf"))
    if "Display" not in path.name
]


def discs(number: int = 150) -> list[Image.Image]:
    """Small and large ones, in any colour and place: two classes."""
    random, images = np.random.default_rng(0), []
    for smallest, largest in ((12, 24), (28, 44)):
        for _ in range(number):
            radius, (x, y) = random.uniform(smallest, largest), random.uniform(50, 78, 2)
            image = Image.new("RGB", (128, 128), "white")
            colour = tuple(random.integers(0, 200, 3).tolist())
            ImageDraw.Draw(image).ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
            images.append(image)
    return images


def letters(texts: str, number: int, size: int = 96) -> list[Image.Image]:
    """Each letter so many times, in typefaces, sizes, places and turns of chance."""
    random, images = np.random.default_rng(0), []
    for text in texts:
        for _ in range(number):
            font = ImageFont.truetype(str(FONTS[random.integers(len(FONTS))]), int(random.integers(48, 76)))
            image = Image.new("L", (size, size), 255)
            place = tuple((size / 2 + random.uniform(-8, 8, 2)).tolist())
            ImageDraw.Draw(image).text(place, text, fill=0, font=font, anchor="mm")
            turned = image.rotate(random.uniform(-10, 10), Image.Resampling.BILINEAR, fillcolor=255)
            images.append(turned.convert("RGB"))
    return images


def swatches(number: int = 300) -> list[Image.Image]:
    """Even colours with noise."""
    random = np.random.default_rng(0)
    return [_image(random.integers(30, 220, 3) + random.normal(0, 8, (96, 96, 3))) for _ in range(number)]


def lines(number: int = 300) -> list[Image.Image]:
    """Line drawings: one to three polygonal lines."""
    random, images = np.random.default_rng(0), []
    for _ in range(number):
        image = Image.new("RGB", (128, 128), "white")
        for _ in range(random.integers(1, 4)):
            corners = [tuple(random.uniform(10, 118, 2)) for _ in range(random.integers(2, 5))]
            ImageDraw.Draw(image).line(corners, fill=(0, 0, 0), width=4)
        images.append(image)
    return images


def handwritten_digits(size: int = 96) -> list[Image.Image]:
    """scikit-learn's 1,797, enlarged."""
    from sklearn.datasets import load_digits

    return [
        Image.fromarray((pixels * 15.9).astype(np.uint8)).resize((size, size), Image.Resampling.BICUBIC)
        for pixels in load_digits().images
    ]


def painted(seed: int, width: int = 192, height: int = 144) -> Image.Image:
    """Shapes of all sizes in soft tones, as a picture has."""
    random, total = np.random.default_rng(seed), np.zeros((height, width, 3))
    for deviation in (3, 8, 24):
        noise = gaussian_filter(random.normal(size=(height, width, 3)), (deviation, deviation, 0))
        total += noise / noise.std()
    return _image(128 + 38 * total)


def _image(values: NDArray[np.float64]) -> Image.Image:
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def saved(image: Image.Image, quality: int = 90) -> bytes:
    """Image saved as JPEG."""
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=quality)
    return file.getvalue()


def _half(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2))


def _with_border(image: Image.Image, share: float) -> Image.Image:
    return ImageOps.expand(image, round(share * min(image.size)), (101, 67, 33))


def _trimmed(image: Image.Image, share: float) -> Image.Image:
    width, height = image.size
    left, top = round(share * width), round(share * height)
    return image.crop((left, top, width - left, height - top))


def _with_gamma(image: Image.Image, gamma: float) -> Image.Image:
    return image.point([round(255 * (level / 255) ** gamma) for level in range(256)] * 3)


COPIES: dict[str, Callable[[Image.Image], bytes]] = {
    **{f"JPEG of quality {quality}": lambda image, q=quality: saved(image, q) for quality in (90, 50, 30)},
    "half size": lambda image: saved(_half(image)),
    **{f"border of {percent}%": lambda image, p=percent: saved(_with_border(image, p / 100)) for percent in (2, 5, 10)},
    **{f"trimmed by {percent}%": lambda image, p=percent: saved(_trimmed(image, p / 100)) for percent in (2, 5, 10)},
    **{f"gamma {gamma}": lambda image, g=gamma: saved(_with_gamma(image, g)) for gamma in (0.7, 1.4)},
    "in grey": lambda image: saved(image.convert("L")),
    "mirrored": lambda image: saved(ImageOps.mirror(image)),
}
"""Changes to an RGB picture; a border or trim is on all four sides, in percent of a side (a border's of the
shorter)."""


def darkened(image: Image.Image) -> Image.Image:
    return image.point([level // 4 for level in range(256)] * 3)


def flattened(image: Image.Image) -> Image.Image:
    """Image with a fifth of its contrast."""
    return image.point([110 + level // 5 for level in range(256)] * 3)
