"""Means over seeds with their variance, for the images at hand or for new ones like them.

Legend: S seeds, A arms, N test images of a seed.

Seeds draw their test images from one finite set, so that their differences share what is peculiar to it. An interval
over seeds alone is about that set (`pool`). For new images (`new`) the covariance of seeds is added: by the images that
two seeds both tested, or, where the predictions are gone, by the rule of Nadeau and Bengio 2003, "Inference for the
Generalization Error", doi:10.1023/A:1024068626366.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import stdtr, stdtrit

from resnet_lab.core.errors import DataError
from resnet_lab.evaluation.metrics.headline import OF_PROBABILITIES
from resnet_lab.evaluation.metrics.ranks import ranks_of_truth
from resnet_lab.evaluation.predictions import Predictions
from resnet_lab.study.grid import Grid

Floats = NDArray[np.float64]
Span = tuple[float, float]

EQUAL = 1e-12
"""Relative difference below which two numbers differ by rounding alone."""

SMALLEST = 1e-30
"""Probability below which a p-value of two parts is not looked for."""


@dataclass(frozen=True)
class MeanEstimate:
    """A mean with its variance.

    Attributes:
        parts: of the variance of the mean, each with the degrees of freedom that it was estimated with.
        least: p-value below which the data cannot go.
    """

    mean: float
    parts: tuple[tuple[float, int], ...]
    least: float = 0.0

    def interval(self, alpha: float) -> Span:
        """Interval of level 1 - alpha: the parts' own half-widths of Student's t in quadrature."""
        reach = self._reach(alpha)
        return self.mean - reach, self.mean + reach

    @property
    def variance(self) -> float:
        """Variance of the mean."""
        return sum(variance for variance, _ in self.parts)

    @property
    def p_value(self) -> float:
        """Two-sided p-value of a mean of 0: the alpha at which the interval begins to hold it."""
        distance = abs(self.mean)
        if distance == 0:
            return 1.0
        parts = [(variance, freedom) for variance, freedom in self.parts if variance > 0]
        if not parts:
            return self.least
        if len(parts) == 1:
            ((variance, freedom),) = parts
            p = 2 * float(stdtr(freedom, -distance / np.sqrt(variance)))
        elif self._reach(SMALLEST) <= distance:
            p = SMALLEST
        else:
            p = float(np.exp(brentq(lambda log: self._reach(np.exp(log)) - distance, np.log(SMALLEST), 0.0)))
        return max(p, self.least)

    def _reach(self, alpha: float) -> float:
        return float(np.sqrt(sum(variance * stdtrit(freedom, alpha / 2) ** 2 for variance, freedom in self.parts)))


@dataclass(frozen=True)
class Block:
    """The test images of one seed.

    Attributes:
        images: numbers of the images among all of the study, shape (N,).
        deviations: what each image adds to the score of each arm, by its weight and less the score, times N; shape
            (A, N), NaN for an arm without predictions. Their mean is 0 where images weigh alike.
    """

    images: NDArray[np.int64]
    deviations: Floats


@dataclass(frozen=True)
class Shared:
    """Variance that seeds share by their images.

    Attributes:
        tau_squared: covariance of an image's difference in two seeds, the mean over pairs of seeds and images tested
            in both; 0 at least.
        variance: that it adds to the mean over seeds.
        images: tested by two seeds or more; all of the test part where that is the same for all seeds.
    """

    tau_squared: float
    variance: float
    images: int


@dataclass(frozen=True)
class SeedImages:
    """Test images of all seeds.

    Attributes:
        blocks: of each seed of the study; None where predictions are gone.
        ratio: test images by training images, which stands in for blocks; None where that is not known, or where the
            test part is the same for all seeds, of which the rule does not speak.
    """

    blocks: tuple[Block | None, ...]
    ratio: float | None = None

    def new(self, differences: Sequence[float], weights: Floats, seeds: NDArray[np.bool_]) -> MeanEstimate | None:
        """Estimate of the mean on new images; None where it cannot be estimated, or there is a single seed.

        Args:
            differences: of the seeds that count.
            weights: of the arms, shape (A,).
            seeds: which of the study's seeds count, shape (S,).
        """
        alone = over_seeds(differences)
        if alone is None:
            return None
        ((variance, freedom),) = alone.parts
        blocks = [block for block, counts in zip(self.blocks, seeds, strict=True) if counts]
        known = [block for block in blocks if block is not None]
        needed = weights != 0
        if len(known) < len(blocks) or any(np.isnan(block.deviations[needed]).any() for block in known):
            if self.ratio is None:
                return None
            corrected = variance * (1 + len(differences) * self.ratio)
            return MeanEstimate(alone.mean, ((corrected, freedom),), alone.least)
        shared = shared_variance(known, weights)
        # one t with S - 1 degrees of freedom for both would hold the truth too often where seeds are few
        return MeanEstimate(
            alone.mean, ((variance, freedom), (shared.variance, max(1, shared.images - 1))), alone.least
        )


def over_seeds(differences: Sequence[float]) -> MeanEstimate | None:
    """Estimate of the mean on these images, by the spread between seeds alone; None for a single seed.

    Equal differences, which few test images can give, have no spread to test against: their p is that of the sign-flip
    test at least.
    """
    n = len(differences)
    if n < 2:
        return None
    variance = float(np.var(differences, ddof=1)) / n
    equal = np.ptp(differences) <= EQUAL * np.max(np.abs(differences))
    return MeanEstimate(
        float(np.mean(differences)), ((0.0 if equal else variance, n - 1),), smallest_p(n) if equal else 0.0
    )


def smallest_p(seeds: int) -> float:
    """Smallest p of the sign-flip test with so many seeds: two of all changes of sign."""
    return float(min(1.0, 2.0 / 2**seeds))


def shared_variance(blocks: Sequence[Block], weights: Floats) -> Shared:
    """tau^2 of a contrast (A,), and S^-2 times the sum over s != s' of |T_s n T_s'| / (n_s n_s') tau^2."""
    needed = np.flatnonzero(weights)
    images = np.concatenate([block.images for block in blocks])
    deviations = np.concatenate([weights[needed] @ block.deviations[needed] for block in blocks])
    shares = np.concatenate([np.full(len(block.images), 1 / len(block.images)) for block in blocks])
    # a sum over pairs of seeds is the square of the sum less the sum of squares
    products, pairs, overlap = (
        float(np.sum(np.bincount(images, of_images) ** 2) - of_images @ of_images)
        for of_images in (deviations, np.ones(len(images)), shares)
    )
    tau_squared = max(0.0, products / pairs) if pairs > 0.5 else 0.0
    again = int(np.count_nonzero(np.bincount(images) > 1))
    return Shared(tau_squared, overlap * tau_squared / len(blocks) ** 2, again)


def image_blocks(predicted: Grid[Predictions] | Grid[tuple[Predictions, ...]], metric: str) -> tuple[Block | None, ...]:
    """Test images of each seed, identified by their content.

    Args:
        predicted: of each trial, or several of it, over which an image's deviation is averaged.

    Raises:
        DataError: arms of one seed were tested on different images.
    """
    numbers: dict[str, int] = {}
    blocks: list[Block | None] = []
    for row in predicted.cells:
        cells: list[tuple[Predictions, ...]] = [
            () if cell is None else cell if isinstance(cell, tuple) else (cell,) for cell in row
        ]
        there = [each for cell in cells for each in cell]
        if any((each.paths, each.digests) != (there[0].paths, there[0].digests) for each in there):
            raise DataError("arms of one seed were tested on different images: the data changed while the study ran")
        if not there:
            blocks.append(None)
            continue
        images = np.array([numbers.setdefault(digest, len(numbers)) for digest in _distinct(there[0].digests)])
        gone = np.full(len(images), np.nan)
        of_arms = [
            np.mean([deviations(each.labels, each.probabilities, metric) for each in cell], axis=0) if cell else gone
            for cell in cells
        ]
        blocks.append(Block(images, np.stack(of_arms)))
    return tuple(blocks)


def with_failures(blocks: Sequence[Block | None], failed: NDArray[np.bool_]) -> tuple[Block | None, ...]:
    """Blocks in which a failed trial (S, A) has a score of 0, from which no image deviates."""
    return tuple(
        None if block is None else Block(block.images, np.where(row[:, None], 0.0, block.deviations))
        for block, row in zip(blocks, failed, strict=True)
    )


def _distinct(digests: Sequence[str]) -> list[str]:
    """Digests with a number, which distinguishes copies within a part."""
    seen: dict[str, int] = {}
    found = []
    for digest in digests:
        seen[digest] = seen.get(digest, -1) + 1
        found.append(f"{digest} {seen[digest]}")
    return found


def deviations(labels: NDArray[np.int64], probabilities: NDArray[np.float32], metric: str) -> Floats:
    """Contribution of each of N images to a metric, times N; shape (N,).

    In means over images that is the image's value less the score. In macro-averaged accuracy an image of class k weighs
    1 / (K n_k). Precision and F1 are no means of images: of them it is the derivative by the image's weight.
    """
    n, num_classes = probabilities.shape
    predicted = probabilities.argmax(1)
    right = (predicted == labels).astype(np.float64)
    support, answers = (np.bincount(each, minlength=num_classes).astype(np.float64) for each in (labels, predicted))
    if metric in ("macro_accuracy", "macro_recall"):
        weights = 1 / ((support > 0).sum() * support[labels])
        share = (support > 0).sum() / num_classes if metric == "macro_recall" else 1.0
        found: Floats = n * share * weights * (right - weights @ right)
        return found
    if metric in ("accuracy", "weighted_recall", "top5_accuracy", *OF_PROBABILITIES):
        values = (
            OF_PROBABILITIES[metric](labels, probabilities)
            if metric in OF_PROBABILITIES
            else (ranks_of_truth(labels, probabilities) <= 5).astype(np.float64)
            if metric == "top5_accuracy"
            else right
        )
        centred: Floats = values - values.mean()
        return centred
    hits = np.bincount(labels, weights=right, minlength=num_classes)
    if metric.endswith("precision"):
        value = np.divide(hits, answers, out=np.zeros(num_classes), where=answers > 0)
        slope = (right - value[predicted]) / answers[predicted]
        slopes = [(predicted, slope)]
    else:
        value = np.divide(2 * hits, support + answers, out=np.zeros(num_classes), where=support + answers > 0)
        both = support + answers
        slopes = [
            (labels, (2 * right - value[labels]) / both[labels]),
            (predicted, -value[predicted] / both[predicted]),
        ]
    if metric.startswith("macro"):
        return np.asarray(n * np.sum([slope for _, slope in slopes], axis=0) / num_classes)
    of_classes = np.sum([support[classes] * slope for classes, slope in slopes], axis=0)
    return np.asarray(value[labels] - support @ value / n + of_classes)
