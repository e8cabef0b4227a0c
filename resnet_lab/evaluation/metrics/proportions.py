"""Intervals of shares and of their differences, for few images too. Legend: K classes with n images each."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm
from statsmodels.stats.proportion import proportion_confint

TINY = 1e-9
Ends = tuple[float, float]


def wilson(share: float, n: int, level: float) -> Ends:
    """Wilson's interval of a share of n images: Wilson 1927, doi:10.2307/2276774."""
    low, high = proportion_confint(share * n, n, 1 - level, method="wilson")
    return float(low), float(high)


def wilson_over_classes(mean: float, sizes: NDArray[np.int64], level: float) -> Ends:
    """Wilson's interval of a mean of K classes' shares, for any shares that the classes may have.

    Its ends are the means m with (mean - m)² = z² V(m), where V(m) is the largest variance Σ p(1 - p) / (K² n) of all
    classes' shares p with that mean. It needs no variance within a class, of which one image shows nothing. Of classes
    of n images each it is Wilson's interval of K n images.

    Args:
        sizes: images of each class, at least one, shape (K,).
    """
    z = norm.ppf((1 + level) / 2)
    multipliers, means = _least_certain(sizes)

    def distance(m: float) -> float:
        multiplier = np.interp(min(m, 1 - m), means, multipliers)
        shares = np.maximum(0, (1 - multiplier * sizes) / 2)
        return float((mean - m) ** 2 - z**2 * np.sum(shares * (1 - shares) / sizes) / len(sizes) ** 2)

    # V is concave, so that there is one end on each side; at 0 and 1 it is 0, which is no end of theirs
    low = float(brentq(distance, 0, min(mean, 1 - TINY))) if mean > 0 else 0.0
    high = float(brentq(distance, max(mean, TINY), 1)) if mean < 1 else 1.0
    return low, high


def _least_certain(sizes: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lagrange's multiplier λ against the mean, rising, of shares max(0, (1 - λn) / 2), whose variance is largest."""
    multipliers = np.concatenate((1 / np.unique(sizes), [0.0]))
    return multipliers, np.array([np.maximum(0, (1 - each * sizes) / 2).mean() for each in multipliers])


def effective_images(sizes: NDArray[np.int64]) -> float:
    """Number of images whose share is as certain as a mean over classes that are alike: K² / Σ(1/n)."""
    return float(len(sizes) ** 2 / np.sum(1 / sizes))


def bonett_price(difference: float, disagreement: float, n: float, level: float) -> Ends:
    """Adjusted Wald interval of the difference of two shares of the same n images.

    Bonett and Price 2012, doi:10.3102/1076998611411915: each has one image more right, of two more.

    Args:
        difference: of the second share from the first.
        disagreement: share of the images that only one of the two has right.
    """
    middle = n * difference / (n + 2)
    variance = ((n * disagreement + 2) / (n + 2) - middle**2) / (n + 2)
    reach = float(norm.ppf((1 + level) / 2)) * variance**0.5
    return max(-1.0, middle - reach), min(1.0, middle + reach)


def bonett_price_over_classes(
    differences: NDArray[np.float64], disagreements: NDArray[np.float64], sizes: NDArray[np.int64], level: float
) -> Ends:
    """`bonett_price` of a mean over classes, of as many images as `effective_images`.

    The variance Σ d / (K² n) is estimated from the disagreement d in each class, or from its mean over the classes
    where that is larger: small classes that seldom disagree weigh most.

    Args:
        differences, disagreements: of each class, shape (K,).
    """
    disagreement = max(float(disagreements.mean()), float(np.average(disagreements, weights=1 / sizes)))
    return bonett_price(float(differences.mean()), disagreement, effective_images(sizes), level)
