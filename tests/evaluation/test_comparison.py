from dataclasses import replace

import numpy as np
import pytest

from resnet_lab.core.errors import DataError
from resnet_lab.evaluation.comparison import compare
from resnet_lab.evaluation.metrics import paired
from resnet_lab.evaluation.predictions import Predictions
from tests.evaluation.metrics.drawn import predictions
from tests.evaluation.test_predictions import ORIGIN

NAMES = ("runs/a", "runs/b")


def drawn(seed: int, n: int = 30) -> Predictions:
    labels, _ = predictions(np.random.default_rng(0), n, 3)
    _, probabilities = predictions(np.random.default_rng(seed), n, 3)
    paths = tuple(f"{number}.jpg" for number in range(n))
    return Predictions(("x", "y", "z"), paths, tuple(map(str, range(n))), labels, probabilities, ORIGIN)


def test_images_in_another_order_are_matched() -> None:
    first, second = drawn(1), drawn(2)
    order = np.random.default_rng(0).permutation(30)
    shuffled = replace(
        second,
        paths=tuple(second.paths[k] for k in order),
        digests=tuple(second.digests[k] for k in order),
        labels=second.labels[order],
        probabilities=second.probabilities[order],
    )
    found = compare(first, shuffled, NAMES)
    expected = paired(first.labels, first.probabilities, second.probabilities)
    assert found.paired.differences == expected.differences
    assert (found.paired.fixed == expected.fixed).all()
    assert found.second.paths == first.paths


def test_the_record() -> None:
    first, second = drawn(1), drawn(2)
    content = compare(first, second, NAMES).as_json()
    was, is_ = (each.predicted == each.labels for each in (first, second))
    assert [row["path"] for row in content["fixed"]] == [first.paths[k] for k in np.flatnonzero(~was & is_)]
    assert [row["path"] for row in content["broken"]] == [first.paths[k] for k in np.flatnonzero(was & ~is_)]
    accuracy = content["figures"]["accuracy"]
    assert (accuracy["first"], accuracy["second"]) == pytest.approx((was.mean(), is_.mean()))
    assert accuracy["difference"] == pytest.approx(is_.mean() - was.mean())
    row = content["fixed"][0]
    assert row["second"]["predicted"] == row["true"] != row["first"]["predicted"]
    assert content["sign_test"]["fixed"] == len(content["fixed"])


def test_other_images_are_refused_by_name() -> None:
    first, second = drawn(1), drawn(2, n=29)
    labels = second.labels.copy()
    labels[3] = (labels[3] + 1) % 3
    second = replace(
        second, paths=("new.jpg", *second.paths[1:]), digests=("0", "changed", *second.digests[2:]), labels=labels
    )
    with pytest.raises(DataError) as failure:
        compare(first, second, NAMES)
    assert str(failure.value) == (
        "runs/a and runs/b were scored on different images: 2 scored by runs/a alone (0.jpg, 29.jpg); "
        "1 scored by runs/b alone (new.jpg); 1 of another content (1.jpg); 1 of another class (3.jpg); "
        "train both with the same --split-file, or score both with `resnet-lab eval --data`"
    )


def test_many_other_images_are_not_all_named() -> None:
    other = replace(drawn(2), paths=tuple(f"other {number}.jpg" for number in range(30)))
    with pytest.raises(DataError, match=r"30 scored by runs/a alone \(0.jpg, 1.jpg, 2.jpg, \.\.\.\)"):
        compare(drawn(1), other, NAMES)


@pytest.mark.parametrize("names", [("z", "x", "y"), ("Z", "x", "Y")], ids=["order", "case"])
def test_the_same_classes_in_another_order_are_matched_by_name(names: tuple[str, ...]) -> None:
    first, second = drawn(1), drawn(2)
    order = [2, 0, 1]  # of the second's classes among the first's
    other = replace(
        second,
        classes=names,
        labels=np.array([order.index(label) for label in second.labels]),
        probabilities=second.probabilities[:, order],
    )
    found = compare(first, other, NAMES)
    assert found.paired.differences == paired(first.labels, first.probabilities, second.probabilities).differences
    assert (found.second.classes, found.own.classes, found.places) == (("x", "y", "z"), names, (1, 2, 0))
    assert (found.second.probabilities == second.probabilities).all()
    assert found.notes == (("'Z' is taken for 'z'", "'Y' is taken for 'y'") if "Z" in names else ())


def test_classes_of_other_names_by_a_class_map() -> None:
    other = replace(drawn(2), classes=("x", "y", "w"))
    assert compare(drawn(1), other, NAMES, {"w": "z"}).notes == ("'w' is taken for 'z'",)
    assert compare(drawn(1), other, NAMES, {"z": "w"}).second.classes == ("x", "y", "z"), "either side's names"


def test_other_classes_are_refused() -> None:
    with pytest.raises(DataError) as failure:
        compare(drawn(1), replace(drawn(2), classes=("x", "y", "w")), NAMES)
    assert str(failure.value) == (
        "runs/a and runs/b know different classes: only the first ['z'], only the second ['w']; "
        "compare runs on the same data"
    )
