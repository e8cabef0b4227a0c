import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from resnet_lab.evaluation.metrics.calibration import BINS, bin_of, calibration, reliability
from tests.evaluation.metrics.drawn import predictions


@pytest.mark.parametrize("seed", range(50))
def test_scikit_learn_agrees(seed: int) -> None:
    labels, probabilities = predictions(np.random.default_rng(seed), 100, 5)
    right, confidences = labels == probabilities.argmax(1), probabilities.max(1).astype(float)
    accuracy, confidence = calibration_curve(right, confidences, n_bins=BINS, strategy="uniform")
    bins = reliability(labels, probabilities)
    assert [each.accuracy for each in bins] == pytest.approx(accuracy.tolist())
    assert [each.confidence for each in bins] == pytest.approx(confidence.tolist())
    assert sum(each.n for each in bins) == 100
    assert all(each.low < each.confidence <= each.high for each in bins)


def test_the_error_by_hand() -> None:
    """Confidences 0.9 and 0.9 in one bin, one right: |1/2 - 0.9|; 0.6 in another, right: |1 - 0.6|; over 3 images."""
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]], dtype=np.float32)
    found = calibration(np.array([0, 1, 1]), probabilities)
    assert found.error == pytest.approx((2 * 0.4 + 0.4) / 3)


def test_ends_belong_to_the_bin_below() -> None:
    assert bin_of(np.array([0.0, 1 / 15, 1 / 15 + 1e-9, 1.0])).tolist() == [0, 0, 1, 14]


def test_by_chance_a_calibrated_network_s_error_is_within_and_an_overconfident_one_s_is_not() -> None:
    """Labels drawn from the probabilities themselves: 95 of 100 within, in truth and by a wide margin."""
    draw = np.random.default_rng(0)
    within = 0
    for _ in range(100):
        probabilities = draw.dirichlet(np.ones(3), size=80).astype(np.float32)
        labels = np.array([draw.choice(3, p=row / row.sum()) for row in probabilities.astype(float)])
        found = calibration(labels, probabilities)
        within += found.by_chance[0] <= found.error <= found.by_chance[1]
    assert 88 <= within <= 99
    certain = calibration(draw.integers(0, 3, 80), np.eye(3, dtype=np.float32)[draw.integers(0, 3, 80)])
    assert certain.by_chance == (0, 0) < (certain.error, 0)
