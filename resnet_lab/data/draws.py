"""Random numbers keyed by image, not by batch."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnet_lab.core.seeds import named_seed


class Draws:
    """Uniform random numbers for each image of a batch: a pure function of seed, epoch, the image's index and a name.

    So an image is augmented alike whatever the batch size, the number of processes, or the step a run resumed from.

    Args:
        indices: of the batch's images in their set, shape (N,), below 2^32.
        repeats: how often each has come before in this epoch (`sampling.repeats`), for other augmentation; never
            unless given.
    """

    def __init__(
        self, seed: int, epoch: int, indices: NDArray[np.int64], repeats: NDArray[np.int64] | None = None
    ) -> None:
        self.seed = seed
        self.epoch = epoch
        numbers = indices if repeats is None else indices + (repeats << 32)
        self._numbers: NDArray[np.uint64] = numbers.astype(np.uint64)

    @classmethod
    def joined(cls, parts: Sequence["Draws"]) -> "Draws":
        """Concatenate several batches of one epoch, at least one."""
        whole = cls(parts[0].seed, parts[0].epoch, np.empty(0, dtype=np.int64))
        whole._numbers = np.concatenate([part._numbers for part in parts])
        return whole

    def uniform(self, name: str, count: int = 1) -> Tensor:
        """Numbers in [0, 1), float64 on the CPU, shape (N, count); other names or counts give independent ones."""
        stream = np.uint64(named_seed(self.seed, f"{count} {name} of epoch {self.epoch}"))
        first = self._numbers * np.uint64(count)
        counters = np.add.outer(first, np.arange(count, dtype=np.uint64))
        return torch.from_numpy((_splitmix64(counters, stream) >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def _splitmix64(counters: NDArray[np.uint64], seed: np.uint64) -> NDArray[np.uint64]:
    """The outputs of SplitMix64 (Steele, Lea and Flood 2014, figure 16) at these positions of the seed's stream."""
    with np.errstate(over="ignore"):
        z = seed + (counters + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)))
