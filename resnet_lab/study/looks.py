"""Looks of a sequential study: at which numbers of seeds it may end, and the p-values that allow for all of them.

At look k of K, after n_k of n_K seeds, a two-sided p-value is scaled by n_K / n_k. Student's t of normal differences
depends on neither their mean under the null hypothesis nor their spread, so that the smallest scaled p-value over all
looks has one distribution F per schedule. A test that rejects as soon as the smallest so far has F at most alpha is
false in alpha of studies, whichever looks are taken. (O'Brien and Fleming 1979, doi:10.2307/2530245; Jennison and
Turnbull 1999, "Group Sequential Methods", chapters 9, repeated intervals, and 10.)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from resnet_lab.study.calibrated_looks import CALIBRATED

Floats = NDArray[np.float64]

DEFAULT = (4, 6, 8, 10, 14, 20)
"""Seeds at the looks of a study that only asks to be adaptive."""

GRID = np.concatenate([np.logspace(-12, -4, 17), np.logspace(-3.75, 0, 31)])
"""Scaled p-values at which F is tabulated."""

LEAST = 1e-30
"""Scaled p-value from which on F is the Bonferroni bound."""

PATHS = 20_000
"""Of a schedule that is not tabulated: F has a relative standard error of about 0.2%."""


State = Literal["open", "decided", "futile", "withheld", "ended"]


@dataclass(frozen=True)
class Standing:
    """Standing of an effect in a sequential study.

    Attributes:
        look: at which it came to that, from 1; the last that was taken while it is open.
        looks: that were planned.
        seeds: at that look.
        state: `open`, `decided`, `futile` where neither verdict was likely by the last look, `withheld` where its arms
            failed unequally, `ended` where the study ended while it was open.
    """

    look: int
    looks: int
    seeds: int
    state: State

    def __str__(self) -> str:
        """Words for reports."""
        state = {"futile": "stopped as futile ", "open": "open ", "ended": "open when the study ended, "}.get(
            self.state, ""
        )
        return f"{state}at look {self.look} of {self.looks} ({self.seeds} seeds)"


@dataclass(frozen=True)
class Schedule:
    """Looks that were fixed in advance.

    Attributes:
        looks: seeds at each, increasing; the last is the largest number.
    """

    looks: tuple[int, ...]

    def scaled(self, p: float, seeds: int) -> float:
        """Two-sided p-value of a look, scaled; at most 1."""
        return min(1.0, p * self.looks[-1] / seeds)

    def overall(self, smallest: float) -> float:
        """p-value of the smallest scaled p so far, over all looks: F."""
        logs, overall = self._logs
        return float(np.exp(np.interp(np.log(max(smallest, LEAST)), logs, overall)))

    def nominal(self, alpha: float, seeds: int) -> float:
        """Two-sided p-value at a look that is alpha over all looks."""
        logs, overall = self._logs
        return float(np.exp(np.interp(np.log(alpha), overall, logs))) * seeds / self.looks[-1]

    @property
    def _logs(self) -> tuple[Floats, Floats]:
        return _logs(self.looks)


@cache
def _logs(looks: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Logarithms of scaled p-values and of F, from the Bonferroni bound at `LEAST` on."""
    overall = CALIBRATED.get(looks) or calibrated(looks, PATHS)
    smallest = np.append(LEAST, GRID)
    return np.log(smallest), np.log(np.append(LEAST * sum(looks) / looks[-1], overall))


def calibrated(looks: Sequence[int], paths: int, seed: int = 0) -> tuple[float, ...]:
    """F at `GRID`, by Monte Carlo on normal paths.

    Scaled p-values below c are rare, so paths are drawn among those that have one: at a look k, chosen with its share
    of the Bonferroni bound, the p-value is drawn below c n_k / n_K, and the path given that. F is the bound times the
    mean of 1 / (looks at which the path's scaled p is below c). (Owen, Maximov and Chertkov 2019, "Importance sampling
    the union of rare events with an application to power systems analysis", doi:10.1214/18-EJS1527.)

    Args:
        paths: for each value of `GRID`, which all use the same random numbers.
    """
    numbers, last = np.asarray(looks), looks[-1]
    draw = np.random.default_rng(seed)
    chosen = draw.choice(len(looks), size=paths, p=numbers / numbers.sum())
    below, noise = 1 - draw.random(paths), draw.normal(size=(paths, last))
    bound, shares = numbers.sum() / last, np.zeros(len(GRID))
    for look, n in enumerate(looks):
        of_look = chosen == look
        for place, c in enumerate(GRID):
            p = below[of_look] * c * n / last
            crossed = _crossings(_given(noise[of_look], n, -stdtrit(n - 1, p / 2)), looks, c)
            crossed[:, look] = True  # by construction, but for rounding
            shares[place] += (1 / crossed.sum(1)).sum()
    return tuple(float(min(1.0, c * bound * share / paths)) for c, share in zip(GRID, shares, strict=True))


def _given(noise: Floats, n: int, t: Floats) -> Floats:
    """Normal paths, shape (paths, last), whose first n values have that t, which depends on neither their length nor
    the direction of their residuals.
    """
    first, paths = noise[:, :n], noise.copy()
    mean = first.mean(1, keepdims=True)
    residuals = first - mean
    spread = np.linalg.norm(residuals, axis=1, keepdims=True)
    length = np.hypot(np.sqrt(n) * mean, spread)
    along = t[:, None] / np.sqrt(n - 1 + t[:, None] ** 2)
    across = np.sqrt((n - 1) / (n - 1 + t[:, None] ** 2))
    paths[:, :n] = length * (along / np.sqrt(n) + across * residuals / spread)
    return paths


def _crossings(paths: Floats, looks: Sequence[int], c: float) -> NDArray[np.bool_]:
    """Whether the scaled p of each path at each look is at most c, shape (paths, looks)."""
    found = []
    for n in looks:
        first = paths[:, :n]
        t = np.sqrt(n) * first.mean(1) / first.std(1, ddof=1)
        found.append(np.abs(t) >= -stdtrit(n - 1, c * n / looks[-1] / 2))
    return np.stack(found, axis=1)
