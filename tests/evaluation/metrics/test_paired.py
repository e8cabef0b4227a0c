import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar as reference

from resnet_lab.evaluation.metrics.headline import headline
from resnet_lab.evaluation.metrics.paired import paired, sign_test
from tests.evaluation.metrics.drawn import predictions


@pytest.mark.parametrize(("fixed", "broken"), [(8, 1), (3, 3), (0, 5), (40, 22), (1, 0)])
def test_statsmodels_agrees(fixed: int, broken: int) -> None:
    expected = reference([[10, broken], [fixed, 10]], exact=True).pvalue
    assert sign_test(fixed, broken).p_value == pytest.approx(expected)


def test_no_disagreement_says_nothing() -> None:
    assert sign_test(0, 0).p_value == 1


def test_images_fixed_and_broken_by_hand() -> None:
    labels = np.array([0, 0, 1, 1])
    first = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6]], dtype=np.float32)
    second = np.array([[0.4, 0.6], [0.6, 0.4], [0.1, 0.9], [0.3, 0.7]], dtype=np.float32)
    found = paired(labels, first, second, resamples=200)
    assert (found.fixed.tolist(), found.broken.tolist()) == ([1, 2], [0])
    assert (found.test.fixed, found.test.broken) == (2, 1)


def test_differences_are_those_of_the_figures() -> None:
    draw = np.random.default_rng(0)
    labels, first = predictions(draw, 80, 7)
    second = draw.dirichlet(np.ones(7), size=80).astype(np.float32)
    found = paired(labels, first, second, resamples=200).differences
    one, other = headline(labels, first), headline(labels, second)
    assert {name: each.value for name, each in found.items()} == pytest.approx(
        {name: other[name] - one[name] for name in one}
    )
    for name, each in found.items():
        assert each.ends is None or each.ends[0] <= each.value <= each.ends[1], name


def test_the_intervals_of_shares_are_bonett_and_price_s() -> None:
    """By hand, of 2 classes with 10 images each: 3 fixed and 1 broken of the first, 2 and 0 of the second."""
    labels = np.repeat([0, 1], 10)
    first, second = labels.copy(), labels.copy()
    first[[0, 1, 2, 10, 11]] = 1 - first[[0, 1, 2, 10, 11]]
    second[3] = 1
    found = paired(labels, np.eye(2, dtype=np.float32)[first], np.eye(2, dtype=np.float32)[second]).differences
    p12, p21 = 6 / 22, 2 / 22
    reach = 1.959964 * np.sqrt((p12 + p21 - (p12 - p21) ** 2) / 22)
    for name in ("accuracy", "weighted_recall", "macro_accuracy", "macro_recall"):
        assert found[name].value == pytest.approx(4 / 20)
        assert found[name].ends == pytest.approx((p12 - p21 - reach, p12 - p21 + reach)), "classes are equal"
    assert found["accuracy"].method == "Bonett-Price"
    assert found["macro_accuracy"].method == "Bonett-Price over classes"
    assert (found["macro_f1"].ends, found["macro_f1"].method) == (
        None,
        "none: the two differ on fewer than 10 images",
    )


def test_no_disagreement_leaves_doubt() -> None:
    """(0 + 1) / (40 + 2) for either: Bonett and Price's interval is 0 ± 1.96 sqrt((2 / 42) / 42)."""
    labels = np.repeat([0, 1], 20)
    same = np.eye(2, dtype=np.float32)[labels]
    found = paired(labels, same, same).differences
    reach = 1.959964 * np.sqrt(2) / 42
    assert found["accuracy"].ends == pytest.approx((-reach, reach))
    assert found["log_loss"].ends is found["brier"].ends is found["mean_p_true"].ends is None
