"""Two sets of predictions of the same images. Legend: N images, K classes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

from resnet_lab.evaluation.metrics.headline import LEVEL, RESAMPLES, Interval, paired_intervals


@dataclass(frozen=True)
class SignTest:
    """The exact sign test: of the images on which two disagree, either is equally often right.

    Dixon and Mood 1946, "The Statistical Sign Test", doi:10.1080/01621459.1946.10501898. The chi-square test of
    McNemar 1947 approximates it.

    Attributes:
        fixed: images that the first classifies wrongly and the second correctly.
        broken: images that the first has right and the second wrong.
        p_value: two-sided, from the binomial distribution.
    """

    fixed: int
    broken: int
    p_value: float


@dataclass(frozen=True)
class Paired:
    """Paired difference of the second from the first.

    Attributes:
        test: of the images fixed and broken.
        differences: second less first of every headline figure, with paired intervals over images.
        fixed, broken: numbers of these images.
    """

    test: SignTest
    differences: dict[str, Interval]
    fixed: NDArray[np.int64]
    broken: NDArray[np.int64]


def paired(
    labels: NDArray[np.int64],
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Paired:
    """Compare two tables of probabilities, each (N, K), of the same images with these true classes (N,)."""
    was, is_ = first.argmax(1) == labels, second.argmax(1) == labels
    fixed, broken = np.flatnonzero(~was & is_), np.flatnonzero(was & ~is_)
    return Paired(
        sign_test(len(fixed), len(broken)),
        paired_intervals(labels, first, second, resamples=resamples, level=level),
        fixed,
        broken,
    )


def sign_test(fixed: int, broken: int) -> SignTest:
    """The test from its two counts; without any disagreement its p-value is 1."""
    disagreed = fixed + broken
    return SignTest(fixed, broken, min(1.0, 2 * float(bdtr(min(fixed, broken), disagreed, 0.5))))
