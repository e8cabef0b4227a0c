from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from resnet_lab.study.calibrated_looks import CALIBRATED
from resnet_lab.study.looks import DEFAULT, GRID, LEAST, Schedule, Standing, calibrated


def smallest(looks: tuple[int, ...], paths: int) -> np.ndarray:
    """Smallest scaled p of normal paths, by scipy."""
    values = np.random.default_rng(1).normal(size=(paths, looks[-1]))
    p = [stats.ttest_1samp(values[:, :n], 0, axis=1).pvalue * looks[-1] / n for n in looks]
    return np.min(p, axis=0)


def test_nominal_p_values_of_the_default_looks() -> None:
    """Six looks at 5%, as computed elsewhere to about one part in a hundred."""
    schedule = Schedule(DEFAULT)
    nominal = [schedule.nominal(0.05, n) for n in DEFAULT]
    assert nominal == pytest.approx([0.0047, 0.0070, 0.0093, 0.0117, 0.0163, 0.0233], rel=0.015)
    assert [p / n for p, n in zip(nominal, DEFAULT, strict=True)] == pytest.approx([nominal[-1] / 20] * 6)


@pytest.mark.parametrize("looks", [DEFAULT, (3, 5), (5, 6, 7, 12)])
def test_the_smallest_scaled_p_of_simulated_studies(looks: tuple[int, ...]) -> None:
    found, schedule = smallest(looks, 40_000), Schedule(looks)
    for c in (0.5, 0.1, 0.0235, 0.01, 0.003):
        share = schedule.overall(c)
        assert np.mean(found <= c) == pytest.approx(share, abs=4 * np.sqrt(share / len(found)))


def test_a_single_look_is_a_t_test() -> None:
    schedule = Schedule((6,))
    for p in (1.0, 0.3, 0.05, 1e-4, 1e-9, 1e-20):
        assert schedule.overall(schedule.scaled(p, 6)) == pytest.approx(p)
        assert schedule.nominal(p, 6) == pytest.approx(p)


def test_overall_and_nominal_p_are_inverse_and_within_the_bonferroni_bound() -> None:
    schedule, bound = Schedule(DEFAULT), sum(DEFAULT) / DEFAULT[-1]
    overall = [schedule.overall(c) for c in np.logspace(-32, 0, 200)]
    assert all(one <= other for one, other in pairwise(overall))
    assert all(p <= max(c, LEAST) * bound * (1 + 1e-9) for p, c in zip(overall, np.logspace(-32, 0, 200), strict=True))
    assert schedule.overall(0.0) == pytest.approx(LEAST * bound)
    for alpha in (0.5, 0.05, 0.05 / 13, 1e-8):
        assert schedule.overall(schedule.nominal(alpha, 20)) == pytest.approx(alpha)
    assert schedule.scaled(0.4, 4) == 1.0


def test_the_table_is_what_its_script_gives() -> None:
    assert list(CALIBRATED) == [DEFAULT[:number] for number in range(1, len(DEFAULT) + 1)]
    for looks, values in CALIBRATED.items():
        assert values == pytest.approx(calibrated(looks, 4000), rel=0.03)
    assert len(CALIBRATED[DEFAULT]) == len(GRID)


def test_standings_in_words() -> None:
    words = {state: str(Standing(3, 6, 8, state)) for state in ("open", "decided", "futile", "withheld", "ended")}
    assert words == {
        "open": "open at look 3 of 6 (8 seeds)",
        "decided": "at look 3 of 6 (8 seeds)",
        "futile": "stopped as futile at look 3 of 6 (8 seeds)",
        "withheld": "at look 3 of 6 (8 seeds)",
        "ended": "open when the study ended, at look 3 of 6 (8 seeds)",
    }
