from itertools import product

import numpy as np
import pytest
from scipy.special import comb
from scipy.stats import spearmanr

from resnet_lab.evaluation.metrics.abundance import abundance


def test_the_correlation_is_scipy_s_and_its_p_value_that_of_all_arrangements() -> None:
    """Of 7 right answers among 11 images of 4 classes, each arrangement as likely as it has ways to come about."""
    images, supports, right = (10, 40, 20, 80), (1, 3, 2, 5), (0, 2, 0, 5)
    recalls = [hits / n for hits, n in zip(right, supports, strict=True)]
    found = abundance("abcd", images, recalls, supports)
    assert found.correlation == pytest.approx(spearmanr(images, recalls).statistic)
    chances = {"below": 0.0, "above": 0.0}
    for hits in product(*(range(n + 1) for n in supports)):
        if sum(hits) != sum(right):
            continue
        chance = np.prod([comb(n, hit) for n, hit in zip(supports, hits, strict=True)]) / comb(11, 7)
        value = spearmanr(images, [hit / n for hit, n in zip(hits, supports, strict=True)]).statistic
        chances["below"] += chance * (value <= found.correlation + 1e-9)
        chances["above"] += chance * (value >= found.correlation - 1e-9)
    assert found.p_value == pytest.approx(min(1, 2 * min(chances.values())), abs=0.02)


def test_the_same_classes_have_the_same_p_value() -> None:
    draw = np.random.default_rng(0)
    images = draw.integers(10, 900, 50).tolist()
    recalls = (draw.integers(0, 6, 50) / 5).tolist()
    found = abundance([str(k) for k in range(50)], images, recalls, [5] * 50)
    assert found.correlation == pytest.approx(spearmanr(images, recalls).statistic)
    assert found == abundance([str(k) for k in range(50)], images, recalls, [5] * 50)


@pytest.mark.slow
def test_it_seldom_speaks_of_classes_that_are_recognised_alike() -> None:
    """Classes of 1 to 100 images with a recall of 0.9: small ones have a recall of 1 more often than large ones."""
    draw = np.random.default_rng(0)
    supports = np.maximum(1, np.geomspace(1, 100, 30).astype(int))
    spoken = 0
    for _ in range(150):
        recalls = draw.binomial(supports, 0.9) / supports
        found = abundance([str(k) for k in range(30)], (10 * supports).tolist(), recalls.tolist(), supports.tolist())
        spoken += (found.p_value or 1) <= 0.05
    assert spoken <= 15, "5% of 150, and three standard errors"


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
