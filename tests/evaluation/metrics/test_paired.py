import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar as reference

from resnet_lab.evaluation.metrics.headline import headline
from resnet_lab.evaluation.metrics.paired import mcnemar, paired
from tests.evaluation.metrics.drawn import predictions


@pytest.mark.parametrize(("fixed", "broken"), [(8, 1), (3, 3), (0, 5), (40, 22), (1, 0)])
def test_statsmodels_agrees(fixed: int, broken: int) -> None:
    expected = reference([[10, broken], [fixed, 10]], exact=True).pvalue
    assert mcnemar(fixed, broken).p_value == pytest.approx(expected)


def test_no_disagreement_says_nothing() -> None:
    assert mcnemar(0, 0).p_value == 1


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
    assert all(each.low <= each.value <= each.high for each in found.values())
