from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from resnet_lab.study.contrasts import Contrast, arm_contrasts, factorial_contrasts
from resnet_lab.study.estimand import smallest_p
from resnet_lab.study.gatekeeping import holm
from resnet_lab.study.statistics import (
    judge,
    power,
    seeds_needed,
    sign_flip_test,
    t_interval,
    t_test,
)
from resnet_lab.study.writing import in_words, verdict_text

DIFFERENCES = [0.012, 0.004, 0.021, -0.003, 0.015, 0.009]


def one(differences: list[float], **options: object):  # type: ignore[no-untyped-def]
    """The effect of a single contrast with these differences."""
    scores = np.stack([np.zeros(len(differences)), differences], axis=1)
    return judge(scores, [arm_contrasts(["base", "x"])], **options)[0][0]


def test_scipy_s_t_test_and_interval() -> None:
    expected = stats.ttest_1samp(DIFFERENCES, 0)
    assert t_test(DIFFERENCES) == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.95)
    assert t_interval(DIFFERENCES) == pytest.approx((interval.low, interval.high))


def test_scipy_s_permutation_test() -> None:
    expected = stats.permutation_test(
        (DIFFERENCES, np.zeros(6)),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
    )
    assert sign_flip_test(DIFFERENCES) == pytest.approx(expected.pvalue)
    assert sign_flip_test([1.0] * 6) == smallest_p(6) == 2 / 64
    many = np.random.default_rng(0).normal(0.5, 1, 20).tolist()
    assert sign_flip_test(many) == pytest.approx(t_test(many), abs=0.01)


def test_statsmodels_s_holm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gc.collect", lambda *_: 0)  # which statsmodels calls each time
    for seed in range(20):
        values = np.random.default_rng(seed).random(7).round(1 + seed % 2).tolist()  # with ties among them
        assert holm(values) == pytest.approx(multipletests(values, method="holm")[1].tolist())


def test_an_effect_by_hand() -> None:
    effect = one(DIFFERENCES)
    assert effect.differences == pytest.approx(tuple(DIFFERENCES))
    assert effect.difference == pytest.approx(np.mean(DIFFERENCES))
    assert effect.size == pytest.approx(np.mean(DIFFERENCES) / np.std(DIFFERENCES, ddof=1))
    assert effect.improvement[0] == pytest.approx(5 / 6)
    low, high = stats.binomtest(5, 6).proportion_ci(method="wilson")
    assert effect.improvement[1:] == pytest.approx((low, high))
    assert (effect.p_holm, effect.n) == (effect.p_t, 6)
    assert effect.verdict == "better"
    assert one([-each for each in DIFFERENCES]).verdict == "worse"
    assert one(DIFFERENCES, higher_is_better=False).verdict == "worse"


@pytest.mark.parametrize(
    ("differences", "margin", "verdict"),
    [
        ([0.0] * 6, None, "undecided"),
        ([0.0] * 6, 0.01, "undecided"),  # no spread tells nothing
        ([0.002, 0.001, 0.0015, 0.001, 0.002], 0.01, "better"),  # too few to call them equivalent
        ([0.002, 0.001, 0.0015, 0.001, 0.002, 0.0012], 0.01, "equivalent"),  # sure, and too small to matter
        ([0.02, -0.02, 0.01, -0.01, 0.0, 0.001], 0.01, "undecided"),
        ([0.02, 0.03], None, "exploratory"),
        ([0.02], None, "exploratory"),
        ([0.02] * 6, None, "better"),
    ],
)
def test_verdicts(differences: list[float], margin: float | None, verdict: str) -> None:
    assert one(differences, margin=margin).verdict == verdict


def test_a_failed_trial_leaves_its_seed_out() -> None:
    scores = np.array([[0.5, 0.6, 0.7], [0.5, np.nan, 0.7], [0.5, 0.62, 0.7], [0.5, 0.61, 0.71]])
    x, y = judge(scores, [arm_contrasts(["base", "x", "y"])])[0]
    assert (x.n, y.n) == (3, 4)
    assert x.differences == pytest.approx((0.1, 0.12, 0.11))
    gone = judge(np.full((3, 2), np.nan), [arm_contrasts(["base", "x"])])[0][0]
    assert (gone.n, gone.verdict) == (0, "exploratory")
    known = (gone.difference, gone.interval, gone.p_t, gone.p_flip, gone.p_holm, gone.size, gone.improvement)
    assert known == (None,) * 7


def test_unequal_failures_withhold_the_verdict() -> None:
    """The second arm fails once; the third fails as often as the first, and is judged."""
    scores = np.stack([np.zeros(7), [np.nan, *SURE], [*SURE, np.nan]], axis=1)
    failed = np.isnan(scores)
    x, _ = judge(scores, [arm_contrasts(["base", "x", "y"])], failed=failed, seeds=range(10, 17))[0]
    assert (x.verdict, x.p_holm, x.n, x.seeds) == ("withheld", None, 6, tuple(range(11, 17)))
    alike = failed.copy()
    alike[3, 0] = True
    both = judge(scores, [arm_contrasts(["base", "x", "y"])], failed=alike)[0]
    assert [each.verdict for each in both] == ["better", "better"]
    two = judge(scores[:3], [arm_contrasts(["base", "x", "y"])], failed=failed[:3])[0]
    assert [each.verdict for each in two] == ["exploratory", "better"]


def test_a_withheld_effect_opens_nothing() -> None:
    scores = np.stack([np.zeros(7), [np.nan, *SURE], [*SURE, 0.1]], axis=1)
    x, y = arm_contrasts(["base", "x", "y"])
    (gone,), (closed,) = judge(scores, [[x], [y]], failed=np.isnan(scores))
    assert (gone.verdict, closed.verdict, closed.p_holm) == ("withheld", "undecided", 1)


def test_the_worst_seed_the_median_and_outliers_stand_beside_the_mean() -> None:
    differences = [0.012, 0.004, -0.5, 0.021, 0.015, 0.009]
    effect = one(differences, seeds=range(3, 9))
    assert (effect.worst_seed, effect.worst, effect.outliers) == (5, -0.5, (5,))
    assert effect.median == pytest.approx(0.0105)
    assert effect.skew == pytest.approx(stats.skew(differences, bias=False))
    assert effect.is_skewed
    lower = one(differences, higher_is_better=False)
    assert (lower.worst_seed, lower.worst) == (3, 0.021)


def test_what_cannot_be_tested_counts_in_its_family_all_the_same() -> None:
    """Holm's factor is that of the tests that were planned."""
    scores = np.stack([np.zeros(4), np.full(4, np.nan), np.array([0.1, 0.12, 0.11, 0.12])], axis=1)
    gone, there = judge(scores, [arm_contrasts(["base", "gone", "there"])])[0]
    assert gone.p_holm is None
    assert there.p_holm == pytest.approx(2 * stats.ttest_1samp(scores[:, 2], 0).pvalue)


SURE, VAGUE = np.linspace(0.09, 0.11, 6), np.array([0.1, -0.1, 0.1, -0.1, 0.05, -0.05])


def test_a_later_family_has_the_alpha_that_the_first_leaves() -> None:
    """The second contrast is sure by itself; it counts only if the first family has something too."""
    scores = np.stack([np.zeros(6), SURE, VAGUE], axis=1)
    x, y = arm_contrasts(["base", "x", "y"])
    closed = judge(scores, [[y], [x, y]])
    assert [effect.verdict for family in closed for effect in family] == ["undecided"] * 3
    half = judge(scores, [[x, y], [x]])
    assert half[1][0].p_holm == pytest.approx(2 * t_test(SURE.tolist()))
    assert [effect.verdict for effect in half[1]] == ["better"]


def test_what_is_asked_twice_is_tested_once() -> None:
    """Levels of one factor are the arms: Holm's procedure, not Bonferroni's, in both families."""
    scores = np.stack([np.zeros(6), SURE, VAGUE], axis=1)
    family = arm_contrasts(["base", "x", "y"])
    (alone,) = judge(scores, [family])
    for each in judge(scores, [family, family]):
        assert [effect.p_holm for effect in each] == [effect.p_holm for effect in alone]
    assert alone[1].p_holm == pytest.approx(t_test(VAGUE.tolist()))


def test_an_exploratory_effect_is_not_tested_and_opens_nothing() -> None:
    """Two seeds of x, sure as they are, count as p = 1."""
    scores = np.stack([np.zeros(6), [0.1, 0.1001, *[np.nan] * 4], SURE], axis=1)
    x, y = arm_contrasts(["base", "x", "y"])
    (gone,), (closed,) = judge(scores, [[x], [y]])
    assert (gone.verdict, gone.p_holm) == ("exploratory", None)
    assert gone.p_t is not None
    assert gone.p_t < 0.01
    assert (closed.verdict, closed.p_holm) == ("undecided", 1)


def test_simultaneous_intervals_are_those_at_a_share_of_alpha() -> None:
    scores = np.stack([np.zeros(6), SURE, VAGUE], axis=1)
    for effect in judge(scores, [arm_contrasts(["base", "x", "y"])])[0]:
        assert effect.simultaneous == pytest.approx(t_interval(effect.differences, 0.975))


def test_a_difference_within_the_margin_is_said() -> None:
    sure = one([0.002, 0.001, 0.0015, 0.001, 0.002, 0.0012], margin=0.01)
    assert (sure.verdict, sure.differs, sure.differs_within_margin) == ("equivalent", True, True)
    assert in_words(sure, "accuracy", None).endswith(", 6 seeds, differs, within the margin: equivalent")
    assert verdict_text(sure) == "equivalent (differs, within the margin)"
    vague = one([0.002, -0.001, 0.0015, -0.001, 0.002, -0.002], margin=0.01)
    assert (vague.verdict, vague.differs_within_margin, verdict_text(vague)) == ("equivalent", False, "equivalent")


def test_better_in_counts_lower_losses() -> None:
    assert one(DIFFERENCES, higher_is_better=False).improvement[0] == pytest.approx(1 / 6)


@pytest.mark.parametrize("seeds", [2, 3, 6, 30, 1000])
@pytest.mark.parametrize("size", [0.0, 1e-6, 0.3, 1.0, 2.5, 40.0, 1e6])
@pytest.mark.parametrize("tests", [1, 28])
def test_statsmodels_s_power(seeds: int, size: float, tests: int) -> None:
    reference = TTestPower().power(size, seeds, 0.05 / tests)
    if np.isnan(reference):  # its lower tail is where that is next to nothing
        assert size * seeds**0.5 > 8
        reference = TTestPower().power(size, seeds, 0.05 / tests / 2, alternative="larger")
    assert power(0.01 * size, 0.01, seeds, tests) == pytest.approx(reference, abs=1e-9)


def test_power_is_simulation_s() -> None:
    draw = np.random.default_rng(0)
    found = [t_test(draw.normal(0.01, 0.01, 8).tolist()) < 0.05 for _ in range(4000)]
    assert power(0.01, 0.01, 8) == pytest.approx(np.mean(found), abs=0.025)
    assert power(0.01, 0.01, 8, tests=3) < power(0.01, 0.01, 8)
    needed = seeds_needed(0.01, 0.01)
    assert needed is not None
    assert power(0.01, 0.01, needed) >= 0.8 > power(0.01, 0.01, needed - 1)
    assert seeds_needed(1e-6, 1.0, most=50) is None
    assert (power(0.01, 0, 3), power(0, 0, 3), power(1, 1, 1)) == (1, 0, 0)


FACTORS = {"act": ("relu", "gelu"), "conv": ("dense", "depthwise"), "attn": ("none", "cbam")}
ARMS = [dict(zip(FACTORS, levels, strict=True)) for levels in product(*FACTORS.values())]
FAMILIES = [factorial_contrasts(FACTORS, ARMS), arm_contrasts([" ".join(arm.values()) for arm in ARMS])]
NOISES: dict[str, Callable[[np.random.Generator, tuple[int, int]], np.ndarray]] = {
    "normal": lambda draw, shape: draw.normal(size=shape),
    "alike": lambda draw, shape: draw.exponential(size=shape),  # differences of equal distributions are symmetric
    "heavy": lambda draw, shape: draw.standard_t(3, size=shape),
}


@pytest.mark.parametrize(
    ("noise", "seeds"),
    [
        pytest.param(noise, seeds, marks=pytest.mark.slow if (noise, seeds) == ("normal", 6) else pytest.mark.long)
        for noise in NOISES
        for seeds in (6, 10)
    ],
)
def test_studies_of_no_effect(noise: str, seeds: int) -> None:
    """2,000 of 2 x 2 x 2: any better or worse in 5% at most, within the simulation's error; intervals hold."""
    draw = np.random.default_rng(seeds)
    wrong, covered = 0, []
    for _ in range(2000):
        scores = draw.normal(size=(seeds, 1)) + NOISES[noise](draw, (seeds, 8))
        effects = [effect for family in judge(scores, FAMILIES) for effect in family]
        wrong += any(effect.verdict in ("better", "worse") for effect in effects)
        covered += [effect.interval[0] <= 0 <= effect.interval[1] for effect in effects if effect.interval]
    print(noise, seeds, wrong / 2000, np.mean(covered))
    assert wrong / 2000 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 2000)
    assert 0.93 <= np.mean(covered) <= 0.98


@pytest.mark.long
@pytest.mark.parametrize("seeds", [6, 10])
def test_verdicts_of_skewed_differences_are_false_as_often_as_the_t_test(seeds: int) -> None:
    """One of two arms has exponential noise: more often than 5%, as scipy's t test of exponential values."""
    draw = np.random.default_rng(seeds)
    wrong = 0
    for _ in range(2000):
        scores = np.stack([draw.normal(0, 0.1, seeds), draw.exponential(size=seeds) - 1], axis=1)
        (effect,) = judge(scores, [arm_contrasts(["base", "x"])])[0]
        wrong += effect.verdict in ("better", "worse")
    alone = np.random.default_rng(100 + seeds).exponential(size=(20_000, seeds)) - 1
    expected = np.mean(stats.ttest_1samp(alone, 0, axis=1).pvalue <= 0.05)
    print(seeds, wrong / 2000, expected)
    assert expected > 0.07
    assert wrong / 2000 == pytest.approx(expected, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(("difference", "seeds"), [(1.0, 6), (0.7, 10)])
def test_power_is_as_planned(difference: float, seeds: int) -> None:
    """A main effect of a 2 x 2 x 2, others being none: found as often as planned, within 5 points of the promise."""
    draw, found = np.random.default_rng(0), 0
    present = np.array([arm["attn"] == "cbam" for arm in ARMS])
    for _ in range(2000):
        scores = draw.normal(size=(seeds, 8)) + difference * present
        effects = judge(scores, FAMILIES[:1])[0]
        found += next(effect for effect in effects if effect.name == "attn cbam").verdict == "better"
    promised = power(difference, float(np.sqrt(2 / 4)), seeds, tests=len(FAMILIES[0]))
    print(difference, seeds, found / 2000, promised)
    assert abs(found / 2000 - promised) <= 0.05


def test_contrasts_are_read_by_their_weights() -> None:
    effect = judge(np.array([[1.0, 2.0, 4.0]] * 3), [[Contrast("c", "main", np.array([-1.0, 0.5, 0.5]))]])[0][0]
    assert effect.difference == 2
