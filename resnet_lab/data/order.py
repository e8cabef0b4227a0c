"""Order of images per process: a pure function of seed, epoch and step. Legend: N images of a part."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice, repeat
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from torch import distributed

from resnet_lab.data import sampling
from resnet_lab.data.draws import Draws
from resnet_lab.data.sampling import (
    even_steps,
    num_steps,
    repeats,
    shuffled,
    shuffled_pieces,
    steps_of,
    steps_of_pieces,
)


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
    chunks: NDArray[np.integer] | None = None

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
        copies: of an image, one after the other in the order of an epoch, each with augmentation of its own.
        shard: which process; by default this one of torch.distributed.
    """

    images: Subset
    batch_size: int
    seed: int = 0
    balanced: bool = False
    copies: int = 1
    shard: ProcessShard = field(default_factory=ProcessShard.of_this_process)

    def __len__(self) -> int:
        """Steps of an epoch."""
        return self._num_steps

    @cached_property
    def _num_steps(self) -> int:
        """Cached, as each step of a training asks for it."""
        return num_steps(len(self.images), self.batch_size, self.shard.world_size)

    def training(self, epoch: int, first_step: int = 0) -> Iterator[Step]:
        """Shuffled; a step is the same whether the epoch began at the first or at `first_step`."""
        for indices, repeated in islice(self._shares(epoch), first_step, None):
            positions = self.images.positions[indices]
            yield Step(indices, positions, Draws(self.seed, epoch, positions, repeated))

    def _shares(self, epoch: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64] | None]]:
        """This process's share of each step, and how often each of its images came before, where some do."""
        labels, chunks = self.images.labels, self.images.chunks
        if chunks is not None and len(chunks) > sampling.WHOLE and not self.balanced and self.copies == 1:
            pieces = shuffled_pieces(chunks, self.seed, epoch)
            for step in steps_of_pieces(pieces, len(chunks), len(self)):
                yield step[self.shard.rank :: self.shard.world_size], None
            return
        order = shuffled(labels, self.seed, epoch, balanced=self.balanced, chunks=chunks)
        order = np.repeat(order, self.copies)[: len(order)]
        steps = steps_of(order, self.batch_size, *self.shard)
        come_again = self.balanced or self.copies > 1
        again = steps_of(repeats(order), self.batch_size, *self.shard) if come_again else repeat(None)
        yield from zip(steps, again, strict=False)

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
