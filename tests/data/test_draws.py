"""Compared with a scalar transcription of the published generator, and the statistics of uniform numbers."""

import numpy as np
import pytest
import torch
from scipy import stats

from resnet_lab.data.draws import Draws, _splitmix64

MASK = 2**64 - 1


def splitmix64(seed: int, count: int) -> list[int]:
    """Steele, Lea and Flood 2014, figure 16, in Python's unbounded integers."""
    state, numbers = seed, []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        numbers.append(z ^ (z >> 31))
    return numbers


@pytest.mark.parametrize("seed", [0, 1234567, MASK])
def test_the_generator_is_the_published_one(seed: int) -> None:
    assert _splitmix64(np.arange(5, dtype=np.uint64), np.uint64(seed)).tolist() == splitmix64(seed, 5)


def test_the_first_numbers_of_seed_1234567_are_those_of_the_reference_code() -> None:
    """Published beside the reference implementation by S. Vigna, https://prng.di.unimi.it/splitmix64.c."""
    assert splitmix64(1234567, 2) == [6457827717110365317, 3203168211198807973]


def test_numbers_do_not_depend_on_other_images() -> None:
    whole = Draws(3, 2, np.arange(100)).uniform("flip", 2)
    chosen = np.array([70, 3, 3])
    assert torch.equal(Draws(3, 2, chosen).uniform("flip", 2), whole[chosen])


def test_a_repeated_image_has_further_numbers() -> None:
    images = np.array([5, 7, 5, 5, 7])
    first = Draws(3, 2, images).uniform("flip", 2)
    numbers = Draws(3, 2, images, np.array([0, 0, 1, 2, 1])).uniform("flip", 2)
    assert torch.equal(numbers[:2], first[:2])
    assert len(set(numbers.ravel().tolist())) == 10


def test_seed_epoch_name_index_and_count_each_give_other_numbers() -> None:
    base = Draws(0, 1, np.arange(1000)).uniform("flip")
    for other in (
        Draws(1, 1, np.arange(1000)).uniform("flip"),
        Draws(0, 2, np.arange(1000)).uniform("flip"),
        Draws(0, 1, np.arange(1000)).uniform("crop"),
        Draws(0, 1, np.arange(1000, 2000)).uniform("flip"),
        Draws(0, 1, np.arange(1000), np.ones(1000, dtype=np.int64)).uniform("flip"),
        *Draws(0, 1, np.arange(1000)).uniform("flip", 3)[:, :, None].unbind(dim=1),
    ):
        assert abs(float(torch.corrcoef(torch.cat([base, other], dim=1).T)[0, 1])) < 0.1
    assert stats.kstest(base.numpy().ravel(), "uniform").pvalue > 0.001
    assert base.min() >= 0
    assert base.max() < 1


def test_neighbours_and_columns_are_independent() -> None:
    numbers = Draws(0, 1, np.arange(4000)).uniform("crop", 4)
    neighbours = torch.cat([numbers[:-1], numbers[1:]], dim=1)  # N 8: an image's numbers, then the next one's
    correlations = torch.corrcoef(neighbours.T) - torch.eye(8, dtype=torch.float64)
    assert correlations.abs().max() < 0.07  # over four standard errors
    pairs = (numbers[:, 0] * 4).long() * 4 + (numbers[:, 1] * 4).long()
    assert stats.chisquare(torch.bincount(pairs, minlength=16).numpy()).pvalue > 0.001
