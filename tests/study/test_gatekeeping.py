from itertools import product

import numpy as np
import pytest

from resnet_lab.study.gatekeeping import adjusted, holm

P_VALUES = (0.004, 0.012, 0.02, 0.03, 0.3)


def rejected_at(alpha: float, first: tuple[float, ...], later: tuple[float, ...]) -> tuple[list[bool], list[bool]]:
    """Bonferroni's and Holm's procedures, step by step."""
    found = [p <= alpha / len(first) for p in first]
    left = alpha * sum(found) / len(first)
    others = [False] * len(later)
    for step, place in enumerate(sorted(range(len(later)), key=later.__getitem__)):
        if left == 0 or later[place] > left / (len(later) - step):
            break
        others[place] = True
    return found, others


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
    assert adjusted([[0.01, 0.04, 0.03]])[0] == pytest.approx([0.03, 0.06, 0.06])


def test_a_gatekeeper_by_hand() -> None:
    """One of two is rejected at 0.02 / 2, so that half of alpha is left: 0.004 x 2 <= 0.05 / 2, 0.014 <= 0.05 / 2."""
    first, later = adjusted([[0.01, 0.3], [0.004, 0.014]])
    assert first == pytest.approx([0.02, 0.6])
    assert later == pytest.approx([0.02, 0.028])


def test_nothing_passes_a_closed_gate() -> None:
    assert adjusted([[1.0, 1.0], [1e-9]]) == [[1.0, 1.0], [1.0]]
    assert adjusted([[0.03, 0.4], [1e-9]])[1] == pytest.approx([0.06])


def test_enumerated_p_values_are_rejected_as_step_by_step() -> None:
    for first in product(P_VALUES, repeat=3):
        for later in product(P_VALUES, repeat=2):
            found = adjusted([first, later])
            for alpha in (0.01, 0.05, 0.1):
                expected = rejected_at(alpha, first, later)
                assert tuple([p <= alpha * (1 + 1e-12) for p in family] for family in found) == expected


def test_the_chance_of_any_error_is_held_where_one_of_the_first_family_is_there() -> None:
    """Three effects of which one is certain, then seven arms that are nothing: an open gate is not free."""
    draw = np.random.default_rng(0)
    p_values = draw.random((4000, 9))
    wrong = 0
    for row in p_values:
        first, later = adjusted([[0.0, *row[:2]], row[2:].tolist()])
        wrong += min(*first[1:], *later) <= 0.05
    assert wrong / 4000 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 4000)
