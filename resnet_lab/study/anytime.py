"""t tests that hold at any number of seeds, however it came to be: for studies that are continued at will.

Wang and Ramdas 2024, "Anytime-valid t-tests and confidence sequences for Gaussian means with unknown variance",
arXiv:2310.03722, section 4: the Bayes factor of a standardised mean that is normal with mean 0 and variance 1 / c^2,
and of a scale with its right Haar measure. It depends on t alone and is a martingale under a mean of 0, so that in at
most alpha of studies it ever comes to 1 / alpha (Ville 1939).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from resnet_lab.study.estimand import EQUAL
from resnet_lab.study.statistics import ALPHA, Effect

PRECISION = 1.0
"""c^2: a standardised mean of 1 is expected."""

FEWEST = 2
"""Seeds from which on there is a t."""


@dataclass(frozen=True)
class AnytimeTest:
    """Test and interval of a mean, from the differences in the order of their seeds.

    Attributes:
        p: two-sided, of the largest evidence at any number of seeds that had a mean of the same sign.
        deviation, n: of all differences.
    """

    mean: float
    deviation: float
    n: int
    p: float

    def interval(self, alpha: float) -> tuple[float, float]:
        """Interval of level 1 - alpha, which hold at all numbers of seeds at once; infinite where those are too few."""
        share = PRECISION / (self.n + PRECISION)
        ratio = (1 / (alpha * np.sqrt(share))) ** (2 / self.n)
        if share * ratio >= 1:
            return -np.inf, np.inf
        squared = (self.n - 1) * (ratio - 1) / (1 - share * ratio)
        reach = float(self.deviation * np.sqrt(squared / self.n))
        return self.mean - reach, self.mean + reach


def anytime_test(differences: Sequence[float]) -> AnytimeTest | None:
    """The test; None for a single difference."""
    values = np.asarray(differences, dtype=float)
    if len(values) < FEWEST:
        return None
    mean, deviation = float(values.mean()), float(np.std(values, ddof=1))
    alike = [n for n in range(FEWEST, len(values) + 1) if values[:n].mean() * mean > 0]
    evidence = max((log_evidence(values[:n]) for n in alike), default=0.0)
    return AnytimeTest(mean, deviation, len(values), float(np.exp(-max(0.0, evidence))))


def log_evidence(values: Sequence[float] | NDArray[np.float64]) -> float:
    """Logarithm of the Bayes factor against a mean of 0; 0 where the values are equal."""
    n, mean, squares = len(values), float(np.mean(values)), float(np.var(values, ddof=1))
    if np.ptp(values) <= EQUAL * np.max(np.abs(values)):
        return 0.0
    t_by_freedom = n * mean**2 / squares / (n - 1)
    share = PRECISION / (n + PRECISION)
    return float(np.log(share) / 2 + n / 2 * (np.log1p(t_by_freedom) - np.log1p(share * t_by_freedom)))


def at_any_time(effect: Effect, tests: int) -> Effect:
    """An effect, not tested yet, with p and intervals that hold at any number of seeds.

    They are about the images at hand where seeds share some: the spread between seeds does not show what they share.

    Args:
        tests: number of contrasts of its family.
    """
    found = anytime_test(effect.differences)
    if found is None:
        return effect
    alone, shares = _finite(found.interval(ALPHA)), bool(effect.covariance)
    about_new = effect.population == "new" and not shares
    return replace(
        effect,
        p_looks=found.p,
        population="new" if about_new else "pool",
        interval=alone,
        simultaneous=_finite(found.interval(ALPHA / tests)),
        pool_interval=alone,
        new_interval=None if shares or effect.new_interval is None else alone,
    )


def _finite(span: tuple[float, float]) -> tuple[float, float] | None:
    return span if np.isfinite(span).all() else None
