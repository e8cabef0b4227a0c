"""What stands behind a study's verdicts: classes, curves, factors two by two, cost beside score.

Legend: S seeds, A arms, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from resnet_lab.core.errors import RunError
from resnet_lab.study.contrasts import Contrast
from resnet_lab.study.paired_errors import PairedErrors, paired_errors
from resnet_lab.study.plan import LOWER_IS_BETTER
from resnet_lab.study.results import ArmRow, StudyFindings
from resnet_lab.study.statistics import t_interval
from resnet_lab.study.trials import StudyFolder, Trial

Span = tuple[float, float]


@dataclass(frozen=True)
class ClassEffect:
    """How a contrast changes the recall of one class.

    Attributes:
        images: of the class in the test part, of each seed that counts; seeds without any are left out.
        differences: of the recall, of the same seeds.
        difference, interval: their mean, with Student's t; None without seeds, or with a single one.
    """

    name: str
    images: tuple[int, ...]
    differences: tuple[float, ...]
    difference: float | None
    interval: Span | None


@dataclass(frozen=True)
class ClassEffects:
    """Of one contrast on every class; no verdicts, as nothing is adjusted for the number of classes.

    Attributes:
        kind: `main` or `arm`.
    """

    name: str
    kind: str
    classes: tuple[ClassEffect, ...]


@dataclass(frozen=True)
class Curve:
    """A figure of the validation part after each epoch.

    Attributes:
        seeds: values by seed, of every trial that has begun.
        mean: over the trials that finished, as far as all of them go.
    """

    seeds: dict[int, list[float]]
    mean: list[float]


@dataclass(frozen=True)
class Learning:
    """Of one arm: macro accuracy and loss of the validation part."""

    arm: str
    accuracy: Curve
    loss: Curve


@dataclass(frozen=True)
class Cell:
    """All arms at a level of either of two factors: the metric's mean over seeds, with Student's t."""

    n: int
    mean: float | None
    interval: Span | None


@dataclass(frozen=True)
class Pair:
    """Two factors together.

    Attributes:
        levels: of the first and of the second.
        cells: by a level of each.
    """

    first: str
    second: str
    levels: tuple[tuple[str, ...], tuple[str, ...]]
    cells: dict[tuple[str, str], Cell]


@dataclass(frozen=True)
class Point:
    """An arm by what it costs and how well it does.

    Attributes:
        cost: milliseconds of one image where it was measured, else multiply-adds.
        is_front: no arm is better in one and as good in the other.
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
        is_measured: whether cost is the latency that was measured; else it is counted multiply-adds.
        left_out: arms without a score or a cost.
    """

    is_measured: bool
    points: tuple[Point, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Details:
    """All of that.

    Attributes:
        errors: of each arm against the baseline.
    """

    classes: list[ClassEffects]
    learning: list[Learning]
    pairs: list[Pair]
    pareto: Pareto
    errors: list[PairedErrors]


def details(found: StudyFindings, folder: StudyFolder) -> Details:
    """Raises `RunError` where a trial's table of epochs is damaged."""
    return Details(class_effects(found), learning(found, folder), pairs(found), pareto(found), paired_errors(found))


def class_effects(found: StudyFindings) -> list[ClassEffects]:
    """Of main effects, and of each arm that is not one of these under another name."""
    recalls, images = _recalls(found)
    classes = found.predicted.values()[0].classes
    kept: list[Contrast] = []
    for contrast in (each for family in found.study.families for each in family if each.kind != "interaction"):
        if not any(np.allclose(contrast.weights, other.weights) for other in kept):
            kept.append(contrast)
    return [ClassEffects(each.name, each.kind, _on_classes(each, classes, recalls, images)) for each in kept]


def _on_classes(
    contrast: Contrast, classes: Sequence[str], recalls: NDArray[np.float64], images: NDArray[np.int64]
) -> tuple[ClassEffect, ...]:
    needed = contrast.weights != 0
    values = np.einsum("sak,a->sk", recalls[:, needed], contrast.weights[needed])  # (S, K)
    support = images[:, needed].max(1)  # (S, K)
    made = []
    for k, name in enumerate(classes):
        whole = ~np.isnan(values[:, k])
        differences = values[whole, k].tolist()
        made.append(
            ClassEffect(
                name,
                tuple(support[whole, k].tolist()),
                tuple(differences),
                float(np.mean(differences)) if differences else None,
                t_interval(differences),
            )
        )
    return tuple(made)


def _recalls(found: StudyFindings) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Recall, NaN where there is none, and images of each class, both of shape (S, A, K)."""
    number = len(found.predicted.values()[0].classes)
    shape = (len(found.predicted.seeds), len(found.predicted.arms), number)
    recalls, images = np.full(shape, np.nan), np.zeros(shape, dtype=np.int64)
    for s, row in enumerate(found.predicted.cells):
        for a, each in enumerate(row):
            if each is not None:
                support = np.bincount(each.labels, minlength=number)
                right = np.bincount(each.labels[each.predicted == each.labels], minlength=number)
                np.divide(right, support, out=recalls[s, a], where=support > 0)
                images[s, a] = support
    return recalls, images


def learning(found: StudyFindings, folder: StudyFolder) -> list[Learning]:
    """Of every arm, from its trials' tables of epochs; raises `RunError` where one is damaged."""
    made, done = [], found.finished
    for arm in found.study.arms:
        tables = {seed: _epochs(folder, Trial(arm, seed)) for seed in found.study.seeds}
        curves = []
        for column in ("val_macro_accuracy", "val_loss"):
            seeds = {seed: [row[column] for row in rows] for seed, rows in tables.items() if rows}
            finished = [seeds[seed] for seed in done.of_arm(arm.name) if seed in seeds]
            curves.append(Curve(seeds, [float(np.mean(each)) for each in zip(*finished, strict=False)]))
        made.append(Learning(arm.name, *curves))
    return made


def _epochs(folder: StudyFolder, trial: Trial) -> list[dict[str, float]]:
    run = folder.run(trial)
    try:
        rows = run.epochs() if run.metrics.exists() else []
        return [{name: row[name] for name in ("val_macro_accuracy", "val_loss")} for row in rows]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{run.metrics}: damaged ({error}); put it back as it was") from None


def pairs(found: StudyFindings) -> list[Pair]:
    """Every two factors that vary."""
    arms, plan = found.study.arms, found.study.plan
    levels = {name: tuple(dict.fromkeys(arm.levels[name] for arm in arms)) for name in plan.factors}
    varied = {name: each for name, each in levels.items() if len(each) > 1}
    scores = found.scores
    made = []
    for (one, ones), (other, others) in combinations(varied.items(), 2):
        cells = {}
        for level in ones:
            for other_level in others:
                there = [arm.levels[one] == level and arm.levels[other] == other_level for arm in arms]
                if any(there):
                    cells[level, other_level] = _cell(scores[:, there])
        made.append(Pair(one, other, (ones, others), cells))
    return made


def _cell(scores: NDArray[np.float64]) -> Cell:
    """Of the seeds in which all these arms (S, arms) finished."""
    means = scores.mean(1)
    whole = means[~np.isnan(means)].tolist()
    return Cell(len(whole), float(np.mean(whole)) if whole else None, t_interval(whole))


def pareto(found: StudyFindings) -> Pareto:
    """Against measured latency where two arms or more have one, else against multiply-adds."""
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
    """Whether no other is as cheap and as good, and better in one of both."""
    cost, score = merit
    return not any(
        other_cost <= cost and other >= score and (other_cost, other) != merit for other_cost, other in all_merits
    )
