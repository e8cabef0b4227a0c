"""Decoded images as normalised batches. Legend: N images of a set, B of a batch, C H W image, S size, K classes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from resnet_lab.core.size_schedule import SizeSchedule
from resnet_lab.data.augmentations import Augmentations
from resnet_lab.data.draws import Draws
from resnet_lab.data.flips import Rearranging
from resnet_lab.data.loader import Loader
from resnet_lab.data.order import Order, Step
from resnet_lab.data.pixels import Pixels, gathered
from resnet_lab.data.pooled_memory import PooledMemory, memory_for
from resnet_lab.device import Placement

IN_CACHE = 4
"""Images of 224 pixels in float32 that a CPU's second cache and its share of the third hold."""

DEVICE_SHARE = 0.25
"""Share of a GPU's free memory that the pixels of a part may take permanently."""


def image_loader(
    pixels: Pixels,
    order: Order,
    mean: Sequence[float],
    std: Sequence[float],
    placement: Placement,
    augment: Augmentations | None = None,
    sizes: SizeSchedule | None = None,
) -> Loader:
    """Serves images, augmented where they are trained on, as (x / 255 - mean) / std in float32.

    Args:
        pixels: of the whole set.
        mean, std: of each channel, on a scale of [0, 1].
        sizes: of the images that are trained on, by epoch; by default their own.
    """
    augment = augment or Augmentations()
    first = augment.pixel[0] if augment.pixel and placement.device.type == "cpu" else None
    while_reading = first if isinstance(first, Rearranging) else None
    rows = _on_device(pixels, order, placement) or ImageRows(pixels, placement, while_reading)
    transform = ImageTransform(
        augment,
        mean,
        std,
        order.images.num_classes,
        placement,
        pixels.image_format.size,
        shown=bool(while_reading),
        sizes=sizes,
    )
    return Loader(rows, order, transform, placement)


class ImageRows:
    """Images (B, C, S, S) in uint8, channels-last, read into memory.

    Args:
        first: moves pixels while they are read, which is a copy less.
    """

    def __init__(self, pixels: Pixels, placement: Placement, first: Rearranging | None = None) -> None:
        self.pixels = pixels
        self._first = first
        self._memory = memory_for(placement)

    def read(self, step: Step) -> Tensor:
        batch = self._taken(len(step.positions))
        if self._first is None or step.draws is None:
            self.pixels.gather(step.positions, batch.numpy())
        else:
            spare, views = self._taken(len(step.positions)), self._first.chosen(step.draws)
            self._first.read(
                lambda which, out: self.pixels.gather(step.positions[which], out), views, batch.numpy(), spare.numpy()
            )
        return batch.permute(0, 3, 1, 2)

    def on_device(self, read: Tensor) -> Tensor:
        return read

    def _taken(self, number: int) -> Tensor:
        return self._memory.take((number, *self.pixels.image_format.shape), torch.uint8)


class ResidentRows:
    """All images of a part on the device, (N, S, S, C); what is read is their numbers."""

    def __init__(self, images: Tensor, placement: Placement) -> None:
        self._images = images
        self._memory = memory_for(placement)

    def read(self, step: Step) -> Tensor:
        return self._memory.take(step.indices.shape, torch.int64).copy_(torch.from_numpy(step.indices))

    def on_device(self, read: Tensor) -> Tensor:
        return self._images[read].permute(0, 3, 1, 2)


class StepDecisions(NamedTuple):
    """Decisions for each image of a step, one tuple per augmentation, and the size of the images."""

    size: int
    pixel: tuple[tuple[Any, ...], ...]
    mixing: tuple[tuple[Tensor, ...], ...]


class ImageTransform:
    """Augments uint8 images (B, C, S, S) and normalises them to float32, channels-last on a CPU.

    Args:
        size: of the images as they come, S.
        shown: whether the first augmentation is done.
        sizes: of images that are trained on, by epoch, where not all are as they come.
    """

    def __init__(
        self,
        augment: Augmentations,
        mean: Sequence[float],
        std: Sequence[float],
        num_classes: int,
        placement: Placement,
        size: int,
        shown: bool = False,
        sizes: SizeSchedule | None = None,
    ) -> None:
        self.augment = augment
        self.sizes = sizes
        self._size = size
        self._pixel = augment.pixel[shown:]
        self._num_classes = num_classes
        self._placement = placement
        self._memory = PooledMemory()
        scale = torch.tensor([1 / (255 * max(deviation, 1e-6)) for deviation in std])
        self._scale = scale.to(placement.device)
        self._shift = (-scale * 255 * torch.tensor(mean)).to(placement.device)

    def __call__(self, rows: Tensor, labels: Tensor, draws: Draws | None) -> tuple[Tensor, Tensor]:
        if draws is None:
            return self._normalised(rows), labels
        if self.sizes is not None:
            rows = resized(rows, self.sizes.size(draws.epoch))
        for augmentation in self._pixel:
            rows = augmentation(rows, draws)
        x, y = self._normalised(rows), labels
        if self.augment.mixing:
            y = F.one_hot(y, self._num_classes).float()
            for mixing in self.augment.mixing:
                x, y = mixing(x, y, draws)
        return x, y

    def decided(self, draws: Draws | None) -> StepDecisions | None:
        if draws is None:
            return None
        size = self._size if self.sizes is None else self.sizes.size(draws.epoch)
        pixel, mixing = (
            tuple(each.decided(draws, size) for each in augmentations)
            for augmentations in (self._pixel, self.augment.mixing)
        )
        return StepDecisions(size, pixel, mixing)

    def together(self, rows: Tensor, labels: Tensor, decided: StepDecisions | None) -> tuple[Tensor, Tensor]:
        if decided is None:
            return self._normalised(rows), labels
        rows = resized(rows, decided.size)
        for augmentation, own in zip(self._pixel, decided.pixel, strict=True):
            rows = augmentation.together(rows, *own)
        x, y = self._normalised(rows), labels
        if self.augment.mixing:
            y = F.one_hot(y, self._num_classes).float()
            for mixing, own in zip(self.augment.mixing, decided.mixing, strict=True):
                x, y = mixing.mixed(x, y, *own)
        return x, y

    def _normalised(self, batch: Tensor) -> Tensor:
        if self._placement.device.type != "cpu":
            scale, shift = self._scale.view(-1, 1, 1), self._shift.view(-1, 1, 1)
            return self._placement.layout(torch.addcmul(shift, batch.float(), scale))
        images = batch.permute(0, 2, 3, 1)  # B S S C
        rows = images.flatten(2)  # B S S*C: long rows are what vector units want
        scale, shift = self._scale.repeat(rows.shape[1]), self._shift.repeat(rows.shape[1])
        out = self._memory.take(tuple(rows.shape), torch.float32)
        for few, pixels in zip(torch.split(out, IN_CACHE), torch.split(rows, IN_CACHE), strict=True):
            torch.addcmul(shift, few.copy_(pixels), scale, out=few)
        return out.view(images.shape).permute(0, 3, 1, 2)


def resized(images: Tensor, size: int) -> Tensor:
    """Images (B, C, S, S) in uint8 at another size, by antialiased bilinear interpolation as torchvision's `resize`."""
    if images.shape[-1] == size:
        return images
    on_cpu = images.device.type == "cpu"
    taken = images if on_cpu else images.float()  # a GPU has no kernel for bytes
    smaller = F.interpolate(taken, (size, size), mode="bilinear", antialias=True)
    return smaller if on_cpu else smaller.round_().clamp_(0, 255).to(torch.uint8)


def _on_device(pixels: Pixels, order: Order, placement: Placement) -> ResidentRows | None:
    """All images on the GPU, where they take a small part of its memory; None elsewhere."""
    if placement.device.type != "cuda":
        return None
    positions = order.images.positions
    free, _ = torch.cuda.mem_get_info(placement.device)
    if len(positions) * pixels.image_format.nbytes > DEVICE_SHARE * free:
        return None
    resident = torch.empty((len(positions), *pixels.image_format.shape), dtype=torch.uint8, device=placement.device)
    for chosen in np.array_split(np.arange(len(positions)), max(1, len(positions) // 256)):
        part = torch.from_numpy(gathered(pixels, positions[chosen]))
        resident[chosen[0] : chosen[0] + len(chosen)] = part.to(placement.device)
    return ResidentRows(resident, placement)
