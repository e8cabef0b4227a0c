from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from resnet_lab.study.contrasts import Contrast, arm_contrasts, factorial_contrasts
from resnet_lab.study.estimand import SeedImages
from resnet_lab.study.looks import DEFAULT, Schedule, Standing
from resnet_lab.study.sequential import Evidence, StudyProgress, judge_at_looks, likely, summary
from resnet_lab.study.statistics import Effect

LOOKS = (4, 6, 8, 10)
SCHEDULE = Schedule(LOOKS)
NOISE = np.array([0.3, -0.2, 0.4, -0.5, 0.1, -0.1, 0.25, -0.25, 0.15, -0.15])
"""Differences of ten seeds, whose means are near 0 at every look."""


def judged(
    scores: Sequence[Sequence[float]] | NDArray[np.float64],
    families: Sequence[Sequence[Contrast]],
    *,
    finished: int | NDArray[np.bool_] | None = None,
    failed: NDArray[np.bool_] | None = None,
    schedule: Schedule = SCHEDULE,
    **options: float,
) -> StudyProgress:
    """Of scores of arms by seeds, of which the first have finished, or those that a table says."""
    values = np.array(scores, dtype=float).T
    if not isinstance(finished, np.ndarray):
        seen = len(values) if finished is None else finished
        finished = np.repeat(np.arange(len(values)) < seen, values.shape[1]).reshape(values.shape)
    values = np.where(finished, values, np.nan)
    failed = np.zeros(values.shape, dtype=bool) if failed is None else failed
    evidence = Evidence(values, finished, failed, SeedImages((None,) * len(values)))
    return judge_at_looks(schedule, evidence, families, **options)  # type: ignore[arg-type]


def pair(differences: Sequence[float] | NDArray[np.float64], **options: float) -> tuple[Effect, StudyProgress]:
    progress = judged([np.zeros(len(differences)), differences], [arm_contrasts(["base", "x"])], **options)
    return progress.families[0][0], progress


def test_an_effect_by_hand() -> None:
    """p of a t test at each look, scaled; the smallest so far over all looks; intervals at the look's nominal level."""
    differences = NOISE + 0.28
    for seen in LOOKS[:2]:
        effect, progress = pair(differences, finished=seen)
        p = [stats.ttest_1samp(differences[:n], 0).pvalue * 10 / n for n in LOOKS if n <= seen]
        assert effect.p_looks == pytest.approx(SCHEDULE.overall(min(p)))
        assert effect.p_holm == effect.p_looks
        assert effect.p_t == pytest.approx(p[-1] * seen / 10)
        level = 1 - SCHEDULE.nominal(0.05, seen)
        interval = stats.ttest_1samp(differences[:seen], 0).confidence_interval(level)
        assert effect.interval == pytest.approx((interval.low, interval.high))
        assert (effect.n, effect.verdict, progress.seeds) == (seen, "undecided", seen + 2)
        assert effect.standing == Standing(LOOKS.index(seen) + 1, 4, seen, "open")
        assert progress.running.all()


def test_a_large_effect_is_decided_at_the_first_look() -> None:
    """And keeps the estimate of that look, whatever has been run beyond."""
    differences = NOISE / 10 + 1.0
    effect, progress = pair(differences)
    assert (effect.verdict, effect.n, effect.standing) == ("better", 4, Standing(1, 4, 4, "decided"))
    assert effect.difference == pytest.approx(differences[:4].mean())
    assert not progress.running.any()
    assert (progress.seeds, progress.stopped) == (4, {0: 1, 1: 1})
    assert pair(-differences)[0].verdict == "worse"
    assert pair(differences, higher_is_better=False)[0].verdict == "worse"


def test_the_interval_holds_0_until_the_test_rejects() -> None:
    for size in np.linspace(0.2, 0.9, 30):
        effect, _ = pair(NOISE + size, finished=4)
        assert effect.interval is not None
        assert (effect.interval[0] > 0) == (effect.verdict == "better")


def test_half_finished_looks_do_not_count() -> None:
    early, progress = pair(NOISE + 5, finished=3)
    assert (early.verdict, early.p_holm, early.standing) == ("exploratory", None, None)
    assert (progress.seeds, progress.running.all(), progress.stopped) == (4, True, {})
    assert summary(progress, LOOKS) == "looks at 4, 6, 8, 10 seeds, at each of which the study may end"
    between, _ = pair(NOISE + 0.28, finished=5)
    assert between == pair(NOISE + 0.28, finished=4)[0]


def test_no_effect_is_futile_and_would_have_been_better_with_more_of_it() -> None:
    effect, progress = pair(NOISE)
    assert effect.verdict == "undecided"
    assert effect.standing is not None
    assert effect.standing.state == "futile"
    assert effect.standing.look < 4
    assert not progress.running.any()
    assert (
        summary(progress, LOOKS) == f"look {effect.standing.look} of 4 ({effect.n} seeds): x futile: the study is over"
    )


def test_the_probability_of_a_verdict_is_that_of_simulated_last_looks() -> None:
    """The mean and spread of the seeds so far are uncertain as they are with flat priors; spread stays as estimated."""
    effect, _ = pair(NOISE + 0.15, finished=6)
    deviation = np.std(NOISE[:6], ddof=1)
    draw = np.random.default_rng(0)
    mean = effect.difference + draw.standard_t(5, 200_000) * deviation * np.sqrt(1 / 6 - 1 / 10)  # type: ignore[operator]
    reach = stats.t.ppf(1 - SCHEDULE.nominal(0.025, 10) / 2, 9) * deviation / np.sqrt(10)
    assert likely(effect, 6, SCHEDULE, 0.025, None) == pytest.approx(np.mean(abs(mean) > reach), abs=0.005)
    half = stats.t.ppf(1 - SCHEDULE.nominal(0.05, 10) / 2, 9) * deviation / np.sqrt(10)
    within = np.mean(abs(mean) < 0.6 - half)
    expected = np.mean(abs(mean) > reach) + within
    assert likely(effect, 6, SCHEDULE, 0.025, 0.6) == pytest.approx(expected, abs=0.005)


def test_equal_differences_have_no_spread_to_predict_from() -> None:
    nothing, _ = pair([0.0] * 10)
    assert nothing.standing == Standing(1, 4, 4, "futile")
    always, progress = pair([0.5] * 10, finished=4)
    assert always.standing == Standing(1, 4, 4, "open")  # p of a sign-flip test may still come to a verdict
    assert progress.seeds == 6


def test_equivalence_by_the_repeated_interval() -> None:
    """From six seeds on, as soon as the interval lies within the margin."""
    spread = 1.2 * stats.t.ppf(1 - SCHEDULE.nominal(0.05, 6) / 2, 5) * np.std(NOISE[:6], ddof=1) / np.sqrt(6)
    effect, _ = pair(NOISE, margin=spread)
    assert (effect.verdict, effect.standing) == ("equivalent", Standing(2, 4, 6, "decided"))
    effect, _ = pair(NOISE, margin=0.5 * spread)
    assert effect.n > 6


def test_an_arm_stops_when_no_effect_needs_it() -> None:
    """The better arm stops at the first look, the baseline runs on for the other; Holm's procedure is of all three."""
    scores = [np.zeros(10), NOISE / 10 + 1, NOISE + 0.28, -NOISE - 0.28]
    finished = np.arange(10)[:, None] < np.array([6, 4, 6, 6])
    progress = judged(scores, [arm_contrasts(["base", "one", "two", "three"])], finished=finished)
    one, two, three = progress.families[0]
    assert [one.verdict, two.verdict, three.verdict] == ["better", "undecided", "undecided"]
    assert (one.n, two.n, progress.seeds) == (4, 6, 8)
    assert progress.running.tolist() == [True, False, True, True]
    assert progress.stopped == {1: 1}
    assert two.p_looks is not None
    assert two.p_holm == pytest.approx(2 * two.p_looks)
    assert summary(progress, LOOKS) == "look 2 of 4 (6 seeds): one better; two, three open: 3 arms run on to 8 seeds"


FACTORS = {"a": ("0", "1"), "b": ("0", "1")}
ARMS = [dict(zip(FACTORS, levels, strict=True)) for levels in product("01", repeat=2)]
FACTORIAL = [factorial_contrasts(FACTORS, ARMS), arm_contrasts(["00", "01", "10", "11"])]


def factorial(a: float, b: float, size: float, **options: object) -> StudyProgress:
    """Two main effects, with noise of that size in each arm."""
    noise = np.random.default_rng(5).normal(0, size, (4, 10))
    means = [[a * int(arm["a"]) + b * int(arm["b"])] for arm in ARMS]
    return judged(noise + means, FACTORIAL, **options)  # type: ignore[arg-type]


def test_a_factorial_goes_on_while_one_effect_needs_its_arms() -> None:
    progress = factorial(5.0, 1.6, 1.0, finished=6)
    a, b, both = progress.families[0]
    assert a.standing is not None
    assert (a.verdict, a.standing.state) == ("better", "decided")
    assert b.standing is not None
    assert b.standing.state == "open"
    assert progress.running.all()
    assert both.standing is not None
    assert a.p_holm == pytest.approx(min(1, 3 * a.p_looks))  # type: ignore[operator]


def test_a_later_family_is_judged_by_what_there_is() -> None:
    """It keeps no arm running; what it leaves open is open when the study ends."""
    progress = factorial(5.0, 5.0, 0.3)
    assert not progress.running.any()
    arms = progress.families[1]
    assert all(arm.n <= max(effect.n for effect in progress.families[0]) for arm in arms)
    assert [arm.verdict for arm in arms] == ["better"] * 3
    nothing = factorial(0.0, 0.0, 1.0)
    assert {arm.standing.state for arm in nothing.families[1] if arm.standing is not None} == {"ended"}
    assert all(arm.p_holm == 1 for arm in nothing.families[1])


def test_one_factor_asks_once() -> None:
    """Its levels are its arms: both families have the same effects, at the same look."""
    arms = [{"a": level} for level in "012"]
    families = [factorial_contrasts({"a": tuple("012")}, arms), arm_contrasts(list("012"))]
    progress = judged([np.zeros(10), NOISE / 10 + 1, NOISE], families)
    for one, other in zip(*progress.families, strict=True):
        assert (one.verdict, one.p_holm, one.standing) == (other.verdict, other.p_holm, other.standing)


def test_unequal_failures_end_an_effect() -> None:
    """No verdict can come of it: the arm is not trained on."""
    failed = np.zeros((10, 2), dtype=bool)
    failed[1, 1] = True
    differences = NOISE + 0.28
    differences[1] = np.nan
    effect, progress = pair(differences, failed=failed)  # type: ignore[arg-type]
    assert (effect.verdict, effect.standing, effect.n) == ("withheld", Standing(1, 4, 4, "withheld"), 3)
    assert progress.stopped == {0: 1, 1: 1}


def test_a_difference_that_has_turned_is_no_verdict() -> None:
    """p was smallest when the difference was positive; of a negative one it says nothing."""
    differences = np.array([1.0, 1.1, 0.9, 1.05, -8, -8, 0.1, 0.2, 0.1, 0.1])
    schedule = Schedule((4, 6))
    scores = [np.zeros(6), differences[:6], np.zeros(6)]
    few = judged(scores, [arm_contrasts(["base", "x", "y"])], schedule=schedule, finished=6)
    assert few.families[0][0].verdict == "better"  # decided at the first look
    tight = replace(schedule)
    many = judged(
        [np.zeros(6), *([differences[:6]] + [NOISE[:6]] * 400)],
        [arm_contrasts([str(number) for number in range(402)])],
        schedule=tight,
    )
    turned = many.families[0][0]
    assert turned.difference is not None
    assert turned.difference < 0
    assert turned.verdict == "undecided"


def test_the_share_of_false_verdicts() -> None:
    """Two arms at the default looks: 5% without futility, and no more with it."""
    draw, schedule = np.random.default_rng(3), Schedule(DEFAULT)
    false = sum(
        pair(draw.normal(size=20), schedule=schedule)[0].verdict in ("better", "worse")  # type: ignore[arg-type]
        for _ in range(500)
    )
    assert 10 <= false <= 40
