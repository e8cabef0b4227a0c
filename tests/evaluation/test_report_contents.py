"""Contents of a page, gathered from runs on the disk."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from resnet_lab.core.errors import RunError
from resnet_lab.core.run_folder import Run
from resnet_lab.device import choose
from resnet_lab.evaluation import report_contents
from resnet_lab.evaluation.comparison import compare
from resnet_lab.evaluation.report_contents import gather_report
from tests.report.made_up_runs import ANIMALS, REGISTRY, made_up_run

CPU = choose("cpu", "fp32")


def test_recalls_of_classes_in_another_order_stand_beside_the_same_names(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = made_up_run(), made_up_run(seed=1, name="gelu")
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
    found = report_contents._in_order(replace(second, predictions=other, summary=None), Run(Path("gelu")), compared)
    assert found.summary is not None
    assert second.summary is not None
    assert found.summary.as_json() == second.summary.as_json()
    assert (
        report_contents._in_order(second, Run(Path("gelu")), compare(first.predictions, scored, ("a", "b"))) is second
    )


@pytest.mark.parametrize(("most", "fixed", "broken"), [(0, 0, 0), (4, 2, 2), (5, 2, 3), (1000, None, None)])
def test_disputed_works_are_the_surest_of_both_kinds(most: int, fixed: int | None, broken: int | None) -> None:
    compared = compare(made_up_run().predictions, made_up_run(seed=1).predictions, ("a", "b"))
    found = report_contents._disputed(compared, most)
    kinds = []
    for chosen, right in ((compared.paired.fixed, compared.second), (compared.paired.broken, compared.first)):
        kinds.append(sorted(chosen.tolist(), key=lambda number: -right.confidences[number]))
    fixed, broken = (len(kinds[0]) if fixed is None else fixed), (len(kinds[1]) if broken is None else broken)
    assert found.tolist() == kinds[0][:fixed] + kinds[1][:broken]


def test_few_broken_works_leave_room_for_fixed_ones() -> None:
    compared = compare(made_up_run().predictions, made_up_run(seed=1).predictions, ("a", "b"))
    paired = replace(compared.paired, broken=compared.paired.broken[:1])
    found = report_contents._disputed(replace(compared, paired=paired), 6)
    assert np.isin(found, paired.fixed).sum() == 5
    assert np.isin(found, paired.broken).sum() == 1


def test_a_run_without_predictions_cannot_be_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = replace(made_up_run(), predictions=None, summary=None, obstacle="there are no weights yet")
    monkeypatch.setattr(report_contents, "look_at", lambda path, *_, **__: empty)
    monkeypatch.setattr(Run, "open", lambda path: type("Finished", (), {"read": lambda self: {"status": "finished"}})())
    with pytest.raises(RunError) as error:
        gather_report([Path("a"), Path("b")], CPU, REGISTRY)
    assert str(error.value) == "runs/relu: there is nothing to compare: there are no weights yet; leave the run out"
