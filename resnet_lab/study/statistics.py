"""Statistics of paired differences, up to the verdicts. Legend: S seeds, A arms.

Bouthillier et al. 2021, "Accounting for Variance in Machine Learning Benchmarks", arXiv:2103.03098; Agarwal et al. 2021
(rliable), arXiv:2108.13264; Jordan 2023, arXiv:2304.01910; Picard 2021, arXiv:2109.08203.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from resnet_lab.study.contrasts import Contrast
from resnet_lab.study.estimand import EQUAL, MeanEstimate, SeedImages, over_seeds
from resnet_lab.study.gatekeeping import adjusted
from resnet_lab.study.looks import Standing
from resnet_lab.study.plan import FEWEST, Population
from resnet_lab.study.spread import is_skewed, outliers, skewness

LEVEL = 0.95
ALPHA = 0.05
FEWEST_EQUIVALENT = 6
"""Seeds below which nothing is called equivalent."""

EXACT = 16
"""Seeds up to which all sign flips are enumerated, at most 65,536; beyond, as many are sampled."""

Verdict = Literal["better", "worse", "equivalent", "undecided", "withheld", "exploratory"]


@dataclass(frozen=True)
class Effect:
    """Statistics of one contrast; None where there is no seed in which all its trials finished.

    Attributes:
        differences: one per seed, in the metric's unit; positive where the score is higher.
        difference: their mean.
        population: that the verdict is about: `new` images, or the `pool` that seeds drew their test images from.
        interval: of the mean, for that population, at 95% by itself; None with one seed.
        simultaneous: the same, wide enough that all of its family hold at once in 95% of studies (Bonferroni).
        new_interval, pool_interval: for either population; None where it cannot be estimated.
        p_t, p_flip: two-sided, of Student's t for that population, and of the exact sign-flip permutation test.
        p_holm: `p_t`, of a sequential study `p_looks`, adjusted for all tests of the study (`gatekeeping.adjusted`);
            None with too few seeds for a test.
        size: the mean by the standard deviation of the differences (Cohen's d_z); None without spread.
        covariance: of two seeds' differences, on new images; None where it cannot be estimated.
        improvement: share of seeds in which the score is better, ties counting half, and its Wilson interval.
        aliases: effects that are confounded with this one.
        seeds: of the differences.
        worst_seed: at which the change does worst.
        diverged, failed, collapsed: of the arms it needs, those to which that happened, and at which seeds; those that
            failed include those that diverged.
        p_looks: two-sided, allowing for all looks of a sequential study, whose intervals are repeated ones; else None.
        standing: where it stands among these looks.
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
    population: Population = "pool"
    simultaneous: tuple[float, float] | None = None
    new_interval: tuple[float, float] | None = None
    pool_interval: tuple[float, float] | None = None
    covariance: float | None = None
    aliases: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    worst_seed: int | None = None
    diverged: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    failed: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    collapsed: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    p_looks: float | None = None
    standing: Standing | None = None

    @property
    def median(self) -> float | None:
        """Median of the differences."""
        return float(np.median(self.differences)) if self.differences else None

    @property
    def worst(self) -> float | None:
        """Difference at the worst seed."""
        return None if self.worst_seed is None else self.differences[self.seeds.index(self.worst_seed)]

    @property
    def outliers(self) -> tuple[int, ...]:
        """Seeds whose difference is far from the median (`spread.outliers`)."""
        flags = outliers(self.differences) if self.differences else ()
        return tuple(seed for seed, is_far in zip(self.seeds, flags, strict=True) if is_far)

    @property
    def skew(self) -> float | None:
        """Sample skewness of the differences; None where they are too few or equal."""
        return skewness(self.differences) if self.differences else None

    @property
    def is_skewed(self) -> bool:
        """Whether the differences are more skewed than normal ones are (`spread.is_skewed`)."""
        return is_skewed(self.differences) if self.differences else False

    @property
    def n(self) -> int:
        """Seeds."""
        return len(self.differences)

    @property
    def differs(self) -> bool:
        """Whether the test finds a difference, be it within the margin."""
        return self.p_holm is not None and self.p_holm <= ALPHA

    @property
    def differs_within_margin(self) -> bool:
        """Whether it is equivalent although a difference is found."""
        return self.differs and self.verdict == "equivalent"


def judge(
    scores: NDArray[np.float64],
    families: Sequence[Sequence[Contrast]],
    *,
    margin: float | None = None,
    higher_is_better: bool = True,
    population: Population = "pool",
    images: SeedImages | None = None,
    failed: NDArray[np.bool_] | None = None,
    seeds: Sequence[int] | None = None,
) -> list[list[Effect]]:
    """Effects of every family with verdicts.

    A later family is tested with the alpha that the first leaves unused (`gatekeeping.adjusted`), so that over all of
    them the chance of a `better` or `worse` where there is none is 5% at most, whatever else there is. Where a later
    family asks the same as the first, it is asked once.

    An effect is withheld where its arms failed unequally often: a seed that is left out favours the arm that failed. It
    is not tested, and opens no later family.

    Args:
        scores: of each seed and arm, shape (S, A); NaN where a trial failed: its seed is left out of effects that
            need it.
        margin: equivalence margin; None for none.
        population: that verdicts are about, as far as `images` has them.
        images: that each seed tested.
        failed: trials that are left out since they failed, shape (S, A); none by default.
        seeds: by number; from 0 by default.
    """
    estimated = estimate(
        scores,
        families,
        higher_is_better=higher_is_better,
        population=population,
        images=images,
        failed=failed,
        seeds=seeds,
    )
    return with_verdicts(estimated, families, margin, higher_is_better=higher_is_better)


def estimate(
    scores: NDArray[np.float64],
    families: Sequence[Sequence[Contrast]],
    *,
    higher_is_better: bool = True,
    population: Population = "pool",
    images: SeedImages | None = None,
    failed: NDArray[np.bool_] | None = None,
    seeds: Sequence[int] | None = None,
    nominal: Callable[[float], float] = lambda alpha: alpha,
) -> list[list[Effect]]:
    """Effects like `judge`, not tested yet: `withheld` or `undecided`.

    Args:
        nominal: alpha of an interval, of the alpha that it has over all looks of a sequential study.
    """
    numbers = np.arange(len(scores)) if seeds is None else np.asarray(seeds)
    about = _About(numbers, population, images, higher_is_better, nominal)
    return [
        [
            replace(effect, verdict="withheld") if failed is not None and _fail_unequally(contrast, failed) else effect
            for contrast, effect in ((each, _effect(scores, each, len(family), about)) for each in family)
        ]
        for family in families
    ]


def with_verdicts(
    estimated: Sequence[Sequence[Effect]],
    families: Sequence[Sequence[Contrast]],
    margin: float | None,
    *,
    higher_is_better: bool,
) -> list[list[Effect]]:
    """The same effects, tested."""
    p_values = [[_p_value(each) for each in effects] for effects in estimated]
    asked_once = is_asked_once(families)
    tested = adjusted(p_values[:1] if asked_once else p_values)
    return [
        [
            _with_verdict(effect, p, margin, higher_is_better=higher_is_better)
            for effect, p in zip(effects, adjusted_p, strict=True)
        ]
        for effects, adjusted_p in zip(estimated, [tested[0]] * len(families) if asked_once else tested, strict=True)
    ]


def _fail_unequally(contrast: Contrast, failed: NDArray[np.bool_]) -> bool:
    """Whether numbers of failures differ as the contrast weighs arms."""
    return bool(abs(contrast.weights @ failed.sum(0)) > EQUAL)


def _p_value(effect: Effect) -> float:
    """p of an effect before it is adjusted; 1 where it is not tested."""
    p = effect.p_t if effect.p_looks is None else effect.p_looks
    return p if effect.n >= FEWEST and effect.verdict != "withheld" and p is not None else 1.0


def is_asked_once(families: Sequence[Sequence[Contrast]]) -> bool:
    """Whether two families ask the same, one by one: the levels of a single factor are the arms."""
    if len(families) < 2:
        return False
    first, later = families
    return len(first) == len(later) and all(
        np.allclose(one.weights, other.weights) for one, other in zip(first, later, strict=True)
    )


def t_interval(differences: Sequence[float], level: float = LEVEL) -> tuple[float, float] | None:
    """Student's t interval of the mean; None for a single difference."""
    found = over_seeds(differences)
    return None if found is None else found.interval(1 - level)


def t_test(differences: Sequence[float]) -> float:
    """Two-sided p of a mean of 0; 1 where all are 0, or where there is one."""
    found = over_seeds(differences)
    return 1.0 if found is None else found.p_value


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


def power(difference: float, spread: float, seeds: int, tests: int = 1, covariance: float = 0.0) -> float:
    """Chance that a true difference is found at 5%, adjusted for so many tests.

    Args:
        spread: standard deviation of the paired differences.
        covariance: of the differences of two seeds, which more seeds do not average out.
    """
    if seeds < 2:
        return 0.0
    variance = spread**2 + (seeds - 1) * covariance
    if variance == 0:
        return 1.0 if difference else 0.0
    from scipy.stats import nct, t  # takes a third of a second

    noncentrality, critical = abs(difference) * np.sqrt(seeds / variance), t.isf(ALPHA / tests / 2, seeds - 1)
    # the lower tail as the upper one of the mirrored distribution: scipy 1.17's `cdf` is nan far out
    return float(sum(nct.sf(critical, seeds - 1, each) for each in (noncentrality, -noncentrality)))


def seeds_needed(
    difference: float, spread: float, tests: int = 1, covariance: float = 0.0, *, wanted: float = 0.8, most: int = 1000
) -> int | None:
    """The fewest seeds with that power; None where `most` are not enough."""
    if power(difference, spread, most, tests, covariance) < wanted:
        return None
    for seeds in range(FEWEST, most + 1):
        if power(difference, spread, seeds, tests, covariance) >= wanted:
            return seeds
    return None


@dataclass(frozen=True)
class _About:
    """Common arguments of the estimates of all contrasts, named as in `estimate`."""

    seeds: NDArray[np.int64]
    population: Population
    images: SeedImages | None
    higher_is_better: bool
    nominal: Callable[[float], float]


def _effect(scores: NDArray[np.float64], contrast: Contrast, tests: int, about: _About) -> Effect:
    """Estimate of a contrast, not tested yet.

    Args:
        tests: number of contrasts of its family.
    """
    population, images, seeds = about.population, about.images, about.seeds
    needed = contrast.weights != 0
    whole = np.asarray(~np.isnan(scores[:, needed]).any(1))
    differences = tuple((scores[whole][:, needed] @ contrast.weights[needed]).tolist())
    if not differences:
        return Effect(
            contrast.name, contrast.kind, (), None, None, None, None, None, None, None, "exploratory", population,
            aliases=contrast.aliases,
        )  # fmt: skip
    gains = differences if about.higher_is_better else tuple(-each for each in differences)
    spread = float(np.std(differences, ddof=1)) if len(differences) > 1 else 0.0
    pool = over_seeds(differences)
    new = None if images is None else images.new(differences, contrast.weights, whole)
    chosen = new if population == "new" and new is not None else pool

    def interval(of: MeanEstimate | None, alpha: float = ALPHA) -> tuple[float, float] | None:
        return None if of is None else of.interval(about.nominal(alpha))

    return Effect(
        name=contrast.name,
        kind=contrast.kind,
        differences=differences,
        difference=float(np.mean(differences)),
        interval=interval(chosen),
        p_t=1.0 if chosen is None else chosen.p_value,
        p_flip=sign_flip_test(differences),
        p_holm=None,
        size=float(np.mean(differences)) / spread if spread > 0 else None,
        improvement=_improvement(gains),
        verdict="undecided",
        population="pool" if chosen is pool else "new",
        simultaneous=interval(chosen, ALPHA / tests),
        new_interval=interval(new),
        pool_interval=interval(pool),
        covariance=_covariance(len(differences), pool, new),
        aliases=contrast.aliases,
        seeds=tuple(seeds[whole].tolist()),
        worst_seed=int(seeds[whole][np.argmin(gains)]),
    )


def _covariance(seeds: int, pool: MeanEstimate | None, new: MeanEstimate | None) -> float | None:
    """Covariance of two seeds: the variance of the mean beyond the pool's is of S (S - 1) pairs, by S^2."""
    if pool is None or new is None:
        return None
    return max(0.0, new.variance - pool.variance) * seeds / (seeds - 1)


def _improvement(differences: Sequence[float]) -> tuple[float, float, float]:
    """Wilson's interval for a share, with ties counting half."""
    n = len(differences)
    share = (sum(value > 0 for value in differences) + 0.5 * sum(value == 0 for value in differences)) / n
    z = float(ndtri((1 + LEVEL) / 2))
    centre, reach = share + z**2 / (2 * n), z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    scale = 1 + z**2 / n
    return share, float(max(0.0, (centre - reach) / scale)), float(min(1.0, (centre + reach) / scale))


def _with_verdict(effect: Effect, p: float, margin: float | None, *, higher_is_better: bool) -> Effect:
    """An interval wholly within the margin is equivalent, whatever its p.

    Args:
        p: adjusted.
    """
    if effect.n < FEWEST or effect.interval is None or effect.difference is None:
        return replace(effect, verdict="exploratory")
    if effect.verdict == "withheld":
        return effect
    low, high = effect.interval
    varied = np.ptp(effect.differences) > EQUAL * np.max(np.abs(effect.differences))
    verdict: Verdict = "undecided"
    if margin is not None and -margin <= low and high <= margin and varied and effect.n >= FEWEST_EQUIVALENT:
        verdict = "equivalent"
    elif p <= ALPHA:
        verdict = "better" if (effect.difference > 0) == higher_is_better else "worse"
    return replace(effect, p_holm=p, verdict=verdict)
