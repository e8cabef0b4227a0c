import io

from matplotlib.figure import Figure

from resnet_lab.report.bench_plots import _front, time_against_macs, time_of_stages
from tests.bench.test_results import content


def drawn(figure: Figure) -> None:
    figure.savefig(io.BytesIO(), format="png")


def test_time_against_multiply_adds() -> None:
    figure = time_against_macs(content(), "infer")
    drawn(figure)
    (axes,) = figure.axes
    points = axes.containers[0].lines[0].get_xydata()
    assert points.tolist() == [[1.0, 10.0], [2.0, 15.0]]
    assert axes.get_xlabel() == "multiply-adds for one image (10$^9$)"
    assert axes.get_ylabel() == "inference of a batch (ms, median and quartiles)"
    assert {text.get_text() for text in axes.texts} == {"relu", "gelu"}
    assert "a processor, " in axes.get_title()


def test_titles_name_every_size_and_batch() -> None:
    found = content()
    found["arms"][0] |= {"size": 32, "batch": 8}
    found["arms"][1] |= {"size": 64, "batch": 16}
    assert ", batch 8, 16, 32, 64 px, up to " in time_against_macs(found, "infer").axes[0].get_title()


def test_the_front_is_what_none_beats_in_both() -> None:
    assert _front([3.0, 1.0, 2.0, 2.5], [1.0, 4.0, 2.0, 3.0]) == [1, 2, 0]


def test_time_of_each_stage() -> None:
    found = content()
    for arm, layer in zip(found["arms"], (0.004, 0.006), strict=True):
        arm["profile"] = {"operators": [], "stages": {"stem": 0.001, "layer1": layer}}
    figure = time_of_stages(found)
    drawn(figure)
    (axes,) = figure.axes
    bars = [[(bar.get_x(), round(bar.get_width(), 9)) for bar in container] for container in axes.containers]
    assert bars == [[(0, 1), (0, 1)], [(1, 4), (1, 6)]]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["relu", "gelu"]
