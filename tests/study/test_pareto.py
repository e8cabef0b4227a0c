"""Compared with a front found by comparing all pairs of arms."""

from dataclasses import replace
from pathlib import Path

import pytest

from resnet_lab.study.costs import ArmCost, Costs
from resnet_lab.study.pareto import pareto
from tests.study.fabricated import design, found, shares


def cost(ms: float) -> ArmCost:
    return ArmCost(ms, (0.9 * ms, 1.1 * ms), 1.0, None, 1, None)


def test_the_front_is_what_no_arm_beats(tmp_path: Path) -> None:
    results, _ = found(tmp_path, design(), shares, n=60)
    times = {"relu none": 1.0, "relu eca": 3.0, "gelu none": 3.0, "gelu eca": 4.0}
    costs = Costs({arm: {"latency": cost(ms)} for arm, ms in times.items()}, {}, [])
    front = pareto(replace(results, costs=costs))
    assert front.is_measured
    means = {row.arm.name: row.mean for row in results.arms}
    merits = {arm: (-times[arm], means[arm]) for arm in times}
    beaten = {
        arm for arm, (cheap, good) in merits.items() for other in merits.values()
        if other[0] >= cheap and other[1] >= good and other != (cheap, good)
    }  # fmt: skip
    assert {point.arm for point in front.points if point.is_front} == set(times) - beaten
    assert beaten == {"gelu none"}
    assert front.points[1].cost_interval == pytest.approx((2.7, 3.3))
    lower = design(metric="log_loss")
    worse = replace(results, study=lower, costs=costs)
    assert {point.arm for point in pareto(worse).points if point.is_front} == {"relu none"}


def test_multiply_adds_are_used_where_latency_was_not_measured(tmp_path: Path) -> None:
    results, _ = found(tmp_path, design(), shares, n=60)
    front = pareto(replace(results, costs=None))
    assert not front.is_measured
    assert {point.arm: point.cost for point in front.points} == {row.arm.name: row.macs for row in results.arms}
    one = Costs({"relu none": {"latency": cost(1.0)}, "relu eca": {"latency": cost(2.0)}}, {}, [])
    assert pareto(replace(results, costs=one)).left_out == ("gelu none", "gelu eca")
    assert not pareto(replace(results, costs=Costs({"relu none": {"latency": cost(1.0)}}, {}, []))).is_measured
