"""Batches on the device, read ahead in threads. Legend: N images of a part, B of a batch."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from copy import copy
from functools import cache
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnet_lab.core.size_schedule import SizeSchedule
from resnet_lab.data.augmentations import Augmentations
from resnet_lab.data.draws import Draws
from resnet_lab.data.order import Order, Step, Subset
from resnet_lab.data.packing import Packed
from resnet_lab.data.pooled_memory import memory_for, moved
from resnet_lab.data.threads import in_order
from resnet_lab.device import Placement

THREADS = min(4, os.cpu_count() or 1)
AHEAD = THREADS + 1
"""Batches that are prepared while the device works on another."""


class Batch(NamedTuple):
    """Batch of a loader.

    Attributes:
        indices: of the images among those of the part, (B,).
        x: on the device; of the last batch of an evaluation the first B are meant, and the others fill it up.
        y: int64 labels (B,), or float32 (B, K) where images are mixed; on the device.
    """

    indices: NDArray[np.int64]
    x: Tensor
    y: Tensor


class Rows(Protocol):
    """Stored images of a set."""

    def read(self, step: Step) -> Tensor:
        """Rows of a step's images, or their numbers where the rows are on the device; pinned for a GPU, of length B."""

    def on_device(self, read: Tensor) -> Tensor:
        """The rows, of what was read and is on the device."""


class Transform(Protocol):
    """Makes of rows on the device what a network takes.

    Attributes:
        sizes: of the images that are trained on, where these are not all as they come.
    """

    augment: Augmentations
    sizes: SizeSchedule | None

    def __call__(self, rows: Tensor, labels: Tensor, draws: Draws | None) -> tuple[Tensor, Tensor]:
        """Inputs and targets; not augmented where there are no draws."""

    def decided(self, draws: Draws | None) -> Any:
        """Decisions of the CPU on a step for a GPU: a tree of tensors and numbers."""

    def together(self, rows: Tensor, labels: Tensor, decided: Any) -> tuple[Tensor, Tensor]:
        """Inputs and targets on a GPU by what was decided, which is there; the host waits for nothing."""


class Loader:
    """Serves some images of a set as batches, by order of epochs of training or in their own order.

    What the CPU does for a batch it does ahead, in threads: all of it where it is the device too. For a GPU it reads
    and decides, and the rest follows without waiting.
    """

    def __init__(self, rows: Rows, order: Order, transform: Transform, placement: Placement) -> None:
        self.rows = rows
        self.order = order
        self.transform = transform
        self.placement = placement
        self._labels = torch.from_numpy(order.images.labels)
        self._memory = memory_for(placement)

    @property
    def images(self) -> Subset:
        return self.order.images

    def __len__(self) -> int:
        """Steps of an epoch of training."""
        return len(self.order)

    def training(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """Shuffled and augmented; a step is the same whether the epoch began at the first or at `first_step`."""
        return self._served(self.order.training(epoch, first_step))

    def evaluation(self) -> Iterator[Batch]:
        """This process's share of the images in their own order, not augmented, in batches of one size.

        The last is filled up with its last image, and then has more inputs than labels.
        """
        return self._served(self.order.evaluation())

    def unshared(self) -> Self:
        """The same for one process alone."""
        loader = copy(self)
        loader.order = self.order.unshared()
        return loader

    def _served(self, steps: Iterator[Step]) -> Iterator[Batch]:
        if self.placement.device.type == "cpu":
            yield from in_order(_workers(), self._finished, steps, AHEAD)
        else:
            with closing(in_order(_workers(), self._ahead, steps, AHEAD)) as ready:
                for indices, read, packed in ready:
                    labels, decided = packed.to(self.placement.device)
                    rows = self.rows.on_device(moved(read, self.placement.device))
                    yield Batch(indices, *self.transform.together(rows, labels, decided))

    def _finished(self, step: Step) -> Batch:
        indices = _meant(step)
        rows = self.rows.on_device(self.rows.read(step))
        return Batch(indices, *self.transform(rows, self._labels[torch.from_numpy(indices)], step.draws))

    def _ahead(self, step: Step) -> tuple[NDArray[np.int64], Tensor, Packed]:
        """Numbers of a step's images, what is read of them, and their labels and decisions."""
        indices = _meant(step)
        decisions = self._labels[torch.from_numpy(indices)], self.transform.decided(step.draws)
        return indices, self.rows.read(step), Packed(decisions, self._memory)


def _meant(step: Step) -> NDArray[np.int64]:
    """Numbers of a step's images without filler."""
    return step.indices[: len(step.indices) - step.filler]


def _work_alone() -> None:
    torch.set_num_threads(1)
    torch.get_num_threads()  # a thread that never asked would begin with the process's count


@cache
def _workers() -> ThreadPoolExecutor:
    """Threads for all loaders of the process; torch's operators run within each alone, since they share out batches."""
    number = torch.get_num_threads()
    workers = ThreadPoolExecutor(THREADS, "batches", initializer=_work_alone)
    begun = threading.Barrier(THREADS + 1)
    for _ in range(THREADS):
        workers.submit(begun.wait)
    begun.wait()
    torch.set_num_threads(number)  # a thread's own count stays its own; this is what later threads begin with
    return workers
