"""Against counts by hand, SciPy's t interval, and a front found by going through all pairs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from resnet_lab.core.errors import RunError
from resnet_lab.study.costs import ArmCost, Costs
from resnet_lab.study.details import class_effects, details, learning, pairs, pareto
from resnet_lab.study.trials import Trial
from tests.study.fabricated import design, found

RIGHT = {
    ("plain", 0): [1, 1, 0, 0, 1, 1],
    ("plain", 1): [1, 0, 0, 1, 1, 0],
    ("new", 0): [1, 1, 1, 0, 1, 0],
    ("new", 1): [1, 1, 1, 1, 0, 0],
}
"""Of the test images of classes 0, 1, 2, 0, 1, 2."""


def by_hand(arm: str, seed: int, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.array(RIGHT[arm, seed], dtype=bool)


NAMED = {"arms": {"plain": {}, "new": {"act": "gelu"}}, "seeds": 2}


def shares(arm: str, seed: int, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The first images, as many as the arm and the seed say."""
    right = {"relu none": 30, "relu eca": 36, "gelu none": 33, "gelu eca": 45}[arm] + 3 * seed
    return np.arange(len(labels)) < right


def test_recalls_of_classes_by_hand(tmp_path: Path) -> None:
    told, _ = found(tmp_path, design(**NAMED), by_hand, n=6)
    (effects,) = class_effects(told)
    assert (effects.name, effects.kind) == ("new", "arm")
    assert [each.name for each in effects.classes] == ["class 0", "class 1", "class 2"]
    assert [each.differences for each in effects.classes] == [(0.0, 0.0), (0.0, 0.0), (0.0, 0.5)]
    assert [each.images for each in effects.classes] == [(2, 2)] * 3
    third = effects.classes[2]
    assert third.difference == 0.25
    expected = stats.t.interval(0.95, 1, loc=0.25, scale=stats.sem([0.0, 0.5]))
    assert third.interval == pytest.approx(expected)


def test_a_class_without_images_and_a_seed_without_a_trial_count_for_nothing(tmp_path: Path) -> None:
    told, _ = found(tmp_path, design(**NAMED), by_hand, n=6, classes=3, waiting=(("new", 1),))
    (effects,) = class_effects(told)
    assert [each.differences for each in effects.classes] == [(0.0,), (0.0,), (0.0,)]
    assert [each.interval for each in effects.classes] == [None] * 3
    first, second = told.predicted.cells
    fewer = tuple(
        None if each is None else replace(each, labels=np.where(each.labels == 2, 0, each.labels)) for each in first
    )
    (effects,) = class_effects(replace(told, predicted=replace(told.predicted, cells=(fewer, second))))
    assert effects.classes[2].differences == ()
    assert effects.classes[2].difference is None


def test_main_effects_on_classes_are_means_over_arms(tmp_path: Path) -> None:
    told, _ = found(tmp_path, design(), shares, n=60)
    effects = {each.name: each for each in class_effects(told)}
    assert list(effects) == ["act gelu", "attn eca", "relu eca", "gelu none", "gelu eca"]
    recall = {
        (arm, seed): np.mean(shares(arm, seed, np.arange(60))[np.arange(60) % 3 == 1])
        for arm in ("relu none", "relu eca", "gelu none", "gelu eca")
        for seed in range(3)
    }
    expected = [
        (recall["gelu none", s] + recall["gelu eca", s]) / 2 - (recall["relu none", s] + recall["relu eca", s]) / 2
        for s in range(3)
    ]
    assert effects["act gelu"].classes[1].differences == pytest.approx(expected)


def test_an_arm_that_is_a_main_effect_is_told_once(tmp_path: Path) -> None:
    study = design(factors={"attn": ["none", "eca"]}, seeds=2)
    told, _ = found(tmp_path, study, lambda arm, seed, labels: labels == 0, n=6)
    assert [(each.name, each.kind) for each in class_effects(told)] == [("attn eca", "main")]


def test_curves_of_every_trial_and_the_mean_of_those_that_finished(tmp_path: Path) -> None:
    study = design(**NAMED)
    told, folder = found(tmp_path, study, by_hand, n=6, failed={("new", 1): "it diverged"})
    run = folder.run(Trial(study.arms[1], 1))
    run.metrics.write_text("\n".join(run.metrics.read_text().splitlines()[:2]) + "\n")
    plain, new = learning(told, folder)
    assert (plain.arm, new.arm) == ("plain", "new")
    assert {seed: len(values) for seed, values in new.accuracy.seeds.items()} == {0: 3, 1: 1}
    assert new.accuracy.mean == new.accuracy.seeds[0]
    both = [plain.loss.seeds[0], plain.loss.seeds[1]]
    assert plain.loss.mean == pytest.approx(np.mean(both, axis=0).tolist())
    first = [line.split(",") for line in folder.run(Trial(study.arms[0], 0)).metrics.read_text().splitlines()]
    assert plain.accuracy.seeds[0] == [float(row[first[0].index("val_macro_accuracy")]) for row in first[1:]]


def test_a_damaged_table_of_epochs_is_named(tmp_path: Path) -> None:
    study = design(**NAMED)
    told, folder = found(tmp_path, study, by_hand, n=6)
    run = folder.run(Trial(study.arms[0], 0))
    run.metrics.write_text("epoch,val_loss\n1,2\n")
    with pytest.raises(RunError, match=r"metrics.csv: damaged \('val_macro_accuracy'\); put it back as it was"):
        learning(told, folder)


def test_cells_of_two_factors(tmp_path: Path) -> None:
    told, _ = found(tmp_path, design(), shares, n=60, waiting=(("gelu eca", 2),))
    (pair,) = pairs(told)
    assert (pair.first, pair.second, pair.levels) == ("act", "attn", (("relu", "gelu"), ("none", "eca")))
    cell = pair.cells["relu", "eca"]
    scores = [told.outcomes["relu eca", seed].scores["macro_accuracy"] for seed in range(3)]
    assert (cell.n, cell.mean) == (3, pytest.approx(np.mean(scores)))
    assert cell.interval == pytest.approx(stats.t.interval(0.95, 2, loc=np.mean(scores), scale=stats.sem(scores)))
    assert pair.cells["gelu", "eca"].n == 2


def test_a_cell_of_several_arms_is_their_mean_in_each_seed(tmp_path: Path) -> None:
    study = design(factors={"act": ["relu", "gelu"], "attn": ["none", "eca"], "train.lr": [0.001, 0.002]}, seeds=2)

    def rights(arm: str, seed: int, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.arange(len(labels)) < (30 if arm.endswith("0.001") else 60)

    told, _ = found(tmp_path, study, rights, n=60)
    cells = {(pair.first, pair.second): pair.cells for pair in pairs(told)}
    assert list(cells) == [("act", "attn"), ("act", "train.lr"), ("attn", "train.lr")]
    assert cells["act", "attn"]["gelu", "eca"].mean == pytest.approx(0.75)
    assert cells["act", "train.lr"]["gelu", "0.002"].mean == pytest.approx(1.0)


def cost(ms: float) -> ArmCost:
    return ArmCost(ms, (0.9 * ms, 1.1 * ms), 1.0, None, 1, None)


def test_the_front_is_what_no_arm_beats(tmp_path: Path) -> None:
    told, _ = found(tmp_path, design(), shares, n=60)
    times = {"relu none": 1.0, "relu eca": 3.0, "gelu none": 3.0, "gelu eca": 4.0}
    costs = Costs({arm: {"latency": cost(ms)} for arm, ms in times.items()}, {}, [])
    front = pareto(replace(told, costs=costs))
    assert front.is_measured
    means = {row.arm.name: row.mean for row in told.arms}
    merits = {arm: (-times[arm], means[arm]) for arm in times}
    beaten = {
        arm for arm, (cheap, good) in merits.items() for other in merits.values()
        if other[0] >= cheap and other[1] >= good and other != (cheap, good)
    }  # fmt: skip
    assert {point.arm for point in front.points if point.is_front} == set(times) - beaten
    assert beaten == {"gelu none"}
    assert front.points[1].cost_interval == pytest.approx((2.7, 3.3))
    lower = design(metric="log_loss")
    worse = replace(told, study=lower, costs=costs)
    assert {point.arm for point in pareto(worse).points if point.is_front} == {"relu none"}


def test_multiply_adds_stand_in_where_latency_was_not_measured(tmp_path: Path) -> None:
    told, _ = found(tmp_path, design(), shares, n=60)
    front = pareto(replace(told, costs=None))
    assert not front.is_measured
    assert {point.arm: point.cost for point in front.points} == {row.arm.name: row.macs for row in told.arms}
    one = Costs({"relu none": {"latency": cost(1.0)}, "relu eca": {"latency": cost(2.0)}}, {}, [])
    assert pareto(replace(told, costs=one)).left_out == ("gelu none", "gelu eca")
    assert not pareto(replace(told, costs=Costs({"relu none": {"latency": cost(1.0)}}, {}, []))).is_measured


def test_all_of_it(tmp_path: Path) -> None:
    told, folder = found(tmp_path, design(), shares, n=60)
    behind = details(told, folder)
    assert len(behind.classes) == 5
    assert len(behind.learning) == 4
    assert len(behind.errors) == 3
