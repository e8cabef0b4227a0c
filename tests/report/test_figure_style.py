"""Names of any width and titles of any length leave room for what a figure shows."""

from collections.abc import Callable, Iterator

import pytest
from matplotlib.figure import Figure

from resnet_lab.evaluation.metrics.headline import Interval
from resnet_lab.report import comparison_plots, run_plots, study_detail_plots, study_plots
from resnet_lab.report.figure_style import PAPER, styled
from resnet_lab.study.class_effects import ClassEffect, ClassEffects
from resnet_lab.study.interactions import Cell, Interaction
from resnet_lab.study.learning_curves import Curve, LearningCurves
from resnet_lab.study.paired_errors import Count, PairedErrors
from resnet_lab.study.pareto import Pareto, Point
from resnet_lab.study.statistics import Effect
from tests.report.made_up_runs import history, made_up_run

NAMES = {"words": "act gelu conv depthwise attn cbam width 64", "wide": "W" * 60, "ideographs": "畫" * 60}
TITLE = "Effects on a metric of the last three epochs: " + "a long name " * 12
NARROWEST, LOWEST = 1.0, 0.3
"""Least size of axes in inches."""


def effect(name: str) -> Effect:
    return Effect(
        name, "main", (0.01,) * 3, 0.01, (0.0, 0.02), 0.01, 0.25, 0.02, 1.0, (1.0, 0.4, 1.0), "exploratory",
        simultaneous=(-0.01, 0.03),
    )  # fmt: skip


def arms(name: str, number: int) -> list[str]:
    return [name, *(f"{k}{name}" for k in range(number - 1))]


def learned(name: str, number: int) -> list[LearningCurves]:
    curve = Curve({0: [0.4, 0.5], 1: [0.5, 0.6]}, [0.45, 0.55])
    return [LearningCurves(arm, curve, curve) for arm in arms(name, number)]


def of_a_study(name: str, title: str, number: int) -> Iterator[Figure]:
    names = arms(name, number)
    yield study_plots.effects([effect(each) for each in names], "mean_p_true", 0.02, PAPER, title)[0]
    yield study_plots.effects([effect(each) for each in names], "log_loss", None, PAPER, title)[0]
    counts = (Count(0, 9, 4, 1), Count(1, 9, 2, 2))
    yield study_plots.errors([PairedErrors(each, counts, (), ()) for each in names], PAPER, title)
    levels = ((name, f"2{name}"), (name, f"3{name}"))
    cells = {(one, other): Cell(2, 0.5, (0.4, 0.6)) for one in levels[0] for other in levels[1]}
    yield study_plots.interaction(Interaction("train.lr", "attn", levels, cells), "accuracy", PAPER, title)
    points = tuple(Point(each, 2.0 + k, None, 0.7, None, k == 0) for k, each in enumerate(names))
    yield study_plots.pareto(Pareto(True, points, ()), "accuracy", name, PAPER, title)[0]
    yield study_detail_plots.learning(learned(name, min(number, 4)), "loss", PAPER, title)
    yield study_detail_plots.learning_of_all(learned(name, number), "loss", PAPER, title)
    classes = [ClassEffect(each, (9,), (0.1,), 0.1, (0.0, 0.2)) for each in names]
    yield study_detail_plots.classes(ClassEffects("attn se", "main", tuple(classes)), PAPER, title)[0]


def of_runs(name: str, title: str, number: int) -> Iterator[Figure]:
    made = made_up_run(arms(name, max(number, 2)))
    shown = made.summary
    assert shown is not None
    assert shown.abundance is not None
    yield run_plots.headline(shown.headline, PAPER, title)
    yield run_plots.abundance(shown.abundance, shown.classes, PAPER, title)[0]
    yield run_plots.confusion(shown.confusion, range(len(shown.confusion.classes)), PAPER, title)
    runs = arms(name, min(number, 6))
    yield comparison_plots.accuracies(dict.fromkeys(runs, history()), PAPER, title)
    figures: dict[str, dict[str, Interval]] = {run: dict(shown.headline) for run in runs}
    yield comparison_plots.headlines(figures, PAPER, title)
    yield comparison_plots.differences(figures, PAPER, title)
    yield comparison_plots.recalls(
        shown.confusion.classes, dict.fromkeys(runs, [(0.1, 0.2, 0.3)] * len(shown.confusion.classes)), PAPER, title
    )


@pytest.mark.parametrize("made", [of_a_study, of_runs])
@pytest.mark.parametrize(
    ("name", "title"),
    [
        (NAMES["words"], TITLE),
        *(pytest.param(name, TITLE, marks=pytest.mark.slow) for name in NAMES.values() if name != NAMES["words"]),
        pytest.param(NAMES["wide"], "", marks=pytest.mark.slow),
        pytest.param("se", "in a very long title that goes on " * 3 + "畫" * 40 + "W" * 60, marks=pytest.mark.slow),
    ],
)
def test_there_is_room(name: str, title: str, made: Callable[[str, str, int], Iterator[Figure]]) -> None:
    with styled(PAPER):
        for number in (1, 8):
            for place, figure in enumerate(made(name, title, number)):
                figure.draw_without_rendering()
                for axes in (each for each in figure.axes if each.get_visible() and each.get_label() != "<colorbar>"):
                    frame = axes.get_window_extent()
                    assert frame.width / figure.dpi > NARROWEST, (place, number)
                    assert frame.height / figure.dpi > LOWEST, (place, number)
                for text in figure.texts:
                    box = text.get_window_extent()
                    assert box.x0 >= 0, (place, number, text.get_text())
                    assert box.x1 <= figure.bbox.width, (place, number, text.get_text())
