"""Changes of pixels: images one by one in memory, all together on a GPU. Legend: N batch, C channels, S size."""

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from resnet_lab.data.draws import Draws

Change: TypeAlias = Callable[[Tensor, int], Tensor]
"""Changes an image (C, S, S), given its number in the batch."""


class PixelAugmentation(Protocol):
    """Changes uint8 batches (N, C, S, S)."""

    def __call__(self, batch: Tensor, draws: Draws) -> Tensor:
        """The batch changed; it may be written into, since new memory costs time."""

    def decided(self, draws: Draws, size: int) -> tuple[Any, ...]:
        """Tensors on the CPU, or `Groups`, of what happens to each image of S = `size`."""

    def together(self, batch: Tensor, *decided: Any) -> Tensor:
        """All images changed at once by what was decided, which is on their device."""


class ImageByImage:
    """A pixel augmentation that takes images in memory one by one, each staying in the CPU's cache meanwhile."""

    def __call__(self, batch: Tensor, draws: Draws) -> Tensor:
        size = batch.shape[-1]
        if not in_memory(batch):
            return self.together(batch, *to_device(batch.device, self.decided(draws, size)))
        change = self.change(draws, size)
        for number, image in enumerate(batch):
            _copy(change(image, number), image)
        return batch

    def change(self, draws: Draws, size: int) -> Change:
        """The change of each image of S = `size`."""
        raise NotImplementedError

    def decided(self, draws: Draws, size: int) -> tuple[Any, ...]:
        """See `PixelAugmentation`."""
        raise NotImplementedError

    def together(self, batch: Tensor, *decided: Any) -> Tensor:
        """See `PixelAugmentation`."""
        raise NotImplementedError


def in_memory(batch: Tensor) -> bool:
    """Whether the batch is in CPU memory."""
    return batch.device.type == "cpu"


def to_device(device: torch.device, decided: Any) -> Any:
    """Decisions with their tensors on a device."""
    return tree_map_only(Tensor, lambda tensor: tensor.to(device), decided)


def vision() -> Any:
    """torchvision's functions, imported at first use: with them comes torch's compiler, which takes two seconds."""
    from torchvision.transforms.v2 import functional

    return functional


def _copy(source: Tensor, target: Tensor) -> None:
    if source.device.type == "cpu" and source.stride() != target.stride():
        for channel, place in zip(source.numpy(), target.numpy(), strict=True):
            place[...] = channel  # numpy takes a third of torch's time for bytes that are not neighbours
    else:
        target.copy_(source)
