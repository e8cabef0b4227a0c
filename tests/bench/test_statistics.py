import numpy as np
import pytest
from scipy.stats import binomtest

from resnet_lab.bench.statistics import FEWEST, RESOLUTION, is_narrow, median_interval, quotient_interval, timing


def drawn(draw: np.random.Generator, rounds: int, factor: float = 1.0) -> tuple[list[float], list[float]]:
    """Milliseconds of two arms: the machine's speed wanders, each sample has noise of 2% and now and then a jolt."""
    speed = 10 * np.exp(np.cumsum(draw.normal(0, 0.05, rounds)))
    noise = np.exp(draw.normal(0, 0.02, (2, rounds))) * (1 + (draw.random((2, rounds)) < 0.05) * draw.exponential(1.0))
    base, arm = speed * noise
    return (factor * arm).tolist(), base.tolist()


def test_by_hand() -> None:
    found = timing([11.0, 22.0, 12.0, 44.0, 11.0, 33.0], [10.0, 20.0, 10.0, 40.0, 10.0, 30.0])
    assert found.ratio == pytest.approx(1.1)
    assert found.median_ms == 17
    assert found.iqr_ms == pytest.approx(np.subtract(*np.percentile(found.samples, [75, 25])))
    assert found.is_noisy
    assert (found.n, found.verdict) == (6, "slower")


def test_the_interval_is_that_of_the_sign_test() -> None:
    """A median is within where the number of values above it does not reject a fair coin: scipy's binomial test."""
    values = np.random.default_rng(0).normal(1, 0.05, 25).tolist()
    low, high = median_interval(values)
    for median, inside in ((low - 1e-9, False), (low + 1e-9, True), (high - 1e-9, True), (high + 1e-9, False)):
        above = sum(value > median for value in values)
        assert (binomtest(above, 25).pvalue > 0.05) == inside


@pytest.mark.parametrize("n", [6, 7, 11, 15, 21])
def test_the_interval_covers(n: int) -> None:
    """A skewed distribution's median, in 95% of 3,000 draws or more."""
    draws = np.random.default_rng(n).lognormal(0, 1, (3000, n)).tolist()
    covered = [low <= 1 <= high for low, high in map(median_interval, draws)]
    assert np.mean(covered) >= 0.945


def test_too_few_rounds_have_no_interval() -> None:
    few = timing([2.0] * (FEWEST - 1), [1.0] * (FEWEST - 1))
    assert (few.ratio, few.interval, few.verdict) == (2, None, "undecided")
    assert median_interval([2.0] * FEWEST) == (2, 2)


def test_an_arm_is_compared_in_its_own_rounds() -> None:
    found = timing([2.0, 4.0, 6.0, 8.0, 10.0, 12.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 100.0])
    assert (found.ratio, found.n) == (2, 6)


@pytest.mark.parametrize(
    ("middle", "half", "narrow"),
    [(1.0, 0.009, True), (1.0, 0.011, False), (1.5, 0.029, True), (1.5, 0.031, False), (0.5, 0.029, True)],
)
def test_rounds_end_where_the_interval_is_narrow(middle: float, half: float, narrow: bool) -> None:
    """Of six ratios the extremes are the interval; 1% of the ratio near 1, and 3% where it is far from it."""
    ratios = [middle * (1 + share * half) for share in (-1, -0.1, 0, 0, 0.1, 1)]
    assert is_narrow(timing(ratios, [1.0] * 6), 0.01) == narrow
    assert not is_narrow(timing(ratios[1:], [1.0] * 5), 0.01)
    assert is_narrow(timing(ratios, [1.0] * 6), 0) is False


def test_the_baseline_is_itself() -> None:
    samples = [1.0, 2.0, 3.0]
    assert timing(samples, samples).verdict == "baseline"


@pytest.mark.parametrize(
    ("ratio", "verdict"), [(1.05, "slower"), (0.95, "faster"), (1.01, "same"), (1.0, "same"), (1.019, "same")]
)
def test_verdicts_of_steady_times(ratio: float, verdict: str) -> None:
    assert timing([ratio] * 6, [1.0] * 6).verdict == verdict


def test_an_interval_across_the_resolution_is_undecided() -> None:
    assert timing([1.0, 1.0, 1.0, 1.05, 1.05, 1.05, 1.05], [1.0] * 7).verdict == "undecided"


@pytest.mark.parametrize("rounds", [15, 21])
def test_equal_arms_do_not_differ_on_a_drifting_machine(rounds: int) -> None:
    """19 of 20 of 400 simulated benches of a network with itself: within 2%, the interval around 1."""
    draw = np.random.default_rng(rounds)
    found = [timing(*drawn(draw, rounds)) for _ in range(400)]
    assert np.mean([abs(each.ratio - 1) < 0.02 for each in found]) >= 0.95
    assert np.mean([each.interval[0] <= 1 <= each.interval[1] for each in found if each.interval]) >= 0.95
    assert np.mean([each.verdict in ("faster", "slower") for each in found]) <= 0.02


def test_five_percent_are_found_and_one_is_not_decided() -> None:
    draw = np.random.default_rng(0)
    large = [timing(*drawn(draw, 21, 1.05)).verdict for _ in range(200)]
    small = [timing(*drawn(draw, 21, 1.01)).verdict for _ in range(200)]
    assert large.count("slower") >= 150
    assert not {"faster", "same"} & set(large)
    assert small.count("slower") + small.count("faster") <= 4
    assert RESOLUTION > 0.01


def test_the_interval_of_a_quotient_adds_variances_of_logarithms() -> None:
    """By hand: logarithms 0.2 ± 0.03 and 0.1 ± 0.04 differ by 0.1 ± 0.05."""
    above, below = (
        [np.exp(value + each) for each in (0, -reach, reach)] for value, reach in ((0.2, 0.03), (0.1, 0.04))
    )
    assert np.log(quotient_interval(tuple(above), tuple(below))) == pytest.approx((0.05, 0.15))


def test_the_interval_of_a_quotient_covers_a_true_change() -> None:
    """Of medians of 15 rounds each, in 1,000 pairs of benches with a change of 5%, whose rounds vary by 4%."""
    draw = np.random.default_rng(0)
    covered = 0
    for _ in range(1000):
        old, new = (draw.normal(np.log(ratio), 0.04, 15) for ratio in (1.2, 1.2 * 1.05))
        each = [np.exp((np.median(logs), *(median_interval(logs.tolist()) or ()))) for logs in (new, old)]
        low, high = quotient_interval(tuple(each[0]), tuple(each[1]))
        covered += low <= 1.05 <= high
    assert covered >= 950
