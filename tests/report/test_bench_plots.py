"""Figures of a bench, read back from matplotlib's own artists, and where they are written."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from resnet_lab.bench.report_contents import BenchContents, contents_of
from resnet_lab.report.bench_plots import pareto_front, roofline, time_against, time_of_stages, write_bench_plots
from resnet_lab.report.figure_style import PAPER, styled
from tests.bench.results_by_hand import with_operators
from tests.bench.test_results import content


def contents(**changes: object) -> BenchContents:
    return contents_of({**with_operators(content()), **changes}, "the bench")


def drawn(figure: Figure) -> Figure:
    figure.draw_without_rendering()
    return figure


def test_time_against_multiply_adds_and_parameters() -> None:
    with styled(PAPER):
        figure, tooltips = time_against(contents(), "infer", "macs", PAPER)
        other = time_against(contents(), "infer", "parameters", PAPER)[0]
        (axes,) = drawn(figure).axes
    points = {line.get_gid(): line.get_xydata().tolist() for line in axes.get_lines() if line.get_gid()}
    assert points == {"arm0": [[1e9, 10.0]], "arm1": [[2e9, 15.0]]}
    (dotted,) = [line for line in axes.get_lines() if line.get_linestyle() == ":"]
    assert dotted.get_xydata()[-1] == pytest.approx([2.1e9, 21.0]), "twice the multiply-adds, twice the time"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("multiply-adds for one image", "inference of a batch (ms)")
    assert {text.get_text() for text in axes.texts} == {"relu", "gelu"}
    assert tooltips["arm1"] == "gelu: 15 ms, 2 G multiply-adds for one image"
    assert other.axes[0].get_xlabel() == "parameters"
    assert "1 k" in [tick.get_text() for tick in drawn(other).axes[0].get_xticklabels()]


def test_the_front_is_what_none_beats_in_both() -> None:
    assert pareto_front([3.0, 1.0, 2.0, 2.5], [1.0, 4.0, 2.0, 3.0]) == [1, 2, 0]


def test_time_of_each_stage() -> None:
    with styled(PAPER):
        (axes,) = drawn(time_of_stages(contents(), PAPER)).axes
    bars = [[(bar.get_x(), round(bar.get_width(), 9)) for bar in container] for container in axes.containers]
    assert bars == [[(0, 1), (0, 1)], [(1, 4), (1, 6)]]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["relu", "gelu"]


def test_the_roofline_has_the_two_limits_and_a_point_for_each_kind_with_multiply_adds() -> None:
    found = contents()
    with styled(PAPER):
        drawing = roofline(found.roof, found.arms[0], PAPER)
    assert drawing is not None
    figure, tooltips = drawing
    limits, *_ = figure.axes[0].get_lines()
    x, y = limits.get_data()
    assert (x[1], y[1]) == (10.0, 1e10), "1e9 bytes and 1e10 multiply-adds a second meet at 10 per byte"
    assert y[0] / x[0] == pytest.approx(1e9)
    points = {line.get_gid(): line.get_xydata()[0].tolist() for line in figure.axes[0].get_lines() if line.get_gid()}
    assert points == {"operator0": [20.0, pytest.approx(4e7 / 0.004)]}
    assert tooltips == {"operator0": "convolution 3x3: 80% of the time, 4.00 ms"}


def test_no_roofline_without_operators_or_rate() -> None:
    plain, timed = contents_of(content(), "the bench"), contents()
    assert roofline(plain.roof, plain.arms[0], PAPER) is None
    other = timed.arms[0].model_copy(update={"precision": "fp32"})
    assert roofline(timed.roof, other, PAPER) is None


@pytest.mark.slow
def test_every_plot_is_written(tmp_path: Path) -> None:
    written = {path.name for path in write_bench_plots(contents(), tmp_path / "plots")}
    names = ("time-infer", "time-infer-parameters", "stages", "roofline-0-relu", "roofline-1-gelu")
    assert written == {f"{name}.{kind}" for name in names for kind in ("png", "svg")}
    text = (tmp_path / "plots" / "time-infer.svg").read_text()
    assert "batch 8, 224 px, up to 6" in " ".join(text.split())
