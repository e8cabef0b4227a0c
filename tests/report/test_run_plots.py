"""Compared with the numbers that were drawn, as matplotlib and an XML parser have them."""

import io
import re
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from resnet_lab.evaluation.metrics.abundance import Abundance
from resnet_lab.evaluation.metrics.scores import ClassScores
from resnet_lab.report import run_plots
from resnet_lab.report.figure_style import IN_PAGE, PAGE, PAPER, Palette, as_file, inline_svg, styled
from tests.report.made_up_runs import ANIMALS, embedding_map, history, made_up_run

MADE = made_up_run()
assert MADE.summary is not None
SUMMARY = MADE.summary
FIGURES: dict[str, Callable[[Palette, str], Figure]] = {
    "curves": lambda inks, title: run_plots.curves(MADE.history, 3, inks, title),
    "headline": lambda inks, title: run_plots.headline(SUMMARY.headline, inks, title),
    "reliability": lambda inks, title: run_plots.reliability(SUMMARY.calibration, inks, title)[0],
    "abundance": lambda inks, title: run_plots.abundance(SUMMARY.abundance, SUMMARY.classes, inks, title)[0],
    "confusion": lambda inks, title: run_plots.confusion(SUMMARY.confusion, range(5), inks, title),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_plot_for_paper_has_title_axes_and_the_same_bytes_each_time(name: str) -> None:
    title = f"The {name} of <relu> & $x$"
    with styled(PAPER):
        figure = FIGURES[name](PAPER, title)
        assert figure.get_suptitle() == title
        labelled = [axes for axes in figure.axes if axes.get_xlabel() or axes.get_ylabel()]
        assert labelled == figure.axes
        assert any(axes.get_xlabel() for axes in figure.axes)
        png, svg = as_file(figure, "png"), as_file(figure, "svg")
        again = FIGURES[name](PAPER, title)
        assert [sha256(as_file(again, kind)).digest() for kind in ("png", "svg")] == [
            sha256(content).digest() for content in (png, svg)
        ]
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        assert min(image.size) > 300
    texts = [element.text for element in ElementTree.fromstring(svg.decode()).iter() if element.tag.endswith("}text")]
    assert title in texts


@pytest.mark.parametrize("name", ["headline", "reliability", "abundance"])
def test_a_plot_in_a_page_has_its_colours_and_says_what_it_shows(name: str) -> None:
    with styled(PAGE):
        svg = inline_svg(FIGURES[name](PAGE, ""), name, 'a "plot"')
    root = ElementTree.fromstring(svg)
    assert root.get("aria-label") == 'a "plot"'
    assert set(re.findall(r"(?:fill|stroke): ([^;\"]+)", svg)) <= {"none", *IN_PAGE.values()}
    assert all(element.get("id", name).startswith(name) for element in root.iter())


def test_curves_go_through_the_epochs() -> None:
    with styled(PAPER):
        left, right = run_plots.curves(MADE.history, 3, PAPER, "x").axes
    for axes, train, val in ((left, "train_loss", "val_loss"), (right, "train_macro_accuracy", "val_macro_accuracy")):
        lines = {line.get_label(): line for line in axes.get_lines()}
        for label, key in (("training", train), ("validation", val)):
            assert lines[label].get_xdata().tolist() == [1, 2, 3, 4]
            assert lines[label].get_ydata().tolist() == [getattr(epoch, key) for epoch in MADE.history]
        assert lines["best epoch (3)"].get_xdata() == [3, 3]


def test_a_diverged_loss_does_not_change_the_scale() -> None:
    with styled(PAPER):
        (axes,) = run_plots.losses(history((2.0, 1.0, 0.9, 1e6, float("inf"))), 2, PAPER).axes
    assert axes.get_ylim()[1] < 1000
    assert axes.get_ylabel() == "cross-entropy (nats),\nhigher ones beyond the scale"


def test_sizes_of_images_are_beside_the_curves() -> None:
    with styled(PAPER):
        for axes in run_plots.curves(MADE.history, 3, PAPER, "x", {1: 72, 3: 128}).axes:
            assert [(text.get_text(), text.xy[0]) for text in axes.texts] == [("72 px", 0.5), ("128 px", 2.5)]


def test_a_run_knows_its_sizes() -> None:
    record = {**MADE.record, "config": {**MADE.record["config"], "epochs": 4, "progressive_size": [0.5, 1.0]}}
    assert replace(MADE, record=record).sizes == {1: 8, 3: 16}
    assert MADE.sizes == {}


def test_bars_of_reliability_are_the_bins() -> None:
    with styled(PAPER):
        figure, tooltips = run_plots.reliability(SUMMARY.calibration, PAPER)
    heights = {patch.get_gid(): patch.get_height() for axes in figure.axes for patch in axes.patches if patch.get_gid()}
    for number, each in enumerate(SUMMARY.calibration.bins):
        assert heights[f"bin{number}"] == each.accuracy
        assert heights[f"count{number}"] == each.n
        assert f"{each.n} images" in tooltips[f"bin{number}"]
    assert set(tooltips) == set(heights)


def test_tooltips_of_points_are_in_the_page() -> None:
    with styled(PAGE):
        figure, tooltips = run_plots.abundance(SUMMARY.abundance, SUMMARY.classes, PAGE)
        svg = inline_svg(figure, "abundance", "alt", tooltips)
    points = {element.get("id"): element for element in ElementTree.fromstring(svg).iter() if element.get("id")}
    assert SUMMARY.abundance is not None
    for number, name in enumerate(SUMMARY.abundance.classes):
        (title,) = [each.text for each in points[f"abundance-class{number}"] if each.tag.endswith("title")]
        row = next(row for row in SUMMARY.classes if row.name == name)
        assert title == (
            f"{name}: recall {row.recall:.3f} ({row.recall_low:.3f} to {row.recall_high:.3f}) of {row.support} images, "
            f"{10 + 10 * number} training images"
        )


def many(number: int) -> tuple[Abundance, list[ClassScores]]:
    draw = np.random.default_rng(0)
    names = tuple(f"A_painter_of_a_long_name_{k}" for k in range(number))
    images, recalls = draw.integers(10, 900, number).tolist(), draw.random(number).tolist()
    rows = [ClassScores(name, 0.5, recall, 0.5, 9, recall, recall) for name, recall in zip(names, recalls, strict=True)]
    return Abundance(names, tuple(images), tuple(recalls), (9,) * number, 0.1, 0.5), rows


def test_names_beside_points_cover_neither_one_another_nor_the_edge() -> None:
    with styled(PAPER):
        figure, _ = run_plots.abundance(*many(50), PAPER)
        figure.draw_without_rendering()
    (axes,) = figure.axes
    boxes = [text.get_window_extent() for text in axes.texts]
    assert 3 <= len(boxes) <= run_plots.LABELLED
    assert not any(one.overlaps(other) for n, one in enumerate(boxes) for other in boxes[:n])
    frame = axes.get_window_extent()
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)


def test_the_matrix_is_drawn_in_order() -> None:
    order = [3, 1, 0, 2, 4]
    with styled(PAPER):
        figure = run_plots.confusion(SUMMARY.confusion, order, PAPER, "x")
    axes = figure.axes[0]
    drawn = axes.get_images()[0].get_array()
    assert np.array_equal(drawn, SUMMARY.confusion.shares[np.ix_(order, order)])
    assert [label.get_text() for label in axes.get_yticklabels()] == [ANIMALS[k] for k in order]
    texts = {(text.get_position()): text.get_text() for text in axes.texts}
    share, number = SUMMARY.confusion.shares[3, 3], SUMMARY.confusion.counts[3, 3]
    assert texts[0, 0] == f"{share:.0%}\n{number}"
    assert to_hex(axes.get_images()[0].get_cmap()(0.0)) == "#00224e", "cividis"


def test_fifty_classes_have_fifty_ticks_and_no_numbers() -> None:
    made = made_up_run([f"class {k}" for k in range(50)], n=300)
    assert made.summary is not None
    with styled(PAPER):
        figure = run_plots.confusion(made.summary.confusion, range(50), PAPER, "x")
    assert len(figure.axes[0].get_xticklabels()) == 50
    assert not len(figure.axes[0].texts)


@pytest.mark.parametrize(("number", "coloured"), [(5, 4), (10, 6)])
def test_a_map_has_each_image_in_the_colour_of_its_class(number: int, coloured: int) -> None:
    """Correct ones and mistakes apart; the last class has no images, and small ones share a colour."""
    made = embedding_map(made_up_run([f"class {k}" for k in range(number)], n=300))
    images = np.bincount(made.labels, minlength=number)
    largest = np.argsort(-images, kind="stable")[:coloured]
    rest = [k for k in range(number) if k not in largest and images[k]]
    with styled(PAPER):
        figure = run_plots.embedding_map(made, PAPER, "x")
        assert as_file(figure, "svg") == as_file(run_plots.embedding_map(made, PAPER, "x"), "svg")
    (axes,) = figure.axes
    drawn: dict[str, list[np.ndarray]] = {}
    for points in axes.collections:
        if len(points.get_offsets()):  # the rest are of the legend
            drawn.setdefault(to_hex(points.get_facecolor()[0]), []).append(np.asarray(points.get_offsets()))
    groups = {PAPER.runs[place]: [k] for place, k in enumerate(largest)} | ({PAPER.faint: rest} if rest else {})
    assert set(drawn) == set(groups)
    for colour, classes in groups.items():
        own = np.isin(made.labels, classes)
        for points, which in zip(drawn[colour], (own & made.right, own & ~made.right), strict=True):
            assert np.array_equal(points, made.positions[which])
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    others = [f"other classes ({images[rest].sum()})"] if rest else []
    assert labels == [*(f"class {k} ({images[k]})" for k in largest), *others, "mistake"]


@pytest.mark.parametrize(
    "names",
    [
        [f"A_painter_of_a_long_name_{k}" for k in range(12)],
        [f"{'W' * 40}{k}" for k in range(7)],
        [f"{'W' * 14}{k}" for k in range(7)],
        ["a", "b", "c"],
    ],
)
def test_the_legend_of_a_map_is_within_the_figure(names: list[str]) -> None:
    with styled(PAPER):
        figure = run_plots.embedding_map(embedding_map(made_up_run(names, n=300)), PAPER)
        figure.draw_without_rendering()
        (legend,) = figure.legends
        box = legend.get_window_extent()
    assert figure.bbox.x0 <= box.x0
    assert box.x1 <= figure.bbox.x1
    assert box.y1 <= figure.bbox.y1
    drawn = sum(len(points.get_offsets()) for points in figure.axes[0].collections)
    assert drawn == 300, "names that are cut alike are classes of their own"


def test_the_axes_of_a_map_have_no_numbers_and_one_scale() -> None:
    with styled(PAPER):
        (axes,) = run_plots.embedding_map(embedding_map(MADE), PAPER).axes
    assert [*axes.get_xticks(), *axes.get_yticks()] == []
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_aspect()) == ("", "", 1)
