"""Compared with numpy's histograms and what an XML parser reads."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from resnet_lab.data.description import Sizes
from resnet_lab.report.plots import BARS, size_plots

SVG = "{http://www.w3.org/2000/svg}"
PAGE_COLOURS = {"none", "currentColor", "var(--train)", "var(--mark)"}
RANDOM = np.random.default_rng(0)


def sizes(widths: list[int], heights: list[int]) -> Sizes:
    return Sizes(np.array(widths, dtype=np.int64), np.array(heights, dtype=np.int64), 0)


ODD = {
    "two": ([100, 200], [100, 300]),
    "one width": ([100, 100, 100], [50, 60, 70]),
    "one aspect": ([100, 200, 400], [50, 100, 200]),
    "extreme": ([1, 20_000], [20_000, 1]),
    "nearly one size": ([1000, 1001], [1000, 1000]),
    "many": (RANDOM.integers(50, 4000, 5000).tolist(), RANDOM.integers(50, 4000, 5000).tolist()),
}


@pytest.mark.parametrize("name", ODD)
def test_plots_take_the_page_s_colours_and_keep_their_ids_apart(name: str) -> None:
    plots = size_plots(sizes(*ODD[name]), 224)
    elements = [element for plot in plots for element in ElementTree.fromstring(plot).iter()]
    ids = [element.get("id") for element in elements if element.get("id")]
    assert len(ids) == len(set(ids))
    for reference in re.findall(r'(?:url\(|href=")#([^)"]*)', "".join(plots)):
        assert reference in ids
    text = "".join(plots)
    assert set(re.findall(r"(?:fill|stroke): ([^;\"]+)", text)) <= PAGE_COLOURS
    assert "http" not in re.sub(r'xmlns(:xlink)?="[^"]*"', "", text), "nothing is fetched"
    assert [element.get("aria-label", "") != "" for element in elements if element.tag == f"{SVG}svg"] == [True, True]


def data_styles(plot: str) -> list[str]:
    styles = [element.get("style", "") for element in ElementTree.fromstring(plot).iter()]
    return [style for style in styles if "fill: var(--train)" in style]


def test_every_cell_with_an_image_is_drawn() -> None:
    plot = size_plots(sizes([100, 100, 1000], [100, 100, 30]), 224)[0]
    cells = data_styles(plot)
    assert len(cells) == 2
    shades = [float(re.findall(r"opacity: ([0-9.]+)", f"{style}; opacity: 1")[0]) for style in cells]
    assert len(set(shades)) == 2, "two images in a cell are darker than one"


def test_a_single_cell_is_drawn_where_its_images_are() -> None:
    plot = size_plots(sizes([1000, 1000, 1001], [1000, 1000, 1000]), 100)[0]
    cell = re.search(r'<path d="M ([0-9.]+) ([0-9.]+) [^"]*"[^>]*fill: var\(--train\)', plot)
    assert cell is not None
    assert float(cell[1]) > 0.8 * 360, "at the right of a figure 5 inches wide"
    assert float(cell[2]) < 0.2 * 259.2, "at the top of a figure 3.6 inches high"


def test_bars_of_aspects_are_as_high_as_their_numbers() -> None:
    widths, heights = RANDOM.integers(100, 1000, 500), RANDOM.integers(100, 1000, 500)
    plot = ElementTree.fromstring(size_plots(sizes(widths.tolist(), heights.tolist()), 224)[1])
    bars = [element.get("d", "") for element in plot.iter() if "fill: var(--train)" in element.get("style", "")]
    drawn = []
    for bar in bars:
        values = [float(value) for value in re.findall(r"-?\d+\.?\d*", bar)][1::2]
        drawn.append(max(values) - min(values))
    expected, _ = np.histogram(np.clip(widths / heights, BARS[0], BARS[-1]), BARS)
    assert expected.sum() == 500
    assert np.array(drawn) / sum(drawn) == pytest.approx(expected / 500, abs=1e-5)


def test_the_same_data_give_the_same_plots() -> None:
    assert size_plots(sizes(*ODD["many"]), 224) == size_plots(sizes(*ODD["many"]), 224)


def test_one_size_needs_no_plot() -> None:
    assert size_plots(sizes([8, 8], [8, 8]), 8) == []
