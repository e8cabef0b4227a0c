"""Random predictions. Legend: N images, K classes."""

import numpy as np
from numpy.typing import NDArray


def predictions(
    draw: np.random.Generator, n: int, k: int, signal: float = 1.0
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """True classes, the first ones more frequent, and overconfident probabilities, (N,) and (N, K)."""
    frequency = 1 / np.arange(2, k + 2)
    labels = draw.choice(k, size=n, p=frequency / frequency.sum())
    logits = draw.normal(size=(n, k))
    logits[np.arange(n), labels] += signal * np.linspace(2.5, 1, k)[labels]
    odds = np.exp(2 * (logits - logits.max(1, keepdims=True)))
    return labels, (odds / odds.sum(1, keepdims=True)).astype(np.float32)
