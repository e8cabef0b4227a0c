"""Order of images per process: a pure function of seed, epoch and step. Legend: N images of a part."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from torch import distributed

from resnet_lab.data.draws import Draws
from resnet_lab.data.sampling import even_steps, repeats, shuffled, steps_of


class ProcessShard(NamedTuple):
    """One of several processes that share every step."""

    rank: int = 0
    world_size: int = 1

    @classmethod
    def of_this_process(cls) -> "ProcessShard":
        """That of torch.distributed, or one alone."""
        if distributed.is_available() and distributed.is_initialized():
            return cls(distributed.get_rank(), distributed.get_world_size())
        return cls()


@dataclass(frozen=True, eq=False)
class Subset:
    """Some images of a set with their labels.

    Attributes:
        positions: of these images in the set, shape (N,).
        labels: of these images, shape (N,).
        chunks: number of the piece that each of these images is fetched with, shape (N,).
    """

    positions: NDArray[np.int64]
    labels: NDArray[np.int64]
    num_classes: int
    chunks: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.positions)


class Step(NamedTuple):
    """One process's share of a step.

    Attributes:
        indices: of its images among those of the part, (B,).
        positions: of these images in the set, (B,).
        draws: what augmentation draws for each of them; None where they stay as they are.
        filler: how many, at the end, are there only to make the batch as large as the others.
    """

    indices: NDArray[np.int64]
    positions: NDArray[np.int64]
    draws: Draws | None = None
    filler: int = 0


@dataclass(frozen=True, eq=False)
class Order:
    """The steps of an epoch of training, and those of evaluation, for one process.

    Attributes:
        batch_size: images of a step, over all processes.
        balanced: whether every class has the same share of an epoch.
        shard: which process; by default this one of torch.distributed.
    """

    images: Subset
    batch_size: int
    seed: int = 0
    balanced: bool = False
    shard: ProcessShard = field(default_factory=ProcessShard.of_this_process)

    def __len__(self) -> int:
        """Steps of an epoch."""
        return self._num_steps

    @cached_property
    def _num_steps(self) -> int:
        """Cached, as each step of a training asks for it."""
        return len(steps_of(np.arange(len(self.images)), self.batch_size, *self.shard))

    def training(self, epoch: int, first_step: int = 0) -> Iterator[Step]:
        """Shuffled; a step is the same whether the epoch began at the first or at `first_step`."""
        images = self.images
        order = shuffled(images.labels, self.seed, epoch, balanced=self.balanced, chunks=images.chunks)
        steps, again = (steps_of(entries, self.batch_size, *self.shard) for entries in (order, repeats(order)))
        for indices, repeated in zip(steps[first_step:], again[first_step:], strict=True):
            positions = images.positions[indices]
            yield Step(indices, positions, Draws(self.seed, epoch, positions, repeated))

    @property
    def share(self) -> NDArray[np.int64]:
        """Images that this process evaluates; each is evaluated by exactly one process."""
        return np.arange(self.shard.rank, len(self.images), self.shard.world_size)

    def evaluation(self) -> Iterator[Step]:
        """This process's share in the images' own order, in steps of one size: the last is padded with its last image.

        Steps are as large for several processes as for one, so that an image's outputs are bitwise the same.
        """
        left = len(self.share)
        for indices in even_steps(self.share, min(self.batch_size, len(self.images))):
            yield Step(indices, self.images.positions[indices], filler=max(0, len(indices) - left))
            left -= len(indices)

    def unshared(self) -> Self:
        """The same for one process alone."""
        return replace(self, shard=ProcessShard())
