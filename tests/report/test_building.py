"""Reports from the run folder to the page."""

from dataclasses import replace
from pathlib import Path

import pytest

from resnet_lab.device import choose
from resnet_lab.evaluation.comparison import compare
from resnet_lab.evaluation.report_contents import ReportContents
from resnet_lab.report.building import BuiltReport, build_report, default_path, write_plots
from tests.report.made_up_runs import embedding_map, made_up_run

CPU = choose("cpu", "fp32")


def test_where_a_page_goes() -> None:
    assert default_path([Path("runs/relu")]) == Path("runs/relu/report.html")
    assert default_path([Path("a/relu"), Path("b/gelu"), Path("se")]) == Path("a/relu/compared-with-gelu-se.html")


@pytest.mark.slow
def test_each_plot_of_a_run_as_png_and_svg(tmp_path: Path) -> None:
    written = write_plots(BuiltReport("", {}, (made_up_run(),)), tmp_path / "deep" / "plots")
    names = {"curves", "headline", "confusion-by-images", "confusion-by-similarity", "reliability", "abundance"}
    assert {path.name for path in written} == {f"{name}.{kind}" for name in names for kind in ("png", "svg")}
    assert all(path.stat().st_size > 2000 for path in written)
    title = "Figures of relu, test part, 120 images"
    assert title in (tmp_path / "deep" / "plots" / "headline.svg").read_text()


def test_a_map_is_a_plot_and_in_the_numbers(tmp_path: Path) -> None:
    made = made_up_run()
    found = embedding_map(made, scored=3000)
    with_map = build_report(ReportContents((made,), embedding_map=found))
    assert with_map.numbers["map"] == found.as_json()
    assert with_map.numbers["map"]["images"][7]["path"] == found.paths[7]
    without = build_report(ReportContents((made,)))
    assert without.numbers == {name: value for name, value in with_map.numbers.items() if name != "map"}
    nothing_else = replace(with_map, runs=(replace(made, history=(), summary=None),))
    with_summary = {path.name for path in write_plots(with_map, tmp_path)}
    assert {"map.png", "map.svg"} <= with_summary
    assert write_plots(nothing_else, tmp_path) == []
    svg = (tmp_path / "map.svg").read_text()
    assert "Embeddings of relu (t-SNE), test part, 120" in svg


def test_a_run_without_predictions_has_its_curves_alone(tmp_path: Path) -> None:
    made = replace(made_up_run(), predictions=None, summary=None, obstacle="there are no weights yet")
    assert [path.name for path in write_plots(BuiltReport("", {}, (made,)), tmp_path)] == ["curves.png", "curves.svg"]


def test_each_plot_of_a_comparison(tmp_path: Path) -> None:
    runs = (made_up_run(), made_up_run(seed=1, name="gelu"))
    compared = compare(runs[0].predictions, runs[1].predictions, ("a", "b"))
    written = write_plots(BuiltReport("", {}, runs, (compared,)), tmp_path)
    names = {"losses", "accuracies", "headline", "differences", "recall"}
    assert {path.stem for path in written} == names
