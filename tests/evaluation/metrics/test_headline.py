import warnings
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest, bootstrap
from sklearn import metrics as reference

from resnet_lab.evaluation.metrics.headline import (
    accelerated,
    headline,
    intervals,
    paired_intervals,
    resampled,
)
from tests.evaluation.metrics.drawn import predictions


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_scikit_learn_agrees_on_a_thousand_sets(block: int) -> None:
    """A hundred each; absent and single-image classes, and classes that are never predicted, are among them."""
    absent = single = 0
    for seed in range(100 * block, 100 * (block + 1)):
        draw = np.random.default_rng(seed)
        k, n = int(draw.integers(2, 20)), int(draw.integers(1, 80))
        labels, probabilities = predictions(draw, n, k, signal=draw.uniform(0, 2))
        support = np.bincount(labels, minlength=k)
        absent, single = absent + (support == 0).any(), single + (support == 1).any()
        found = headline(labels, probabilities)
        assert found == pytest.approx(_by_scikit_learn(labels, probabilities)), seed
    assert absent > 30
    assert single > 30


def _by_scikit_learn(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    k, predicted = probabilities.shape[1], probabilities.argmax(1)
    every = np.arange(k)
    expected = {
        "accuracy": reference.accuracy_score(labels, predicted),
        "log_loss": reference.log_loss(labels, probabilities, labels=every),
        "brier": reference.brier_score_loss(every[labels], probabilities, labels=every, scale_by_half=False),
        "mean_p_true": np.mean([row[label] for label, row in zip(labels, probabilities, strict=True)], dtype=float),
    }
    with warnings.catch_warnings(action="ignore"):  # of classes that are predicted and not there
        expected["macro_accuracy"] = reference.balanced_accuracy_score(labels, predicted)
    for average in ("macro", "weighted"):
        values = reference.precision_recall_fscore_support(
            labels, predicted, labels=every, average=average, zero_division=0
        )
        expected |= dict(zip((f"{average}_precision", f"{average}_recall", f"{average}_f1"), values[:3], strict=True))
    if k > 5:
        expected["top5_accuracy"] = reference.top_k_accuracy_score(labels, probabilities, k=5, labels=every)
    return expected


def test_intervals_are_scipy_s() -> None:
    """SciPy's interval uses other random numbers: the ends agree to the noise of 20,000 resamples."""
    labels, probabilities = predictions(np.random.default_rng(0), 150, 4)
    losses = -np.log(np.take_along_axis(probabilities, labels[:, None], 1)[:, 0].astype(float))
    right = (labels == probabilities.argmax(1)).astype(float)
    found = intervals(labels, probabilities, resamples=20_000)
    for name, values in (("log_loss", losses), ("accuracy", right)):
        expected = bootstrap(
            (values,), np.mean, method="BCa", n_resamples=20_000, rng=np.random.default_rng(1)
        ).confidence_interval
        width = expected.high - expected.low
        assert found[name].ends == pytest.approx((expected.low, expected.high), abs=0.03 * width)
        assert found[name].method == "BCa bootstrap over images"


def test_intervals_of_many_images_leave_out_groups() -> None:
    labels, probabilities = predictions(np.random.default_rng(0), 3000, 4)
    found = intervals(labels, probabilities)["accuracy"]
    error = np.sqrt(found.value * (1 - found.value) / 3000)
    assert found.ends == pytest.approx((found.value - 1.96 * error, found.value + 1.96 * error), abs=0.2 * error)


def test_the_same_predictions_give_the_same_intervals() -> None:
    labels, probabilities = predictions(np.random.default_rng(0), 40, 3)
    assert intervals(labels, probabilities) == intervals(labels, probabilities)


def test_nothing_but_right_answers_leave_doubt() -> None:
    """Wilson's interval, for means over classes too, and none for the figures that have no such."""
    labels = np.repeat([0, 1, 2], 6)
    found = intervals(labels, np.eye(3, dtype=np.float32)[labels])
    assert found["accuracy"].ends == pytest.approx((_wilson(18, 18).low, 1))
    assert found["macro_recall"].ends == pytest.approx((_wilson(18, 18).low, 1))
    assert found["macro_f1"].ends is found["log_loss"].ends is None
    assert found["macro_f1"].method == "none: fewer than 5 images are classified wrongly, or correctly"
    wrong = intervals(labels, np.eye(3, dtype=np.float32)[(labels + 1) % 3])
    assert wrong["accuracy"].ends == pytest.approx((0, _wilson(0, 18).high))


@pytest.mark.parametrize(("mistakes", "method"), [(4, "Wilson"), (5, "BCa bootstrap over images")])
def test_few_mistakes(mistakes: int, method: str) -> None:
    labels = np.repeat([0, 1], 20)
    taken = labels.copy()
    taken[18 : 18 + mistakes] = 1 - taken[18 : 18 + mistakes]
    found = intervals(labels, np.eye(2, dtype=np.float32)[taken])
    assert found["accuracy"].method == found["weighted_recall"].method == method
    if method == "Wilson":
        assert found["accuracy"].ends == pytest.approx(tuple(_wilson(36, 40)))
    assert (found["weighted_f1"].ends is None) == (found["log_loss"].ends is None) == (method == "Wilson")


def test_classes_of_few_images() -> None:
    """Of three each: Wilson's interval of all. A fourth class, without images, lowers macro recall alone."""
    labels = np.repeat([0, 1, 2], 3)
    taken = np.array([0, 0, 1, 1, 1, 2, 2, 0, 0])
    found = intervals(labels, np.eye(4, dtype=np.float32)[taken])
    low, high = _wilson(5, 9)
    assert found["macro_accuracy"].ends == pytest.approx((low, high), abs=1e-9)
    assert found["macro_accuracy"].method == "Wilson over classes"
    assert found["macro_recall"].ends == pytest.approx((0.75 * low, 0.75 * high))
    for name in ("macro_precision", "macro_f1", "weighted_precision", "weighted_f1"):
        assert found[name].ends is None
        assert found[name].method == "none: a class has fewer than 5 images"
    assert found["log_loss"].ends is None, "of four right answers"


def _wilson(right: int, n: int) -> Any:
    return binomtest(right, n).proportion_ci(method="wilson")


def test_a_paired_interval_of_losses_is_that_of_the_images_differences() -> None:
    draw = np.random.default_rng(0)
    labels, first = predictions(draw, 200, 3, signal=0.5)
    _, second = predictions(draw, 200, 3, signal=0.5)
    found = paired_intervals(labels, first, second, resamples=20_000)["log_loss"]
    losses = [-np.log(np.take_along_axis(each, labels[:, None], 1)[:, 0].astype(float)) for each in (first, second)]
    differences = losses[1] - losses[0]
    expected = bootstrap(
        (differences,), np.mean, method="BCa", n_resamples=20_000, rng=np.random.default_rng(1)
    ).confidence_interval
    assert found.value == pytest.approx(differences.mean())
    assert found.ends == pytest.approx((expected.low, expected.high), abs=0.03 * (expected.high - expected.low))


def test_resamples_have_as_many_images_and_each_alike_often() -> None:
    weights = np.concatenate(list(resampled(50, 4000)))
    assert weights.shape == (4000, 50)
    assert (weights.sum(1) == 50).all()
    assert weights.mean(0) == pytest.approx(np.ones(50), abs=0.1)
    assert weights.var(0) == pytest.approx(np.full(50, 49 / 50), abs=0.15)


def test_without_bias_and_skew_an_interval_is_of_quantiles() -> None:
    drawn = np.linspace(-1, 1, 2001)
    assert accelerated(0.0, drawn, np.array([-1.0, 1.0]), 0.9) == pytest.approx((-0.9, 0.9), abs=1e-3)


def coverage(n: int, k: int, parts: int) -> dict[str, float]:
    """Coverage of 95% intervals in simulated test parts, the truth being that of a million images."""
    draw = np.random.default_rng(n)
    truth = headline(*predictions(draw, 1_000_000, k))
    covered = dict.fromkeys(truth, 0)
    for _ in range(parts):
        for name, found in intervals(*predictions(draw, n, k), resamples=1000).items():
            covered[name] += found.ends is not None and found.ends[0] <= truth[name] <= found.ends[1]
    return {name: count / parts for name, count in covered.items()}


@pytest.mark.slow
def test_intervals_cover_the_truth_in_200_test_parts() -> None:
    """95% within three standard errors of so few."""
    error = np.sqrt(0.95 * 0.05 / 200)
    found = coverage(120, 4, parts=200)
    assert all(0.95 - 3 * error <= share <= 0.95 + 3 * error for share in found.values()), found


@pytest.mark.long
@pytest.mark.parametrize(("n", "k"), [(120, 4), (400, 10), (800, 25)])
def test_intervals_cover(n: int, k: int) -> None:
    found = coverage(n, k, parts=2000)
    print(found)
    assert all(0.93 <= share <= 0.97 for share in found.values()), found
