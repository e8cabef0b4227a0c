"""Statistics of paired differences, up to the verdicts. Legend: S seeds, A arms.

Bouthillier et al. 2021, "Accounting for Variance in Machine Learning Benchmarks", arXiv:2103.03098; Agarwal et al. 2021
(rliable), arXiv:2108.13264; Jordan 2023, arXiv:2304.01910; Picard 2021, arXiv:2109.08203.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.power import TTestPower

from resnet_lab.study.contrasts import Contrast

LEVEL = 0.95
ALPHA = 0.05
FEWEST = 3
"""Seeds below which a study is exploratory."""

EXACT = 16
"""Seeds up to which all sign flips are enumerated, at most 65,536; beyond, as many are sampled."""

EQUAL = 1e-12
"""Relative difference below which two numbers differ by rounding alone."""

Verdict = Literal["better", "worse", "equivalent", "undecided", "exploratory"]


@dataclass(frozen=True)
class Effect:
    """Statistics of one contrast; None where there is no seed in which all its trials finished.

    Attributes:
        differences: one per seed, in the metric's unit; positive where the score is higher.
        difference: their mean.
        interval: of that mean, from Student's t; None with one seed.
        p_t, p_flip: two-sided, of a paired t test, and of the exact sign-flip permutation test.
        p_holm: `p_t` adjusted for all effects of its family (Holm 1979).
        size: the mean by the standard deviation of the differences (Cohen's d_z); None without spread.
        improvement: share of seeds with a positive difference, ties counting half, and its Wilson interval.
        image_interval: over seeds and test images, both resampled; None without predictions.
        aliases: effects that are confounded with this one.
        diverged: of the arms it needs, those that diverged, and at which seeds.
    """

    name: str
    kind: str
    differences: tuple[float, ...]
    difference: float | None
    interval: tuple[float, float] | None
    p_t: float | None
    p_flip: float | None
    p_holm: float | None
    size: float | None
    improvement: tuple[float, float, float] | None
    verdict: Verdict
    aliases: tuple[str, ...] = ()
    image_interval: tuple[float, float] | None = None
    diverged: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """Seeds."""
        return len(self.differences)


def judge(
    scores: NDArray[np.float64],
    families: Sequence[Sequence[Contrast]],
    *,
    margin: float | None = None,
    higher_is_better: bool = True,
) -> list[list[Effect]]:
    """Effects of every family with verdicts.

    Families are tested one after the other, each with Holm's adjustment at 5%: a later one only if an earlier one
    found something (serial gatekeeping, Westfall and Krishen 2001, doi:10.1016/S0378-3758(01)00077-5). So where no arm
    differs from any other, the chance of any `better` or `worse` in the whole study is 5% at most.

    Args:
        scores: of each seed and arm, shape (S, A); NaN where a trial failed: its seed is left out of effects that
            need it.
        margin: equivalence margin; None for none.
    """
    judged: list[list[Effect]] = []
    is_open = True
    for family in families:
        effects = [_effect(scores, contrast) for contrast in family]
        adjusted = holm([1.0 if effect.p_t is None else effect.p_t for effect in effects])
        effects = [
            effect if effect.p_t is None else replace(effect, p_holm=p)
            for effect, p in zip(effects, adjusted, strict=True)
        ]
        effects = [
            replace(effect, verdict=_verdict(effect, margin, higher_is_better=higher_is_better, is_open=is_open))
            for effect in effects
        ]
        is_open = is_open and any(effect.p_holm is not None and effect.p_holm <= ALPHA for effect in effects)
        judged.append(effects)
    return judged


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values, in the same order (statsmodels' own collects garbage at each call, which takes 50 ms)."""
    values = np.asarray(p_values)
    order = np.argsort(values, kind="stable")
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(1, np.maximum.accumulate((len(values) - np.arange(len(values))) * values[order]))
    found: list[float] = adjusted.tolist()
    return found


def t_interval(differences: Sequence[float], level: float = LEVEL) -> tuple[float, float] | None:
    """Student's t interval of the mean; None for a single difference."""
    n = len(differences)
    if n < 2:
        return None
    mean = float(np.mean(differences))
    reach = float(stats.t.ppf((1 + level) / 2, n - 1) * np.std(differences, ddof=1) / np.sqrt(n))
    return mean - reach, mean + reach


def t_test(differences: Sequence[float]) -> float:
    """Two-sided p of a mean of 0; 1 where all are 0, or where there is one.

    Equal differences, which few test images can give, have no spread to test against: their p is the sign-flip test's.
    """
    if len(differences) < 2 or not np.any(differences):
        return 1.0
    if np.ptp(differences) <= EQUAL * np.max(np.abs(differences)):
        return smallest_p(len(differences))
    spread, mean = float(np.std(differences, ddof=1)), float(np.mean(differences))
    statistic = mean / (spread / np.sqrt(len(differences)))
    return 2 * float(stats.t.sf(abs(statistic), len(differences) - 1))


def sign_flip_test(differences: Sequence[float]) -> float:
    """Two-sided p of the mean under all changes of sign, the exact permutation test of paired differences."""
    values = np.asarray(differences, dtype=float)
    sums = np.abs(_signs(len(values)) @ values)
    extreme: float = np.mean(sums >= abs(values.sum()) * (1 - 1e-12) - 1e-15)
    return float(extreme)


@cache
def _signs(n: int) -> NDArray[np.float64]:
    """All changes of n signs, or as many as `EXACT` signs have, drawn with none changed among them."""
    if n <= EXACT:
        return np.array(list(product((1.0, -1.0), repeat=n)))
    drawn = np.random.default_rng(0).choice((1.0, -1.0), size=(2**EXACT - 1, n))
    return np.concatenate([np.ones((1, n)), drawn])


def smallest_p(seeds: int) -> float:
    """Smallest p of the sign-flip test with so many seeds: two of all changes of sign."""
    return float(min(1.0, 2.0 / 2**seeds))


def power(difference: float, spread: float, seeds: int, tests: int = 1) -> float:
    """Chance that a true difference is found at 5%, Holm's adjustment for so many tests at its strictest.

    Args:
        spread: standard deviation of the paired differences.
    """
    if seeds < 2:
        return 0.0
    if spread == 0:
        return 1.0 if difference else 0.0
    return float(TTestPower().power(abs(difference) / spread, seeds, ALPHA / tests, alternative="two-sided"))


def seeds_needed(difference: float, spread: float, tests: int = 1, wanted: float = 0.8, most: int = 1000) -> int | None:
    """The fewest seeds with that power; None where `most` are not enough."""
    for seeds in range(FEWEST, most + 1):
        if power(difference, spread, seeds, tests) >= wanted:
            return seeds
    return None


def _effect(scores: NDArray[np.float64], contrast: Contrast) -> Effect:
    needed = contrast.weights != 0
    whole = ~np.isnan(scores[:, needed]).any(1)
    differences = tuple((scores[whole][:, needed] @ contrast.weights[needed]).tolist())
    if not differences:
        return Effect(
            contrast.name, contrast.kind, (), None, None, None, None, None, None, None, "exploratory", contrast.aliases
        )
    spread = float(np.std(differences, ddof=1)) if len(differences) > 1 else 0.0
    return Effect(
        name=contrast.name,
        kind=contrast.kind,
        differences=differences,
        difference=float(np.mean(differences)),
        interval=t_interval(differences),
        p_t=t_test(differences),
        p_flip=sign_flip_test(differences),
        p_holm=1.0,
        size=float(np.mean(differences)) / spread if spread > 0 else None,
        improvement=_improvement(differences),
        verdict="undecided",
        aliases=contrast.aliases,
    )


def _improvement(differences: Sequence[float]) -> tuple[float, float, float]:
    """Wilson's interval for a share, with ties counting half."""
    n = len(differences)
    share = (sum(value > 0 for value in differences) + 0.5 * sum(value == 0 for value in differences)) / n
    z = float(stats.norm.ppf((1 + LEVEL) / 2))
    centre, reach = share + z**2 / (2 * n), z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    scale = 1 + z**2 / n
    return share, float(max(0.0, (centre - reach) / scale)), float(min(1.0, (centre + reach) / scale))


def _verdict(effect: Effect, margin: float | None, *, higher_is_better: bool, is_open: bool) -> Verdict:
    """An interval wholly within the margin is equivalent, whatever its p."""
    if effect.n < FEWEST or effect.interval is None or effect.difference is None or effect.p_holm is None:
        return "exploratory"
    low, high = effect.interval
    if margin is not None and -margin <= low and high <= margin:
        return "equivalent"
    if is_open and effect.p_holm <= ALPHA:
        return "better" if (effect.difference > 0) == higher_is_better else "worse"
    return "undecided"
