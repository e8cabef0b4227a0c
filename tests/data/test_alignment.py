"""Alignment compared with correlations by hand, and pictures that were scaled and shifted by known amounts."""

import numpy as np
import pytest
from scipy.ndimage import affine_transform, gaussian_filter

from resnet_lab.data.alignment import likeness


def blobs(seed: int) -> np.ndarray:
    """Levels of a picture twice as wide and high as a signature, shape (64, 64)."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(64, 64)), 2.5)
    return np.clip(128 + 45 * noise / noise.std(), 0, 255)


def seen_at(scene: np.ndarray, scale: tuple[float, float], shift: tuple[float, float]) -> np.ndarray:
    """32 x 32 levels of a scene around its middle, one cell of it to one of the picture at scale 1."""
    offset = 31.5 + np.array(shift) - 15.5 * np.array(scale)
    return np.rint(affine_transform(scene, scale, offset, (32, 32), order=1)).clip(0, 255).astype(np.uint8)


def alike(one: np.ndarray, other: np.ndarray, scale: float = 1) -> float:
    return float(likeness(one[None], other[None], np.array([scale], dtype=np.float32))[0])


def test_a_picture_is_like_itself_in_other_tones() -> None:
    one = seen_at(blobs(1), (1, 1), (0, 0))
    assert alike(one, one) == pytest.approx(1, abs=1e-3)
    assert alike(one, (40 + 0.5 * one).astype(np.uint8)) > 0.97
    assert alike(one, np.rint(255 * (one / 255) ** 0.7).astype(np.uint8)) > 0.97
    assert alike(one, 255 - one) < 0.5


@pytest.mark.parametrize(
    ("scale", "shift"), [((0.9, 0.9), (0, 0)), ((1, 1), (2, -1.5)), ((0.92, 1), (1, 0)), ((1.1, 0.95), (0, 1.5))]
)
def test_scaled_and_shifted_pictures_are_aligned(scale: tuple[float, float], shift: tuple[float, float]) -> None:
    for seed in range(5):
        one, other = seen_at(blobs(seed), scale, shift), seen_at(blobs(seed), (1, 1), (0, 0))
        assert alike(one, other) > 0.93
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] < 0.98, "they are less alike as they are"


def test_a_large_difference_in_scale_is_found() -> None:
    one, other = seen_at(blobs(2), (0.8, 0.8), (0, 0)), seen_at(blobs(2), (1, 1), (0, 0))
    assert alike(one, other, 0.8) > 0.93
    assert alike(other, one, 1.25) > 0.93


def test_different_pictures_are_not_alike() -> None:
    pictures = np.stack([seen_at(blobs(seed), (1, 1), (0, 0)) for seed in range(40)])
    one, other = np.triu_indices(40, 1)
    assert likeness(pictures[one], pictures[other], np.ones(len(one), np.float32)).max() < 0.75
    assert likeness(pictures[:0], pictures[:0], np.ones(0, np.float32)).shape == (0,)
