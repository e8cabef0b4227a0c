from collections.abc import Sequence
from dataclasses import replace
from math import sqrt
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from resnet_lab.core.errors import DataError
from resnet_lab.evaluation.metrics.headline import FiguresOf
from resnet_lab.study.estimand import (
    Block,
    MeanEstimate,
    SeedImages,
    deviations,
    image_blocks,
    over_seeds,
    shared_variance,
    smallest_p,
)
from resnet_lab.study.plan import Metric
from resnet_lab.study.remarks import claim
from tests.study.fabricated import by_chance, design, found, predictions

ONE = np.array([1.0])
EVERY = np.ones(3, dtype=bool)
ARMS = {"plain": {}, "gated": {"attn": "eca"}}
MEANS_OVER_CLASSES = ("macro_accuracy", "macro_recall")
EVEN = by_chance({"plain": 0.7, "gated": 0.7})


def block(images: Sequence[int], values: Sequence[float]) -> Block:
    """Of one arm."""
    return Block(np.array(images), np.array([values]) - np.mean(values))


def slowly(blocks: Sequence[tuple[NDArray[np.int64], NDArray[np.float64]]]) -> tuple[float, float]:
    """tau^2 and the variance of the mean that it adds, by the formulas, pair by pair and image by image."""
    products, overlaps = [], 0.0
    for s, (images, values) in enumerate(blocks):
        for other, (others, other_values) in enumerate(blocks):
            if s == other:
                continue
            both = set(images.tolist()) & set(others.tolist())
            overlaps += len(both) / (len(images) * len(others))
            for image in both:
                one = values[images.tolist().index(image)] - values.mean()
                two = other_values[others.tolist().index(image)] - other_values.mean()
                products.append(one * two)
    tau_squared = max(0.0, float(np.mean(products))) if products else 0.0
    return tau_squared, overlaps * tau_squared / len(blocks) ** 2


def test_tau_by_hand() -> None:
    """Seeds share image 1: deviations -1 and -2, product 2; an overlap of 1 / (2 x 2), twice, by 2^2."""
    found = shared_variance([block([0, 1], [3.0, 1.0]), block([1, 2], [0.0, 4.0])], ONE)
    assert (found.tau_squared, found.images) == (2.0, 1)
    assert found.variance == pytest.approx(2 * 2.0 / 4 / 4)


def test_a_negative_covariance_counts_as_none() -> None:
    found = shared_variance([block([0, 1], [3.0, 1.0]), block([1, 2], [4.0, 0.0])], ONE)
    assert (found.tau_squared, found.variance) == (0.0, 0.0)


def test_seeds_that_share_no_image_share_no_variance() -> None:
    found = shared_variance([block([0, 1], [3.0, 1.0]), block([2, 3], [4.0, 0.0])], ONE)
    assert (found.tau_squared, found.variance, found.images) == (0.0, 0.0, 0)


def test_pairs_of_seeds_one_by_one_find_the_same() -> None:
    draw = np.random.default_rng(0)
    peculiar = draw.normal(size=(2, 40))
    parts = [draw.permutation(40)[:number] for number in (8, 12, 9, 10)]
    values = [peculiar[:, part] + draw.normal(0, 0.5, (2, len(part))) for part in parts]
    blocks = [Block(part, of - of.mean(1, keepdims=True)) for part, of in zip(parts, values, strict=True)]
    found = shared_variance(blocks, np.array([-1.0, 1.0]))
    expected = slowly([(part, of[1] - of[0]) for part, of in zip(parts, values, strict=True)])
    assert expected[0] > 0
    assert (found.tau_squared, found.variance) == pytest.approx(expected)


def test_the_same_test_part_is_known_in_any_order() -> None:
    first, second = block([4, 7, 9], [1.0, 2.0, 6.0]), block([9, 4, 7], [5.0, 1.0, 3.0])
    found = shared_variance([first, second], ONE)
    assert found.images == 3
    expected = slowly(
        [(np.array([4, 7, 9]), np.array([1.0, 2.0, 6.0])), (np.array([9, 4, 7]), np.array([5.0, 1.0, 3.0]))]
    )
    assert (found.tau_squared, found.variance) == pytest.approx(expected)


def test_random_parts_have_both_sources_in_quadrature() -> None:
    """Two images are tested twice, so that what they tell has one degree of freedom."""
    differences = [1.0, 2.0, 4.5]
    blocks = (block([0, 1], [3.0, 1.0]), block([1, 2], [0.0, 4.0]), block([2, 3], [1.0, 1.0]))
    made = SeedImages(blocks).new(differences, ONE, EVERY)
    assert made is not None
    tau_squared = 2 * (2.0 + 0.0) / 4  # of pairs of seeds either way, at image 1 and at image 2
    added = 4 * (1 / 4) * tau_squared / 9
    assert shared_variance(blocks, ONE).tau_squared == tau_squared
    seeds = stats.t.ppf(0.975, 2) * sqrt(np.var(differences, ddof=1) / 3)
    reach = sqrt(seeds**2 + (stats.t.ppf(0.975, 1) * sqrt(added)) ** 2)
    assert made.interval(0.05) == pytest.approx((2.5 - reach, 2.5 + reach))
    assert made.interval(made.p_value)[0] == pytest.approx(0, abs=1e-9)


def test_a_fixed_part_has_both_sources_in_quadrature() -> None:
    differences = [1.0, 2.0, 4.5]
    values = ([1.0, 2.0, 6.0, 3.0], [1.0, 3.0, 5.0, 3.0], [0.0, 2.0, 7.0, 3.0])
    blocks = tuple(block([0, 1, 2, 3], each) for each in values)
    made = SeedImages(blocks).new(differences, ONE, EVERY)
    assert made is not None
    _, added = slowly([(np.arange(4), np.array(each)) for each in values])
    seeds = stats.t.ppf(0.975, 2) * sqrt(np.var(differences, ddof=1) / 3)
    images = stats.t.ppf(0.975, 3) * sqrt(added)
    reach = sqrt(seeds**2 + images**2)
    assert made.interval(0.05) == pytest.approx((2.5 - reach, 2.5 + reach))
    assert made.interval(made.p_value)[0] == pytest.approx(0, abs=1e-9)


def test_without_predictions_nadeau_and_bengio() -> None:
    differences = [1.0, 2.0, 4.5]
    made = SeedImages((None,) * 3, ratio=0.25).new(differences, ONE, EVERY)
    assert made is not None
    reach = stats.t.ppf(0.975, 2) * sqrt(np.var(differences, ddof=1) * (1 / 3 + 0.25))
    assert made.interval(0.05) == pytest.approx((2.5 - reach, 2.5 + reach))
    assert SeedImages((None,) * 3).new(differences, ONE, EVERY) is None
    gone = Block(np.arange(2), np.array([[np.nan, np.nan]]))
    assert SeedImages((block([0, 1], [1, 2]), gone, gone)).new(differences, ONE, EVERY) is None


def test_seeds_that_do_not_count_are_not_read() -> None:
    blocks = (block([0, 1], [3.0, 1.0]), None, block([1, 2], [0.0, 4.0]))
    made = SeedImages(blocks).new([1.0, 2.0], ONE, np.array([True, False, True]))
    assert made is not None
    assert made.parts == ((pytest.approx(0.5 / 2), 1), (pytest.approx(0.25), 1))
    assert SeedImages(blocks).new([1.0], ONE, np.array([True, False, False])) is None


def test_equal_differences_have_the_sign_flip_test_s_p() -> None:
    alone = over_seeds([0.5] * 6)
    assert alone is not None
    assert alone.p_value == smallest_p(6) == 2 / 64
    assert alone.interval(0.05) == (0.5, 0.5)
    still = over_seeds([0.0] * 6)
    assert still is not None
    assert still.p_value == 1
    assert MeanEstimate(1.0, ((1e-4, 5), (0.0, 9)), 0.03).p_value == 0.03


@pytest.mark.parametrize("metric", [each for each in get_args(Metric) if each not in MEANS_OVER_CLASSES])
def test_deviations_are_the_derivative_by_an_image_s_weight(metric: str) -> None:
    """Of the figure as a function of weights."""
    draw = np.random.default_rng(3)
    labels = draw.integers(7, size=42)
    probabilities = draw.dirichlet(np.ones(7), 42).astype(np.float32)
    n, step = len(labels), 1e-6
    figure = FiguresOf(labels, probabilities, [metric])
    slopes = (figure(np.ones((n, n)) + step * np.eye(n))[metric] - figure(np.ones((1, n)))[metric]) / step
    assert deviations(labels, probabilities, metric) == pytest.approx(n * slopes, abs=1e-4)


def test_images_of_a_rare_class_weigh_more() -> None:
    """Two classes of 3 and 1 images, recalls 2/3 and 1, score 5/6: weights 1/6 and 1/2, times 4."""
    labels = np.array([0, 0, 0, 1])
    made = predictions(labels, np.array([True, True, False, True]), 2, "w")
    expected = 4 * np.array([1 / 6, 1 / 6, 1 / 6, 1 / 2]) * (np.array([1, 1, 0, 1]) - 5 / 6)
    assert deviations(labels, made.probabilities, "macro_accuracy") == pytest.approx(expected)
    wider = np.pad(made.probabilities, ((0, 0), (0, 1)))  # a third class without images, whose recall counts as 0
    assert deviations(labels, wider, "macro_accuracy") == pytest.approx(expected)
    assert deviations(labels, wider, "macro_recall") == pytest.approx(2 / 3 * expected)


def test_arms_of_a_seed_have_the_same_images(tmp_path: Path) -> None:
    judged, _ = found(tmp_path / "study", design(arms=ARMS, seeds=2), EVEN)
    (first, second), others = judged.predicted.cells
    assert second is not None
    other = replace(second, digests=tuple(reversed(second.digests)))
    with pytest.raises(DataError, match="arms of one seed were tested on different images: the data changed while the"):
        image_blocks(replace(judged.predicted, cells=((first, other), others)), "macro_accuracy")


def test_an_image_is_known_by_its_content_and_copies_are_told_apart(tmp_path: Path) -> None:
    judged, _ = found(tmp_path / "study", design(arms=ARMS, seeds=2), EVEN, n=4)
    (first, second), (third, _) = judged.predicted.cells
    assert first is not None
    assert second is not None
    assert third is not None
    one = replace(first, digests=("a", "b", "b", "c"))
    later = replace(third, paths=("w", "x", "y", "z"), digests=("b", "d", "b", "a"))
    grid = replace(judged.predicted, cells=((one, None), (later, None)))
    blocks = image_blocks(grid, "accuracy")
    assert [each.images.tolist() for each in blocks if each is not None] == [[0, 1, 2, 3], [1, 4, 2, 0]]
    assert np.isnan(blocks[0].deviations[1]).all()  # type: ignore[union-attr]


def test_what_verdicts_are_about_is_said() -> None:
    assert claim(design(arms=ARMS)) == (
        "verdicts are about new images like these: every seed has a test part of its own, and what seeds share by "
        "testing the same images is part of every interval"
    )
    assert claim(design(arms=ARMS, vary=("init",))) == (
        "verdicts are about new images like these: every seed has the same split, so they are of networks trained on "
        "this one training part, and what seeds share by testing the same images is part of every interval"
    )
    assert claim(design(arms=ARMS, population="pool")) == (
        "verdicts are about the images of this data set, from which each seed draws its test part; they claim nothing "
        "about other images"
    )
    assert claim(design(arms=ARMS, population="pool", vary=("order",))) == (
        "verdicts are about the images of this one test part; they claim nothing about other images"
    )
    assert claim(design(arms=ARMS, blocks="folds")) == (
        "verdicts are about new images like these: every seed tests another of 10 folds, and no image is tested at two "
        "seeds"
    )
    assert claim(design(arms=ARMS, blocks="folds", population="pool")) == (
        "verdicts are about the images of this data set, of whose 10 folds each seed tests one; they claim nothing "
        "about other images"
    )
