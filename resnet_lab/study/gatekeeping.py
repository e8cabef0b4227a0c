"""Adjusted p-values of families of tests, so that any false finding in all of them has a chance of 5% at most.

Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure"; Dmitrienko, Offen and Westfall 2003, "Gatekeeping
strategies for clinical trials that do not require all primary effects to be significant", doi:10.1002/sim.1526.
"""

from collections.abc import Sequence

import numpy as np


def adjusted(families: Sequence[Sequence[float]]) -> list[list[float]]:
    """Adjusted p-values: of one family by Holm's procedure, of two by a parallel gatekeeper.

    The first of two is tested by Bonferroni's procedure, at alpha / m each. Of its m hypotheses r are rejected, and
    the alpha of these, alpha r / m, is unused and passes to the later family, which is tested by Holm's procedure. An
    adjusted p-value is the smallest alpha at which a hypothesis is rejected.

    Args:
        families: p-values; 1 for a hypothesis that was planned and cannot be tested.
    """
    if len(families) == 1:
        return [holm(families[0])]
    first, later = families
    m = len(first)
    gates = [(m * p, rejected / m) for rejected, p in enumerate(sorted(first), 1)]
    return [
        [min(1.0, m * p) for p in first],
        [min(1.0, *(max(gate, p / share) for gate, share in gates)) for p in holm(later)],
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values, in the same order (statsmodels' own collects garbage at each call, which takes 50 ms)."""
    values = np.asarray(p_values)
    order = np.argsort(values, kind="stable")
    found = np.empty(len(values))
    found[order] = np.minimum(1, np.maximum.accumulate((len(values) - np.arange(len(values))) * values[order]))
    adjusted_values: list[float] = found.tolist()
    return adjusted_values
