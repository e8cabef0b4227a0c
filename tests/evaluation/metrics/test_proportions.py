import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import binomtest

from resnet_lab.evaluation.metrics.proportions import (
    bonett_price,
    bonett_price_over_classes,
    effective_images,
    wilson,
    wilson_over_classes,
)

Z = 1.959963984540054


@pytest.mark.parametrize(("right", "n"), [(0, 1), (3, 9), (10, 10)])
def test_scipy_agrees_on_one_share(right: int, n: int) -> None:
    expected = binomtest(right, n).proportion_ci(method="wilson")
    assert wilson(right / n, n, 0.95) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("mean", [0.0, 0.1, 0.5, 0.7, 1.0])
@pytest.mark.parametrize(("n", "classes"), [(1, 4), (3, 10), (50, 2)])
def test_of_equal_classes_it_is_wilson_s_interval_of_all_images(mean: float, n: int, classes: int) -> None:
    assert effective_images(np.full(classes, n)) == pytest.approx(n * classes)
    assert wilson_over_classes(mean, np.full(classes, n), 0.95) == pytest.approx(
        wilson(mean, n * classes, 0.95), abs=1e-8
    )


@pytest.mark.parametrize("sizes", [(1, 2, 3), (4, 50, 50, 50), (2, 2, 7, 30)])
@pytest.mark.parametrize("mean", [0.4, 0.9])
def test_its_ends_are_where_the_largest_variance_is_just_enough(sizes: tuple[int, ...], mean: float) -> None:
    """The largest variance of a mean is found by a general optimiser."""
    n = np.array(sizes)
    for end in wilson_over_classes(mean, n, 0.95):
        largest = minimize(
            lambda p: -np.sum(p * (1 - p) / n),
            np.full(len(n), end),
            bounds=[(0, 1)] * len(n),
            constraints={"type": "eq", "fun": lambda p, end=end: p.mean() - end},
            method="SLSQP",
            options={"ftol": 1e-12},
        )
        assert (mean - end) ** 2 == pytest.approx(-(Z**2) * largest.fun / len(n) ** 2, rel=1e-3)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((12, 26, 4, 6), (0.2548067, 0.6251933)),  # of Bonett's own example of his R package statpsych, ci.prop.ps
        ((1, 1, 7, 12), (-0.5083593, -0.0133798)),
    ],
)
def test_published_tables(counts: tuple[int, int, int, int], expected: tuple[float, float]) -> None:
    n, first, second = sum(counts), counts[1], counts[2]
    assert bonett_price((first - second) / n, (first + second) / n, n, 0.95) == pytest.approx(expected, abs=1e-6)


def test_ends_are_within_what_differences_can_be() -> None:
    assert bonett_price(1.0, 1.0, 1, 0.95)[1] == 1
    assert bonett_price(-1.0, 1.0, 1, 0.95)[0] == -1


def test_over_classes_the_larger_disagreement_counts() -> None:
    """Of classes of 4 and 36 images, as of 4 / (1/4 + 1/36) = 14.4; by 1/n the first weighs 0.9."""
    sizes = np.array([4, 36])
    assert effective_images(sizes) == pytest.approx(14.4)
    found = bonett_price_over_classes(np.array([0.5, 0.0]), np.array([0.5, 0.0]), sizes, 0.95)
    assert found == pytest.approx(bonett_price(0.25, 0.45, 14.4, 0.95))
    found = bonett_price_over_classes(np.array([0.0, 0.1]), np.array([0.0, 0.1]), sizes, 0.95)
    assert found == pytest.approx(bonett_price(0.05, 0.05, 14.4, 0.95))
