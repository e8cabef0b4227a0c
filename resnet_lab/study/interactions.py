"""Mean scores at each combination of two factors' levels."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from resnet_lab.study.results import StudyFindings
from resnet_lab.study.statistics import t_interval

Span = tuple[float, float]


@dataclass(frozen=True)
class Cell:
    """The metric's mean over `n` seeds at one level of each factor, with its 95% t interval."""

    n: int
    mean: float | None
    interval: Span | None


@dataclass(frozen=True)
class Interaction:
    """Scores by the levels of two factors.

    Attributes:
        levels: of the first factor and of the second.
        cells: by a level of each.
    """

    first: str
    second: str
    levels: tuple[tuple[str, ...], tuple[str, ...]]
    cells: dict[tuple[str, str], Cell]


def interactions(found: StudyFindings) -> list[Interaction]:
    """Scores of every pair of factors that vary; none where the design has no interaction apart from main effects."""
    if not any(effect.kind == "interaction" for effect in found.effects):
        return []
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
        made.append(Interaction(one, other, (ones, others), cells))
    return made


def _cell(scores: NDArray[np.float64]) -> Cell:
    """Mean over the seeds in which all these arms (S, arms) finished."""
    means = scores.mean(1)
    whole = means[~np.isnan(means)].tolist()
    return Cell(len(whole), float(np.mean(whole)) if whole else None, t_interval(whole))
