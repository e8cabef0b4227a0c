"""Compared with works counted by hand."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnet_lab.study.paired_errors import Count, paired_errors
from tests.study.fabricated import design, found

RIGHT = {
    ("plain", 0): [1, 0, 0, 1, 1],
    ("plain", 1): [1, 0, 0, 1, 1],
    ("plain", 2): [1, 0, 1, 1, 0],
    ("new", 0): [1, 1, 1, 0, 1],
    ("new", 1): [1, 1, 0, 0, 1],
    ("new", 2): [1, 0, 0, 1, 1],
}
STUDY = design(arms={"plain": {}, "new": {"act": "gelu"}}, seeds=3)


def by_hand(arm: str, seed: int, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.array(RIGHT[arm, seed], dtype=bool)


def test_works_fixed_and_broken_by_hand(tmp_path: Path) -> None:
    judged, _ = found(tmp_path, STUDY, by_hand, n=5)
    (errors,) = paired_errors(judged)
    assert errors.arm == "new"
    assert errors.counts == (Count(0, 5, 2, 1), Count(1, 5, 1, 1), Count(2, 5, 1, 1))
    assert [(work.path, work.tested, work.fixed, work.broken) for work in errors.fixed] == [
        ("1/1.png", 3, 2, 0), ("1/4.png", 3, 1, 0),
    ]  # fmt: skip
    assert [(work.path, work.tested, work.fixed, work.broken) for work in errors.broken] == [("0/3.png", 3, 0, 2)]
    work = errors.fixed[0]
    assert (work.true, work.digest) == ("class 1", f"{1:064x}")
    assert work.baseline == ("class 2", 3)
    assert work.arm == ("class 1", 2)


def test_a_work_fixed_as_often_as_broken_is_neither(tmp_path: Path) -> None:
    judged, _ = found(tmp_path, STUDY, by_hand, n=5)
    (errors,) = paired_errors(judged)
    assert "2/2.png" not in {work.path for work in (*errors.fixed, *errors.broken)}


def test_no_more_works_than_are_wanted_and_only_seeds_with_both(tmp_path: Path) -> None:
    judged, _ = found(tmp_path, STUDY, by_hand, n=5, waiting=(("plain", 2),))
    (errors,) = paired_errors(judged, most=1)
    assert [count.seed for count in errors.counts] == [0, 1]
    assert [(work.path, work.tested) for work in errors.fixed] == [("1/1.png", 2)]
    judged, _ = found(tmp_path / "none", STUDY, by_hand, n=5, waiting=tuple(("plain", seed) for seed in range(3)))
    (errors,) = paired_errors(judged)
    assert (errors.counts, errors.fixed, errors.broken) == ((), (), ())
