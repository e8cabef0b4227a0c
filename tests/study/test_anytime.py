from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import integrate

from resnet_lab.study.anytime import anytime_test, log_evidence
from resnet_lab.study.results import findings
from resnet_lab.study.trials import StudyFolder, trials_of
from resnet_lab.study.writing import method
from tests.study.fabricated import REGISTRY, design, fabricate_trial

VALUES = np.array([0.4, 1.2, -0.1, 0.8, 0.5])


def marginal(values: NDArray[np.float64], variance: float) -> float:
    """Density of values, integrated over a standardised mean of that variance and over the logarithm of the scale."""
    n, mean = len(values), values.mean()
    around = ((values - mean) ** 2).sum()

    def at(log: float) -> float:
        scale = np.exp(log)
        exponent = around / 2 + n * mean**2 / (2 * (1 + n * variance))
        return float(scale**-n * np.exp(-exponent / scale**2) / np.sqrt(1 + n * variance))

    return float(integrate.quad(at, -8, 8, limit=400)[0])


def test_evidence_is_the_quotient_of_two_integrals() -> None:
    for n in (2, 3, 5):
        expected = np.log(marginal(VALUES[:n], 1.0) / marginal(VALUES[:n], 0.0))
        assert log_evidence(VALUES[:n]) == pytest.approx(expected)
        assert log_evidence(1000 * VALUES[:n]) == pytest.approx(expected)
    assert log_evidence([0.5] * 4) == 0.0


def test_the_interval_ends_where_the_evidence_is_enough() -> None:
    found = anytime_test(VALUES)
    assert found is not None
    low, high = found.interval(0.05)
    for end in (low, high):
        assert log_evidence(VALUES - end) == pytest.approx(np.log(20))
    assert low + high == pytest.approx(2 * VALUES.mean())
    few = anytime_test(VALUES[:3])
    assert few is not None
    assert few.interval(0.05) == (-np.inf, np.inf)
    assert anytime_test([0.3]) is None


def test_evidence_that_is_looked_at_with_every_seed() -> None:
    """5% of null studies at most ever come to p = 0.05; a standardised mean of 1 does within 20 seeds in most."""
    draw = np.random.default_rng(0)
    for size, low, high in ((0.0, 0.0, 0.05), (1.0, 0.75, 1.0)):
        tests = [anytime_test(draw.normal(size, 1, 20)) for _ in range(300)]
        share = np.mean([each is not None and each.p <= 0.05 for each in tests])
        assert low <= share <= high


def test_evidence_for_the_other_sign_does_not_count() -> None:
    found = anytime_test([1.0, 1.01, 0.99, -3.0, -3.0, -3.0])
    assert found is not None
    assert found.mean < 0
    assert found.p == 1.0


def test_a_study_that_is_continued_at_will(tmp_path: Path) -> None:
    """Declared with `more_seeds`, it keeps its verdicts; its intervals hold at any number of seeds."""
    arms = {"plain": {}, "gated": {"attn": "eca"}}
    few, more = (design(arms=arms, seeds=seeds, more_seeds=True, population="pool") for seeds in (5, 7))
    folder = StudyFolder(tmp_path)
    folder.note(few)

    def rights(arm: str, seed: int, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.arange(len(labels)) < (180 + seed % 3 if arm == "plain" else 270 + 2 * seed % 5)

    for chosen in (few, more):
        folder.note(chosen)
        for trial in trials_of(chosen):
            if folder.outcome(trial) is None:
                fabricate_trial(folder, trial, rights, n=300)
        found = findings(chosen, folder, REGISTRY)
        (effect,) = found.families[-1]
        expected = anytime_test(effect.differences)
        assert expected is not None
        assert (effect.verdict, effect.n, effect.p_looks) == ("better", chosen.plan.seeds, expected.p)
        assert effect.interval == pytest.approx(expected.interval(0.05))
        assert any(each.startswith("seeds may be added at any time: adjusted p-values") for each in found.remarks)
    assert "anytime-valid t test of Wang and Ramdas" in method(found)
    closed = design(arms=arms, seeds=7, population="pool")
    folder.note(closed)
    assert findings(closed, folder, REGISTRY).families[-1][0].verdict == "exploratory"
    declared = {"seeds": 5, "looks": [], "more_seeds": True}
    assert folder.declared() | declared == folder.declared()
