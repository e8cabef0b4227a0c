import numpy as np
import pytest
from scipy import stats

from resnet_lab.study.spread import collapses, is_skewed, outliers, score_of_guessing, skewness, unseen


def test_outliers_are_beyond_five_robust_deviations() -> None:
    """Deviations of the median 3 are 2, 1, 0, 1, and the last; their median is 1, and the bound 7.413."""
    assert outliers([1, 2, 3, 4, 10.4]).tolist() == [False] * 5
    assert outliers([1, 2, 3, 4, 10.42]).tolist() == [*[False] * 4, True]
    assert stats.median_abs_deviation([1, 2, 3, 4, 10.42], scale="normal") == pytest.approx(1.4826, abs=1e-4)
    assert not outliers([0, 0, 0, 9]).any(), "four tell nothing"
    assert outliers([0.5] * 6).tolist() == [False] * 6


def test_skewness_is_scipy_s_and_rare_in_normal_values() -> None:
    draw = np.random.default_rng(0)
    values = draw.exponential(size=8).tolist()
    assert skewness(values) == pytest.approx(stats.skew(values, bias=False))
    assert skewness([0.5] * 8) is None
    assert skewness(values[:4]) is None
    shares = [np.mean([is_skewed(draw.normal(size=n).tolist()) for _ in range(2000)]) for n in (6, 20)]
    assert shares == pytest.approx([0.05, 0.05], abs=0.02)
    assert is_skewed([0, 0.1, 0.2, 0.1, 0, 9]) is True


def test_a_collapse_is_at_chance_level_or_far_below_the_arm() -> None:
    """Medians are 0.80 and 0.90, deviations 0 to 0.02: a drop of 0.1 is far, one of 0.04 is not."""
    plain, noisy = [0.78, 0.79, 0.80, 0.81, 0.82], [0.90, 0.91, 0.86, 0.90, 0.80]
    scores = np.array([plain, noisy]).T
    assert np.argwhere(collapses(scores, 0.1)).tolist() == [[4, 1]]
    assert not collapses(scores - 0.7, -np.inf)[:, 0].any()
    assert collapses(np.array([[0.1, 0.8], [np.nan, 0.1001]]), 0.1).tolist() == [[True, False], [False, False]]
    losses = np.array([[0.5, 0.5, 0.5, 0.6, 2.31]]).T
    assert collapses(losses, np.log(10), higher_is_better=False).ravel().tolist() == [*[False] * 3, True, True]


def test_scores_of_guessing() -> None:
    assert score_of_guessing("macro_accuracy", 10) == 0.1
    assert (score_of_guessing("top5_accuracy", 10), score_of_guessing("top5_accuracy", 3)) == (0.5, 1)
    assert score_of_guessing("log_loss", 10) == pytest.approx(2.302585)
    assert score_of_guessing("brier", 4) == 0.75 == 0.75**2 + 3 * 0.25**2
    assert score_of_guessing("mean_p_true", 4) == 0.25


def test_rare_collapses_go_unseen() -> None:
    """The upper end of Clopper and Pearson's one-sided interval for none of n."""
    for runs in (3, 6, 20):
        expected = stats.binomtest(0, runs, alternative="less").proportion_ci(0.95, method="exact").high
        assert unseen(runs) == pytest.approx(expected)
