"""Reports from the run folder to the page."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from resnet_lab.core.errors import RunError
from resnet_lab.core.run_folder import Run
from resnet_lab.device import choose
from resnet_lab.evaluation.comparison import compare
from resnet_lab.report import building
from resnet_lab.report.building import BuiltReport, build_report, default_path, write_plots
from tests.report.subjects import ANIMALS, REGISTRY, subject

CPU = choose("cpu", "fp32")


def test_where_a_page_goes() -> None:
    assert default_path([Path("runs/relu")]) == Path("runs/relu/report.html")
    assert default_path([Path("a/relu"), Path("b/gelu"), Path("se")]) == Path("a/relu/compared-with-gelu-se.html")


def test_each_plot_of_a_run_as_png_and_svg(tmp_path: Path) -> None:
    written = write_plots(BuiltReport("", {}, (subject(),)), tmp_path / "deep" / "plots")
    names = {"curves", "headline", "confusion-by-images", "confusion-by-similarity", "reliability", "abundance"}
    assert {path.name for path in written} == {f"{name}.{kind}" for name in names for kind in ("png", "svg")}
    assert all(path.stat().st_size > 2000 for path in written)
    title = "Figures of relu, test part, 120 images"
    assert title in (tmp_path / "deep" / "plots" / "headline.svg").read_text()


def test_a_run_without_predictions_has_its_curves_alone(tmp_path: Path) -> None:
    made = replace(subject(), predictions=None, summary=None, obstacle="there are no weights yet")
    assert [path.name for path in write_plots(BuiltReport("", {}, (made,)), tmp_path)] == ["curves.png", "curves.svg"]


def test_each_plot_of_a_comparison(tmp_path: Path) -> None:
    runs = (subject(), subject(seed=1, name="gelu"))
    compared = compare(runs[0].predictions, runs[1].predictions, ("a", "b"))
    written = write_plots(BuiltReport("", {}, runs, (compared,)), tmp_path)
    names = {"losses", "accuracies", "headline", "differences", "recall"}
    assert {path.stem for path in written} == names


def test_recalls_are_matched_by_class_name(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = subject(), subject(seed=1, name="gelu")
    order = [4, 2, 0, 1, 3]
    scored = second.predictions
    assert scored is not None
    other = replace(
        scored,
        classes=tuple(ANIMALS[k].upper() for k in order),
        labels=np.array([order.index(label) for label in scored.labels]),
        probabilities=scored.probabilities[:, order],
    )
    images = {name.upper(): 10 + 10 * number for number, name in enumerate(ANIMALS)}
    monkeypatch.setattr(Run, "training_images", lambda self, classes: tuple(images[name] for name in classes))
    compared = compare(first.predictions, other, ("a", "b"))
    found = building._in_order(replace(second, predictions=other, summary=None), compared)
    assert found.summary is not None
    assert second.summary is not None
    assert found.summary.as_json() == second.summary.as_json()
    assert building._in_order(second, compare(first.predictions, scored, ("a", "b"))) is second


@pytest.mark.parametrize(("most", "fixed", "broken"), [(0, 0, 0), (4, 2, 2), (5, 2, 3), (1000, None, None)])
def test_disputed_works_are_the_surest_of_both_kinds(most: int, fixed: int | None, broken: int | None) -> None:
    compared = compare(subject().predictions, subject(seed=1).predictions, ("a", "b"))
    found = building._disputed(compared, most)
    kinds = []
    for chosen, right in ((compared.paired.fixed, compared.second), (compared.paired.broken, compared.first)):
        kinds.append(sorted(chosen.tolist(), key=lambda number: -right.confidences[number]))
    fixed, broken = (len(kinds[0]) if fixed is None else fixed), (len(kinds[1]) if broken is None else broken)
    assert found.tolist() == kinds[0][:fixed] + kinds[1][:broken]


def test_few_broken_works_leave_room_for_fixed_ones() -> None:
    compared = compare(subject().predictions, subject(seed=1).predictions, ("a", "b"))
    paired = replace(compared.paired, broken=compared.paired.broken[:1])
    found = building._disputed(replace(compared, paired=paired), 6)
    assert np.isin(found, paired.fixed).sum() == 5
    assert np.isin(found, paired.broken).sum() == 1


def test_a_run_without_predictions_cannot_be_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = replace(subject(), predictions=None, summary=None, obstacle="there are no weights yet")
    monkeypatch.setattr(building, "look_at", lambda path, *_, **__: empty)
    monkeypatch.setattr(Run, "open", lambda path: type("Finished", (), {"read": lambda self: {"status": "finished"}})())
    with pytest.raises(RunError) as error:
        build_report([Path("a"), Path("b")], CPU, REGISTRY)
    assert str(error.value) == "runs/relu: there is nothing to compare: there are no weights yet; leave the run out"
