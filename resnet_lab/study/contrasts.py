"""Contrasts between arms. Legend: A arms, S seeds.

A contrast is a weight for each arm, summing to zero; the scores of a seed's arms times these weights are that seed's
difference. Every question of a study is one: a main effect, an interaction, an arm against the baseline.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

Levels = Mapping[str, str]
"""An arm's level of each factor."""


@dataclass(frozen=True)
class Contrast:
    """A question.

    Attributes:
        name: as a reader knows it: `attn cbam`, `act gelu x attn cbam`, or an arm's name.
        kind: `main`, `interaction` or `arm`.
        weights: of each arm, shape (A,).
        aliases: other effects that are confounded with it in this design.
    """

    name: str
    kind: str
    weights: NDArray[np.float64]
    aliases: tuple[str, ...] = ()


def factorial_contrasts(factors: Mapping[str, Sequence[str]], arms: Sequence[Levels]) -> list[Contrast]:
    """Main effects of every level against its factor's first, then interactions of two factors.

    A main effect is the mean over the arms at that level less the mean over those at the first: with the other factors
    as balanced as the design has them. An interaction of two is the difference that the one makes at the other's level,
    less the difference that it makes at the other's first level.

    Args:
        factors: levels of each, the first being the baseline's; factors of one level are left out.
        arms: of a full or fractional factorial.
    """
    varied = {name: levels for name, levels in factors.items() if len(levels) > 1}
    found = [
        Contrast(f"{name} {level}", "main", _difference(arms, {name: level}, {name: levels[0]}))
        for name, levels in varied.items()
        for level in levels[1:]
    ]
    for (one, ones), (other, others) in combinations(varied.items(), 2):
        for level, other_level in product(ones[1:], others[1:]):
            corners = [
                {one: level, other: other_level}, {one: level, other: others[0]},
                {one: ones[0], other: other_level}, {one: ones[0], other: others[0]},
            ]  # fmt: skip
            if all(any(_matches(arm, corner) for arm in arms) for corner in corners):
                weights = _difference(arms, corners[0], corners[1]) - _difference(arms, corners[2], corners[3])
                found.append(Contrast(f"{one} {level} x {other} {other_level}", "interaction", weights))
    return _without_repeats(_with_aliases(found))


def arm_contrasts(names: Sequence[str]) -> list[Contrast]:
    """Each arm against the first."""
    found = []
    for number, name in enumerate(names[1:], 1):
        weights = np.zeros(len(names))
        weights[number], weights[0] = 1.0, -1.0
        found.append(Contrast(name, "arm", weights))
    return found


def _difference(arms: Sequence[Levels], these: Levels, those: Levels) -> NDArray[np.float64]:
    """Weights of the mean over the arms with `these` levels less the mean over those with `those`."""
    first, second = (np.array([_matches(arm, wanted) for arm in arms], dtype=float) for wanted in (these, those))
    weights: NDArray[np.float64] = first / first.sum() - second / second.sum()
    return weights


def _matches(arm: Levels, wanted: Levels) -> bool:
    return all(arm[name] == level for name, level in wanted.items())


def _without_repeats(contrasts: Sequence[Contrast]) -> list[Contrast]:
    """An interaction that is confounded with an earlier effect is tested once, under that effect's name."""
    names: set[str] = set()
    kept = []
    for each in contrasts:
        if each.kind == "main" or not names.intersection(each.aliases):
            kept.append(each)
            names.add(each.name)
    return kept


def _with_aliases(contrasts: Sequence[Contrast]) -> list[Contrast]:
    """Add aliases: in a fractional factorial some effects have the same weights, up to scale and sign."""

    def direction(contrast: Contrast) -> NDArray[np.float64]:
        unit: NDArray[np.float64] = contrast.weights / np.linalg.norm(contrast.weights)
        return unit

    return [
        Contrast(
            each.name,
            each.kind,
            each.weights,
            tuple(
                other.name
                for other in contrasts
                if other is not each and abs(abs(direction(each) @ direction(other)) - 1) < 1e-9
            ),
        )
        for each in contrasts
    ]
