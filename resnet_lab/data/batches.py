"""Batches on the device: gathered ahead, augmented and normalised there. Legend: N batch, C H W image, S size."""

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cache
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed
from torch.nn import functional as F

from resnet_lab.data.augmentations import Augmentations
from resnet_lab.data.draws import Draws
from resnet_lab.data.pixels import Pixels, gathered
from resnet_lab.data.sampling import even_steps, repeats, shuffled, steps_of
from resnet_lab.data.threads import in_order
from resnet_lab.data.views import Rearranging
from resnet_lab.device import Placement

THREADS = min(4, os.cpu_count() or 1)
AHEAD = THREADS + 1
"""Batches that are in the making while the device works on another."""

IN_CACHE = 4
"""Images of 224 pixels in float32 that a processor's second cache and its share of the third hold."""

Finish: TypeAlias = Callable[[int, Tensor], tuple[Tensor, Tensor]]
"""Takes the number of a step and its uint8 images (N, C, H, W) on the device, and gives the batch with its targets."""

DEVICE_SHARE = 0.25
"""Of the memory free on a GPU, that the pixels of a part may take for good."""


class Batches:
    """Some images of a set with their labels, served as normalised batches on the device.

    Under torch.distributed each process makes its own and gets its share of every batch.

    Args:
        pixels: of the whole set.
        positions: of these images in the set, shape (N,).
        labels: of these images, shape (N,).
        mean, std: of each channel, on a scale of [0, 1].
        batch_size: images a step, over all processes.
        augment: applied to training batches.
        balanced: whether every class has the same share of an epoch.
        chunks: number of the piece that each of these images is fetched with, shape (N,).
        process: rank and number of processes; by default those of torch.distributed, or one alone.
    """

    def __init__(
        self,
        pixels: Pixels,
        positions: NDArray[np.int64],
        labels: NDArray[np.int64],
        *,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        batch_size: int,
        placement: Placement,
        augment: Augmentations | None = None,
        balanced: bool = False,
        chunks: NDArray[np.int64] | None = None,
        seed: int = 0,
        process: tuple[int, int] | None = None,
    ) -> None:
        self.positions = positions
        self.labels = labels
        self.num_classes = num_classes
        self.batch_size = batch_size
        self.placement = placement
        self.augment = augment or Augmentations()
        self.balanced = balanced
        self.chunks = chunks
        self.seed = seed
        self.rank, self.world_size = process or _this_process()
        self._pixels = pixels
        self._resident = _on_device(pixels, positions, placement)
        self._buffers = _Buffers()
        scale = torch.tensor([1 / (255 * max(deviation, 1e-6)) for deviation in std])
        self._scale = scale.to(placement.device)
        self._shift = (-scale * 255 * torch.tensor(mean)).to(placement.device)
        self._labels = torch.from_numpy(labels).to(placement.device)

    def __len__(self) -> int:
        """Steps an epoch."""
        return len(steps_of(np.arange(len(self.positions)), self.batch_size, self.rank, self.world_size))

    def training(self, epoch: int, first_step: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Shuffled and augmented batches with their targets.

        Targets are int64 labels (N,), or float32 (N, K) where images are mixed. A step is the same whether the epoch
        began at the first or at `first_step`.
        """
        order = shuffled(self.labels, self.seed, epoch, balanced=self.balanced, chunks=self.chunks)
        steps, again = (
            steps_of(entries, self.batch_size, self.rank, self.world_size)[first_step:]
            for entries in (order, repeats(order))
        )

        def draws_of(step: int) -> Draws:
            return Draws(self.seed, epoch, self.positions[steps[step]], again[step])

        first = self.augment.pixel[0] if self.augment.pixel and self.placement.device.type == "cpu" else None
        on_the_way = first if isinstance(first, Rearranging) else None
        left = self.augment.pixel[1:] if on_the_way else self.augment.pixel

        def gather(step: int) -> Tensor:
            if on_the_way is None:
                return self._gather(steps[step])
            return self._gather_shown(steps[step], on_the_way, on_the_way.chosen(draws_of(step)))

        def augmented(step: int, batch: Tensor) -> tuple[Tensor, Tensor]:
            draws = draws_of(step)
            for augmentation in left:
                batch = augmentation(batch, draws)
            x, y = self._normalised(steps[step], batch)
            if self.augment.mixing:
                y = F.one_hot(y, self.num_classes).float()
                for mixing in self.augment.mixing:
                    x, y = mixing(x, y, draws)
            return x, y

        return self._served(steps, augmented, gather)

    @property
    def share(self) -> NDArray[np.int64]:
        """Which of its images this process evaluates, in order; all processes together every one once."""
        return np.arange(self.rank, len(self.positions), self.world_size)

    def in_order(self) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's share of the images as they stand, not augmented, with their labels.

        Batches are as large for several processes as for one, so that an image's outputs are the same to the bit. The
        last is filled up with its last image, and then has more images than labels.
        """
        size = min(self.batch_size, len(self.positions))
        steps = even_steps(self.share, size)

        def labelled(step: int, batch: Tensor) -> tuple[Tensor, Tensor]:
            x, y = self._normalised(steps[step], batch)
            return x, y[: len(self.share) - step * size]

        return self._served(steps, labelled)

    def _served(
        self, steps: Sequence[NDArray[np.int64]], finish: Finish, gather: Callable[[int], Tensor] | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Each step's images, finished on the device; what the processor does for that, it does ahead, in threads.

        Args:
            gather: takes the number of a step and gives its images, by default as they are.
        """
        numbers = range(len(steps))
        gather = gather or (lambda step: self._gather(steps[step]))
        if self._resident is not None:
            for step, chosen in enumerate(steps):
                batch = self._resident[torch.from_numpy(chosen).to(self.placement.device)]
                yield finish(step, batch.permute(0, 3, 1, 2))
        elif self.placement.device.type == "cuda":
            with closing(in_order(_workers(), gather, numbers, AHEAD)) as gathered:
                for step, batch in enumerate(gathered):
                    yield finish(step, batch.to(self.placement.device, non_blocking=True))
        else:
            yield from in_order(_workers(), lambda step: finish(step, gather(step)), numbers, AHEAD)

    def _gather(self, chosen: NDArray[np.int64]) -> Tensor:
        """uint8 images (N, C, H, W), channels-last, where the processor can write."""
        shape = (len(chosen), *self._pixels.form.shape)
        if self.placement.device.type == "cuda":  # torch keeps pinned memory until its copy is over
            batch = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        else:
            batch = self._buffers.take(shape, np.uint8)
        self._pixels.gather(self.positions[chosen], batch.numpy())
        return batch.permute(0, 3, 1, 2)

    def _gather_shown(self, chosen: NDArray[np.int64], kind: Rearranging, views: Tensor) -> Tensor:
        """As `_gather`, each image in its view, shape (N,)."""
        positions, shape = self.positions[chosen], (len(chosen), *self._pixels.form.shape)
        batch, spare = (self._buffers.take(shape, np.uint8) for _ in range(2))
        kind.read(lambda which, out: self._pixels.gather(positions[which], out), views, batch.numpy(), spare.numpy())
        return batch.permute(0, 3, 1, 2)

    def _normalised(self, chosen: NDArray[np.int64], batch: Tensor) -> tuple[Tensor, Tensor]:
        """(x / 255 - mean) / std as float32, channels-last, and the labels."""
        y = self._labels[torch.from_numpy(chosen).to(self.placement.device)]
        if self.placement.device.type == "cuda":
            scale, shift = self._scale.view(-1, 1, 1), self._shift.view(-1, 1, 1)
            return self.placement.layout(torch.addcmul(shift, batch.float(), scale)), y
        rows = batch.permute(0, 2, 3, 1).flatten(2)  # N S S*C: long rows are what vector units want
        scale, shift = self._scale.repeat(rows.shape[1]), self._shift.repeat(rows.shape[1])
        out = self._buffers.take(tuple(rows.shape), np.float32)
        for few, pixels in zip(torch.split(out, IN_CACHE), torch.split(rows, IN_CACHE), strict=True):
            torch.addcmul(shift, few.copy_(pixels), scale, out=few)
        return out.view(batch.permute(0, 2, 3, 1).shape).permute(0, 3, 1, 2), y


def _this_process() -> tuple[int, int]:
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def _work_alone() -> None:
    torch.set_num_threads(1)
    torch.get_num_threads()  # a thread that never asked would begin with the process's count


@cache
def _workers() -> ThreadPoolExecutor:
    """Threads for all batches of the process; torch's operators run within each alone, since they share out batches."""
    number = torch.get_num_threads()
    workers = ThreadPoolExecutor(THREADS, "batches", initializer=_work_alone)
    begun = threading.Barrier(THREADS + 1)
    for _ in range(THREADS):
        workers.submit(begun.wait)
    begun.wait()
    torch.set_num_threads(number)  # a thread's own count stays its own; this is what later threads begin with
    return workers


class _Buffers:
    """Memory of batches that nobody holds any more: asking the system for new pages costs more than filling them."""

    KEPT = 4 * AHEAD

    def __init__(self) -> None:
        self._arrays: list[NDArray[np.uint8]] = []
        self._lock = threading.Lock()

    def take(self, shape: tuple[int, ...], dtype: type[np.generic]) -> Tensor:
        """An uninitialised tensor; its memory comes back when the last tensor on it is gone."""
        needed = int(np.prod(shape)) * np.dtype(dtype).itemsize
        with self._lock:
            for number in range(len(self._arrays)):
                # held by the list and by the call alone
                if sys.getrefcount(self._arrays[number]) <= 2 and self._fits(self._arrays[number], needed):
                    return self._view(self._arrays[number], shape, dtype, needed)
            self._arrays = [*self._arrays[-self.KEPT + 1 :], np.empty(needed, dtype=np.uint8)]
            return self._view(self._arrays[-1], shape, dtype, needed)

    @staticmethod
    def _fits(array: NDArray[np.uint8], needed: int) -> bool:
        return needed <= array.nbytes <= 2 * needed

    @staticmethod
    def _view(array: NDArray[np.uint8], shape: tuple[int, ...], dtype: type[np.generic], nbytes: int) -> Tensor:
        # the tensor holds the view, and the view the array: so its reference count tells of every tensor
        return torch.from_numpy(array[:nbytes].view(dtype).reshape(shape))


def _on_device(pixels: Pixels, positions: NDArray[np.int64], placement: Placement) -> Tensor | None:
    """All images on the GPU, (N, H, W, C), where they take a small part of its memory; None elsewhere."""
    if placement.device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(placement.device)
    if len(positions) * pixels.form.nbytes > DEVICE_SHARE * free:
        return None
    resident = torch.empty((len(positions), *pixels.form.shape), dtype=torch.uint8, device=placement.device)
    for chosen in np.array_split(np.arange(len(positions)), max(1, len(positions) // 256)):
        part = torch.from_numpy(gathered(pixels, positions[chosen]))
        resident[chosen[0] : chosen[0] + len(chosen)] = part.to(placement.device)
    return resident
