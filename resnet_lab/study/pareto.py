"""Cost against score of a study's arms, and the Pareto front."""

from collections.abc import Sequence
from dataclasses import dataclass

from resnet_lab.study.plan import LOWER_IS_BETTER
from resnet_lab.study.results import ArmRow, StudyFindings

Span = tuple[float, float]


@dataclass(frozen=True)
class Point:
    """An arm's cost and score.

    Attributes:
        cost: latency in ms per image where it was measured, else multiply-adds.
        is_front: whether it is Pareto-optimal.
    """

    arm: str
    cost: float
    cost_interval: Span | None
    score: float
    score_interval: Span | None
    is_front: bool


@dataclass(frozen=True)
class Pareto:
    """Cost against score.

    Attributes:
        is_measured: whether cost is the measured latency; else it is counted multiply-adds.
        left_out: arms without a score or a cost.
    """

    is_measured: bool
    points: tuple[Point, ...]
    left_out: tuple[str, ...]


def pareto(found: StudyFindings) -> Pareto:
    """Score against measured latency where at least two arms have one, else against multiply-adds."""
    latencies = {
        arm.name: cost
        for arm in found.study.arms
        if found.costs is not None and (cost := found.costs.of(arm.name, "latency")) is not None
    }
    scored = [row for row in found.arms if row.mean is not None]
    is_measured = sum(row.arm.name in latencies for row in scored) > 1

    def costs(row: ArmRow) -> tuple[float, Span | None] | None:
        if not is_measured:
            return float(row.macs), None
        latency = latencies.get(row.arm.name)
        return None if latency is None else (latency.median_ms, latency.interval_ms)

    known = [(row, price) for row in scored if (price := costs(row)) is not None]
    sign = -1 if found.study.plan.metric in LOWER_IS_BETTER else 1
    merits = [(price[0], sign * (row.mean or 0.0)) for row, price in known]
    points = tuple(
        Point(row.arm.name, *price, row.mean or 0.0, row.interval, _is_front(merit, merits))
        for (row, price), merit in zip(known, merits, strict=True)
    )
    named = {point.arm for point in points}
    return Pareto(is_measured, points, tuple(row.arm.name for row in found.arms if row.arm.name not in named))


def _is_front(merit: tuple[float, float], all_merits: Sequence[tuple[float, float]]) -> bool:
    """Whether no other is at least as cheap and as good, and better in one of the two."""
    cost, score = merit
    return not any(
        other_cost <= cost and other >= score and (other_cost, other) != merit for other_cost, other in all_merits
    )
