import io
import re
from hashlib import sha256

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image

from resnet_lab.evaluation.explanation import ClassMap, Explanation, draw, overlay
from resnet_lab.evaluation.explanation.pictures import COLOURS

PICTURE = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
SLOPE = np.linspace(0, 1, 144, dtype=np.float32).reshape(12, 12)


def explanation(*names: str, picture: np.ndarray = PICTURE, values: np.ndarray = SLOPE) -> Explanation:
    roles = ("predicted", "true")
    maps = tuple(ClassMap(role, name, 0.25, values) for role, name in zip(roles, names, strict=False))
    return Explanation(picture, names[0], 0.25, maps)


def test_an_overlay_by_hand() -> None:
    """0.4 of the grey level and 0.6 of viridis, which begins at (68, 1, 84) and ends at (253.3, 231.1, 36.7)."""
    values = np.array([[0, 1]], np.float32)
    expected = [[[81, 41, 90], [192, 179, 62]]]
    assert overlay(np.array([[100, 100]], np.uint8), values).tolist() == expected
    assert overlay(np.array([[[100], [100]]], np.uint8), values).tolist() == expected
    colours = np.array([[[255, 0, 0], [0, 255, 0]]], np.uint8)  # grey 76.2 and 149.7
    assert overlay(colours, values).tolist() == [[[71, 31, 81], [212, 199, 82]]]
    assert overlay(PICTURE, SLOPE).dtype == np.uint8


def test_the_colours_lightness_rises_evenly() -> None:
    """CIE L* from sRGB, IEC 61966-2-1: each step of a hundredth is about as large as any other."""
    colours = np.asarray(COLOURS(np.linspace(0, 1, 101)))[:, :3]
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    steps = np.diff(116 * np.cbrt(linear @ (0.2126, 0.7152, 0.0722)) - 16)
    assert 0.6 * steps.mean() < steps.min() < steps.max() < 1.5 * steps.mean()
    jet = np.asarray(colormaps["jet"](np.linspace(0, 1, 101)))[:, :3]
    assert np.diff(jet @ (0.2126, 0.7152, 0.0722)).min() < 0  # what the map in use everywhere else does


def texts(svg: bytes) -> list[str]:
    return [text.strip() for text in re.findall(r"<text[^>]*>([^<]*)", svg.decode())]


def test_a_figure_says_what_it_shows() -> None:
    written = texts(draw(explanation("still life", "portrait"), "a.jpg", "layer4", "svg"))
    for text in (
        "a.jpg", "as the network sees it, 12 x 12", "predicted: still life", "true: portrait", "probability 0.250",
        "share of the map's maximum", "layer4", "0.0", "1.0",
    ):  # fmt: skip
        assert text in written
    assert written.count("probability 0.250") == 2
    assert len(re.findall(rb"<image", draw(explanation("portrait"), "a.jpg", "layer4", "svg"))) == 3  # with the bar


def test_a_png_is_as_wide_as_it_has_panels() -> None:
    widths = []
    for names in (("portrait",), ("portrait", "landscape")):
        with Image.open(io.BytesIO(draw(explanation(*names), "a.jpg", "layer4"))) as image:
            assert image.format == "PNG"
            assert image.height == 540
            widths.append(image.width)
    assert widths == [1065, 1530]


def test_a_map_s_colours_are_in_the_figure() -> None:
    """A map that is 1 everywhere over black: 0.6 of viridis's yellow fills its panel."""
    black, ones = np.zeros((12, 12, 3), np.uint8), np.ones((12, 12), np.float32)
    content = draw(explanation("portrait", picture=black, values=ones), "a.jpg", "layer4")
    with Image.open(io.BytesIO(content)) as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    for colour in ((0, 0, 0), (152, 139, 22)):
        assert (pixels == colour).all(1).mean() > 0.25


@pytest.mark.parametrize("file_format", ["png", "svg"])
def test_the_same_explanation_gives_the_same_bytes(file_format: str) -> None:
    digests = {sha256(draw(explanation("portrait"), "a.jpg", "layer4", file_format)).hexdigest() for _ in range(2)}
    assert len(digests) == 1


def test_names_are_taken_as_they_are() -> None:
    """No formula between dollars, no warning about letters that the typeface lacks, no name across its neighbour."""
    long = "a school of painting with a long name"
    written = texts(draw(explanation("$x^2$ & 肖像画", long), long + ".jpg", "layer4.0.downsample.0", "svg"))
    assert "predicted: $x^2$ &amp; 肖像画" in written
    assert "true: a school of painting…" in written
    assert "a school of painting…" not in written[1:]
    draw(explanation("肖像画"), "肖像画.jpg", "layer4")


def test_nothing_to_see_and_greyscale() -> None:
    empty = draw(explanation("portrait", values=np.zeros((12, 12), np.float32)), "a.jpg", "layer4", "svg")
    assert b"QuadContourSet" not in empty
    assert b"QuadContourSet" in draw(explanation("portrait"), "a.jpg", "layer4", "svg")
    grey = draw(explanation("portrait", picture=PICTURE[..., :1]), "a.jpg", "layer4")
    with Image.open(io.BytesIO(grey)) as image:
        assert image.size == (1065, 540)
