"""Figures of a study, read back from matplotlib's own artists, against what they were made of."""

import re
from dataclasses import replace
from itertools import combinations
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from resnet_lab.report import study_detail_plots, study_plots
from resnet_lab.report.figure_style import PAGE, PAPER, inline_svg, styled
from resnet_lab.study.class_effects import ClassEffect, ClassEffects
from resnet_lab.study.interactions import Cell, Interaction
from resnet_lab.study.learning_curves import Curve, LearningCurves
from resnet_lab.study.paired_errors import Count, PairedErrors
from resnet_lab.study.pareto import Pareto, Point
from resnet_lab.study.statistics import Effect

VERDICTS = ("better", "worse", "equivalent", "undecided", "withheld", "exploratory")


def effect(name: str, verdict: str, difference: float, reach: float = 0.01) -> Effect:
    return Effect(
        name, "main", (difference,) * 3, difference, (difference - reach, difference + reach), 0.01, 0.25, 0.02, 1.0,
        (1.0, 0.4, 1.0), verdict, simultaneous=(difference - 2 * reach, difference + 2 * reach),
    )  # fmt: skip


ALL = [effect(f"change {verdict}", verdict, 0.01 * number) for number, verdict in enumerate(VERDICTS)]


def markers(axes: Axes) -> dict[str, tuple[float, float, str]]:
    """Place and shape of every artist with a gid."""
    lines = [line for line in axes.get_lines() if line.get_gid()]
    return {line.get_gid(): (line.get_xdata()[0], line.get_ydata()[0], line.get_marker()) for line in lines}


def test_effects_say_their_verdict_by_shape_colour_and_word() -> None:
    with styled(PAPER):
        figure, tooltips = study_plots.effects(ALL, "macro_accuracy", 0.02, PAPER, "All")
    (axes,) = figure.axes
    found = markers(axes)
    assert [found[f"effect{row}"][0] for row in range(6)] == pytest.approx([0, 1, 2, 3, 4, 5])
    assert len({marker for _, _, marker in found.values()}) == 6
    assert [text.get_text() for text in axes.texts] == list(VERDICTS)
    colours = [line.get_color() for line in axes.get_lines() if line.get_gid()]
    assert len(set(colours)) == 4, "what is not decided is grey"
    assert tooltips["effect1"] == "change worse: +1.00 points of macro accuracy, worse"
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [each.name for each in ALL]
    spans = [line.get_xdata() for line in axes.get_lines() if line.get_linewidth() == 5 and len(line.get_xdata())]
    assert spans[1] == pytest.approx([0, 2])
    thin = [line.get_xdata() for line in axes.get_lines() if line.get_linewidth() == 1.4 and len(line.get_xdata())]
    assert thin[1] == pytest.approx([-1, 3])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["margin", "95% interval", "simultaneous"]
    assert figure.get_suptitle() == "All"


@pytest.mark.parametrize("title", ["", "Effects on mean p(true class): a study with a long name"])
def test_a_legend_covers_neither_title_nor_axes(title: str) -> None:
    with styled(PAPER):
        figure, _ = study_plots.effects(ALL[:3], "mean_p_true", 0.02, PAPER, title)
        figure.draw_without_rendering()
        (axes,) = figure.axes
        (legend,) = figure.legends
        box = legend.get_window_extent()
        others = [axes.get_tightbbox(), *(text.get_window_extent() for text in figure.texts if text.get_text())]
        titles = [figure._suptitle.get_window_extent()] if title else []  # type: ignore[attr-defined]
    assert not any(box.overlaps(each) for each in (*others, *titles))


def test_a_loss_is_no_share() -> None:
    with styled(PAPER):
        figure, _ = study_plots.effects(ALL, "log_loss", None, PAPER)
    assert figure.axes[0].get_xlabel() == "difference (log loss (nats))"
    assert markers(figure.axes[0])["effect4"][0] == pytest.approx(0.04)
    assert next(text.get_text() for text in figure.legends[0].get_texts()) == "95% interval"


def test_an_interval_beyond_all_measure_leaves_the_others_readable() -> None:
    wild = replace(effect("wild", "exploratory", 0.02, 5.0), simultaneous=None)
    with styled(PAPER):
        figure, _ = study_plots.effects([*ALL, wild], "macro_accuracy", None, PAPER)
    low, high = figure.axes[0].get_xlim()
    assert -14 < low < -2
    assert 6 < high < 18
    assert {line.get_marker() for line in figure.axes[0].get_lines()} >= {"<", ">"}


def test_an_effect_without_seeds_is_named_and_not_drawn() -> None:
    silent = replace(ALL[5], differences=(), difference=None, interval=None, simultaneous=None)
    with styled(PAPER):
        figure, tooltips = study_plots.effects([silent], "accuracy", None, PAPER)
    assert tooltips == {}
    assert [text.get_text() for text in figure.axes[0].texts] == ["exploratory"]


def test_factors_two_by_two() -> None:
    cells = {
        (act, attn): Cell(3, 0.5 + 0.1 * a + 0.2 * b, (0.4 + 0.1 * a + 0.2 * b, 0.6 + 0.1 * a + 0.2 * b))
        for a, act in enumerate(("relu", "gelu", "silu"))
        for b, attn in enumerate(("none", "se"))
    }
    cells["silu", "se"] = Cell(0, None, None)
    pair = Interaction("act", "attn", (("relu", "gelu", "silu"), ("none", "se")), cells)
    with styled(PAPER):
        (axes,) = study_plots.interaction(pair, "macro_accuracy", PAPER).axes
    lines = {line.get_label(): line.get_ydata() for line in axes.get_lines() if line.get_marker() == "o"}
    assert lines["attn none"] == pytest.approx([0.5, 0.6, 0.7])
    assert lines["attn se"] == pytest.approx([0.7, 0.8])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["relu", "gelu", "silu"]


def crowd(number: int) -> Pareto:
    draw = np.random.default_rng(number)
    return Pareto(
        True,
        tuple(
            Point(f"act gelu conv {k}", ms, (0.95 * ms, 1.05 * ms), score, (score - 0.02, score + 0.02), k % 5 == 0)
            for k, (ms, score) in enumerate(
                zip(draw.uniform(2, 6, number), draw.uniform(0.7, 0.8, number), strict=True)
            )
        ),
        (),
    )


@pytest.mark.parametrize("number", [2, 8, 16, 32])
def test_names_of_arms_do_not_cover_one_another(number: int) -> None:
    found = crowd(number)
    with styled(PAPER):
        figure, tooltips = study_plots.pareto(found, "accuracy", "act gelu conv 0", PAPER, "Score against latency")
        figure.draw_without_rendering()
    texts = figure.axes[0].texts
    assert [text.get_text() for text in texts].count("act gelu conv 1") == 1
    assert len(texts) == len(tooltips) == number
    boxes = [Text.get_window_extent(text) for text in texts]  # without the lines that lead to the points
    bare = [box.from_extents(box.x0 + 1, box.y0 + 1, box.x1 - 1, box.y1 - 1) for box in boxes]
    assert sum(one.overlaps(other) for one, other in combinations(bare, 2)) == 0


def test_the_front_is_drawn_through_its_points_and_costs_are_named() -> None:
    found = crowd(16)
    with styled(PAPER):
        (axes,) = study_plots.pareto(found, "accuracy", "act gelu conv 0", PAPER)[0].axes
        counted = study_plots.pareto(replace(found, is_measured=False), "accuracy", "", PAPER)[0].axes[0]
    (front,) = [line for line in axes.get_lines() if line.get_label() == "front"]
    on_front = sorted((point.cost, point.score) for point in found.points if point.is_front)
    assert list(zip(front.get_xdata(), front.get_ydata(), strict=True)) == on_front
    assert axes.get_xlabel() == "latency of one image (ms, median with its 95% interval)"
    assert counted.get_xlabel() == "multiply-adds of one image (counted: no latency was measured)"


def test_fixed_works_are_plotted_right_and_broken_left() -> None:
    errors = [PairedErrors("new", (Count(0, 9, 4, 1), Count(1, 9, 2, 2)), (), ()), PairedErrors("none", (), (), ())]
    with styled(PAPER):
        (axes,) = study_plots.errors(errors, PAPER).axes
    assert sorted(bar.get_width() for bar in axes.patches) == [-1.5, 3.0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["new"]
    assert sorted(text.get_text() for text in axes.texts) == ["1.5", "3.0"]


def learned(arms: int, seeds: int = 3, epochs: int = 4) -> list[LearningCurves]:
    def curve(arm: int, top: float) -> Curve:
        lines = {seed: [top * (k + 1) / (epochs + arm + seed) for k in range(epochs)] for seed in range(seeds)}
        return Curve(lines, np.mean(list(lines.values()), axis=0).tolist())

    return [LearningCurves(f"arm {number}", curve(number, 0.9), curve(number, 2.0)) for number in range(arms)]


def test_curves_of_a_few_arms_are_in_one_drawing() -> None:
    found = learned(3)
    with styled(PAPER):
        (axes,) = study_detail_plots.learning(found, "accuracy", PAPER).axes
    thick = [line for line in axes.get_lines() if line.get_linewidth() == 2.5 and len(line.get_xdata())]
    assert [list(line.get_ydata()) for line in thick] == [each.accuracy.mean for each in found]
    thin = [points[:, 1].tolist() for lines in axes.collections for points in lines.get_segments()]
    assert thin == [line for each in found for line in each.accuracy.seeds.values()]
    assert axes.get_ylabel() == "validation macro accuracy"


def test_curves_of_many_arms_have_one_scale_and_the_baseline_beside() -> None:
    found = learned(32)
    with styled(PAPER):
        figure = study_detail_plots.learning_of_all(found, "loss", PAPER, "Loss")
        drawings = study_detail_plots.LearningOfArms(found, "loss", PAPER)
        drawings.of(found[7])
        alone = drawings.of(found[5])
    seen = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in seen] == [each.arm for each in found]
    assert len({axes.get_ylim() for axes in seen}) == 1
    for axes in (seen[5], alone.axes[0]):
        dashed, mean = axes.get_lines()
        assert dashed.get_linestyle() == "--"
        assert list(dashed.get_ydata()) == found[0].loss.mean
        assert list(mean.get_ydata()) == found[5].loss.mean
        (lines,) = axes.collections
        assert [points[:, 1].tolist() for points in lines.get_segments()] == list(found[5].loss.seeds.values())
        assert axes.get_xlim() == pytest.approx((0.85, 4.15))


def test_the_epochs_of_the_longest_training_are_seen() -> None:
    short, long = learned(1, epochs=3), learned(1, epochs=21)
    assert study_detail_plots.span_of_epochs([*short, *long]) == (0, 22)
    assert study_detail_plots.span_of_epochs(learned(2, epochs=1)) == (0.5, 1.5)
    assert study_detail_plots.span_of_epochs([LearningCurves("none", Curve({}, []), Curve({}, []))]) == (0.5, 1.5)


def test_a_long_training_is_drawn_by_some_of_its_epochs() -> None:
    long = [LearningCurves("long", Curve({0: [k / 1000 for k in range(1000)]}, []), Curve({}, []))]
    with styled(PAPER):
        (axes,) = study_detail_plots.learning(long, "accuracy", PAPER).axes
    (points,) = axes.collections[0].get_segments()
    epochs = points[:, 0].tolist()
    assert len(epochs) == study_detail_plots.POINTS
    assert (epochs[0], epochs[-1]) == (1, 1000)
    assert points[:, 1].tolist() == [(epoch - 1) / 1000 for epoch in epochs]


def test_a_diverging_loss_does_not_flatten_the_others() -> None:
    found = learned(2)
    wild = LearningCurves("wild", Curve({0: [0.1, 0.1]}, []), Curve({0: [1e9, float("nan")]}, []))
    assert study_detail_plots.scale_of_curves([*found, wild], "loss")[1] < 2


def of_classes(number: int) -> ClassEffects:
    made = [
        ClassEffect(f"class {k}", (9,), (k / 100,), (k % 7) / 100, (k % 7 / 100 - 0.05, k % 7 / 100 + 0.05))
        for k in range(number)
    ]
    return ClassEffects("attn se", "main", (*made, ClassEffect("absent", (), (), None, None)))


@pytest.mark.parametrize("number", [2, 50])
def test_classes_are_sorted_and_absent_ones_left_out(number: int) -> None:
    with styled(PAPER):
        figure, tooltips = study_detail_plots.classes(of_classes(number), PAPER)
    (axes,) = figure.axes
    found = markers(axes)
    values = [found[f"class{row}"][0] for row in range(number)]
    assert values == sorted(values, reverse=True)
    assert len(tooltips) == len(axes.get_yticklabels()) == number


def drawings() -> dict[str, Figure]:
    cells = {(one, other): Cell(2, 0.5, (0.4, 0.6)) for one in "ab" for other in "cd"}
    return {
        "effects": study_plots.effects(ALL, "accuracy", 0.01, PAGE)[0],
        "pair": study_plots.interaction(Interaction("f", "g", (("a", "b"), ("c", "d")), cells), "accuracy", PAGE),
        "pareto": study_plots.pareto(crowd(8), "accuracy", "act gelu conv 0", PAGE)[0],
        "errors": study_plots.errors([PairedErrors("new", (Count(0, 9, 4, 1),), (), ())], PAGE),
        "learning": study_detail_plots.learning(learned(3), "loss", PAGE),
        "arm": study_detail_plots.LearningOfArms(learned(2), "loss", PAGE).of(learned(2)[1]),
        "classes": study_detail_plots.classes(of_classes(5), PAGE)[0],
    }


def test_a_page_s_drawings_take_its_colours_alone() -> None:
    with styled(PAGE):
        for name, figure in drawings().items():
            plot = inline_svg(figure, name, name)
            ElementTree.fromstring(plot)
            colours = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", plot))
            allowed = re.compile(r"none|currentColor|var\(--(faint|train|mark|run\d)\)")
            assert all(allowed.fullmatch(colour) for colour in colours), (name, colours)
