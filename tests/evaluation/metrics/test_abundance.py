from itertools import permutations

import numpy as np
import pytest
from scipy.stats import spearmanr

from resnet_lab.evaluation.metrics.abundance import abundance


def test_the_correlation_is_scipy_s_and_its_p_value_that_of_all_orders() -> None:
    images, recalls = (10, 40, 20, 80, 30), (0.2, 0.6, 0.5, 0.5, 0.1)
    found = abundance("abcde", images, recalls, (3,) * 5)
    assert found.correlation == pytest.approx(spearmanr(images, recalls).statistic)
    every = [abs(spearmanr(order, recalls).statistic) for order in permutations(images)]
    expected = np.mean([value >= abs(found.correlation) - 1e-9 for value in every])
    assert found.p_value == pytest.approx(expected)


def test_many_classes_are_drawn_at_random() -> None:
    draw = np.random.default_rng(0)
    images = draw.integers(10, 900, 50).tolist()
    recalls = (np.log(images) / 10 + draw.normal(0, 0.1, 50)).tolist()
    found = abundance([str(k) for k in range(50)], images, recalls, [5] * 50)
    expected = spearmanr(images, recalls)
    assert found.correlation == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue, abs=0.001)
    assert found == abundance([str(k) for k in range(50)], images, recalls, [5] * 50)


def test_classes_without_evaluated_images_are_left_out() -> None:
    found = abundance("abc", (1, 2, 3), (0.0, 0.5, 1.0), (0, 2, 1))
    assert (found.classes, found.train_images, found.recalls, found.supports) == (
        ("b", "c"),
        (2, 3),
        (0.5, 1.0),
        (2, 1),
    )


@pytest.mark.parametrize(
    ("images", "recalls"),
    [((1, 2, 3), (0.1, 0.2, 0.3)), ((5, 5, 5, 5), (0.1, 0.2, 0.3, 0.4)), ((1, 2, 3, 4), (1.0,) * 4)],
)
def test_undefined_correlations(images: tuple[int, ...], recalls: tuple[float, ...]) -> None:
    found = abundance([str(k) for k in images], images, recalls, (3,) * len(images))
    assert (found.correlation, found.p_value) == (None, None)
