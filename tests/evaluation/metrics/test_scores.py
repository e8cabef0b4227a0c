import numpy as np
import pytest
from sklearn import metrics as reference

from resnet_lab.evaluation.metrics.scores import brier_scores, log_losses, macro_accuracy, score, true_probabilities


def test_a_case_by_hand() -> None:
    """Class a: 2 of 3 right; b: 1 of 1, and one a taken for b; c never occurs and is never predicted."""
    scores = score(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), ("a", "b", "c"))
    assert (scores.accuracy, scores.n) == (3 / 4, 4)
    assert scores.macro_accuracy == (2 / 3 + 1) / 2
    assert scores.macro_precision == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert scores.macro_recall == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert scores.macro_f1 == pytest.approx((4 / 5 + 2 / 3 + 0) / 3)
    assert [(row.name, row.support) for row in scores.classes] == [("a", 3), ("b", 1), ("c", 0)]


@pytest.mark.parametrize("seed", range(200))
def test_scikit_learn_agrees(seed: int) -> None:
    """Random predictions, with absent and single-image classes among them."""
    draw = np.random.default_rng(seed)
    k, n = int(draw.integers(2, 12)), int(draw.integers(1, 60))
    labels, predictions = draw.integers(0, k, n), draw.integers(0, k, n)
    names = tuple(f"class {index}" for index in range(k))
    scores = score(labels, predictions, names)
    options = {"labels": range(k), "average": "macro", "zero_division": 0}
    assert scores.accuracy == pytest.approx(reference.accuracy_score(labels, predictions))
    present = np.unique(labels)
    recalls = reference.recall_score(labels, predictions, labels=present, average="macro", zero_division=0)
    assert scores.macro_accuracy == macro_accuracy(labels, predictions, k) == pytest.approx(recalls)
    assert scores.macro_precision == pytest.approx(reference.precision_score(labels, predictions, **options))
    assert scores.macro_recall == pytest.approx(reference.recall_score(labels, predictions, **options))
    assert scores.macro_f1 == pytest.approx(reference.f1_score(labels, predictions, **options))
    report = reference.classification_report(
        labels, predictions, labels=range(k), target_names=names, output_dict=True, zero_division=0
    )
    for row in scores.classes:
        expected = report[row.name]
        found = (row.precision, row.recall, row.f1, row.support)
        assert found == pytest.approx(tuple(expected[key] for key in ("precision", "recall", "f1-score", "support")))


def test_macro_accuracy_is_scikit_learn_s_balanced_accuracy() -> None:
    draw = np.random.default_rng(0)
    labels = np.arange(60) % 4
    predictions = draw.integers(0, 4, 60)
    assert macro_accuracy(labels, predictions, 4) == pytest.approx(
        reference.balanced_accuracy_score(labels, predictions)
    )


def test_wilson_s_interval_by_its_formula() -> None:
    """Centre (p + z²/2n) / (1 + z²/n), reach z sqrt(p(1-p)/n + z²/4n²) / (1 + z²/n), of 2 of 3."""
    scores = score(np.array([0, 0, 0]), np.array([0, 0, 1]), ("a", "b"))
    n, p, z = 3, 2 / 3, 1.959963984540054
    centre, reach = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    a, b = scores.classes
    assert (a.recall_low, a.recall_high) == pytest.approx(
        ((centre - reach) / (1 + z**2 / n), (centre + reach) / (1 + z**2 / n))
    )
    assert (b.support, b.recall_low, b.recall_high) == (0, 0, 1)


def test_log_losses_are_clipped_as_in_scikit_learn() -> None:
    probabilities = np.array([[1, 0], [0, 1], [0.25, 0.75]], dtype=np.float32)
    labels = np.array([0, 0, 1])
    expected = reference.log_loss(labels, probabilities, normalize=False)
    assert log_losses(labels, probabilities).sum() == pytest.approx(expected)
    assert log_losses(labels, probabilities)[2] == pytest.approx(-np.log(0.75))


def test_brier_scores_by_hand() -> None:
    """0.3^2 + 0.2^2 + 0.1^2 where the first of (0.7, 0.2, 0.1) is true, 0.7^2 + 0.8^2 + 0.1^2 where the second is."""
    probabilities = np.array([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1], [0, 0, 1]], dtype=np.float32)
    assert brier_scores(np.array([0, 1, 0]), probabilities) == pytest.approx([0.14, 1.14, 2])
    assert true_probabilities(np.array([0, 1, 0]), probabilities) == pytest.approx([0.7, 0.2, 0])


def test_of_two_classes_the_brier_score_is_twice_the_one_of_the_positive_class() -> None:
    draw = np.random.default_rng(1)
    labels, positive = draw.integers(0, 2, 50), draw.random(50)
    found = brier_scores(labels, np.stack((1 - positive, positive), axis=1).astype(np.float32)).mean()
    assert found == pytest.approx(2 * reference.brier_score_loss(labels, positive))
