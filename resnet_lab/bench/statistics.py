"""Statistics of interleaved times and their ratios. Legend: R rounds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

LEVEL = 0.95
RESOLUTION = 0.02
"""Equivalence margin of ratios: two copies of one network can differ by that."""

SPREAD = 0.10
"""Interquartile range by median above which a time is marked as noisy."""

APART = 3
"""Times as wide as asked that an interval may be where it lies beyond `RESOLUTION`."""

FEWEST = 6
"""Rounds below which there is no interval: the extremes of five hold the median in 94% of cases, of six in 97%."""

Verdict = Literal["baseline", "faster", "slower", "same", "undecided"]


@dataclass(frozen=True)
class Timing:
    """One arm's times.

    Attributes:
        samples: milliseconds of a call, one a round, shape (R,).
        ratio: median over the rounds of its time by the baseline's.
        interval: of that median, exact at 95% or more; None with fewer rounds than `FEWEST`. A percentile bootstrap
            of the median, tried in simulation, covered 91%.
        verdict: `faster` or `slower` where the interval lies beyond `RESOLUTION`, `same` where it lies within it.
    """

    samples: tuple[float, ...]
    ratio: float
    interval: tuple[float, float] | None
    verdict: Verdict

    @property
    def median_ms(self) -> float:
        """Milliseconds."""
        return float(np.median(self.samples))

    @property
    def iqr_ms(self) -> float:
        """Interquartile range in milliseconds."""
        low, high = np.quantile(self.samples, (0.25, 0.75))
        return float(high - low)

    @property
    def is_noisy(self) -> bool:
        """Whether the times spread by more than `SPREAD`."""
        return self.iqr_ms > SPREAD * self.median_ms

    @property
    def n(self) -> int:
        """Rounds."""
        return len(self.samples)


def timing(samples: Sequence[float], baseline: Sequence[float]) -> Timing:
    """Summarise milliseconds of an arm (R,) and of the baseline in the same rounds, and in later ones if there are."""
    ratios = np.asarray(samples) / np.asarray(baseline[: len(samples)])
    if samples is baseline:
        return Timing(tuple(samples), 1.0, (1.0, 1.0), "baseline")
    interval = median_interval(ratios.tolist())
    return Timing(tuple(samples), float(np.median(ratios)), interval, _verdict(interval))


def is_narrow(found: Timing, width: float) -> bool:
    """Whether an arm needs no further round, where intervals are to be of that half width, relative to the ratio.

    Under this rule the order statistics stay an interval of 94% and more (`benchmarks/simulate_figures.py`).
    """
    if found.interval is None:
        return False
    low, high = found.interval
    is_apart = found.verdict in ("faster", "slower")
    return (high - low) / 2 <= (APART if is_apart else 1) * width * found.ratio


def median_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Ends of the exact interval of the median: the narrowest pair of order statistics that holds it in 95% of cases.

    The number of values below the median is binomial whatever their distribution (David and Nagaraja 2003, "Order
    Statistics", section 7.1). None where even the extremes are not sure enough.
    """
    from scipy.stats import binom  # a third of a second

    lower = int(binom.ppf((1 - LEVEL) / 2, len(values), 0.5)) - 1  # place from 0
    if lower < 0:
        return None
    ordered = sorted(values)
    return ordered[lower], ordered[-1 - lower]


def quotient_interval(above: tuple[float, float, float], below: tuple[float, float, float]) -> tuple[float, float]:
    """Interval of the quotient of two independent estimates, each a value with the ends of its interval.

    The variances that the intervals imply are added on the logarithmic scale: Zou and Donner 2008, "Construction of
    confidence limits about effect measures: a general approach", doi:10.1002/sim.3095.
    """
    (one, one_low, one_high), (other, other_low, other_high) = np.log(above), np.log(below)
    low = one - other - np.hypot(one - one_low, other_high - other)
    high = one - other + np.hypot(one_high - one, other - other_low)
    return float(np.exp(low)), float(np.exp(high))


def _verdict(interval: tuple[float, float] | None) -> Verdict:
    if interval is None:
        return "undecided"
    low, high = interval
    if low > 1 + RESOLUTION:
        return "slower"
    if high < 1 - RESOLUTION:
        return "faster"
    return "same" if low >= 1 - RESOLUTION and high <= 1 + RESOLUTION else "undecided"
