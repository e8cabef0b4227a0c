"""Augmentations that only move pixels, so that an image has a few views. Legend: N batch, C H W image, S its size."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnet_lab.core.errors import ConfigError
from resnet_lab.data.batch_transforms import Groups, grouped, in_groups
from resnet_lab.data.draws import Draws

View: TypeAlias = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""Shows images N C H W with their pixels in other places."""

ReadRows: TypeAlias = Callable[[NDArray[np.int64], Iterable[NDArray[np.uint8]]], None]
"""Reads the images of these numbers into as many arrays, each (S, S, C)."""


class Rearranging:
    """Shows each image of a batch in one of `views`; number 0 leaves it as it is."""

    views: ClassVar[int]
    in_memory: ClassVar[tuple[View, ...]]
    """The others in memory, by numpy."""

    on_device: ClassVar[tuple[Callable[[Tensor], Tensor], ...]]
    """The same on a GPU."""

    def __call__(self, batch: Tensor, draws: Draws) -> Tensor:
        return self.shown(batch, self.chosen(draws))

    def decided(self, draws: Draws, size: int) -> tuple[Groups]:
        return (grouped(self.chosen(draws), self.views),)

    def together(self, batch: Tensor, groups: Groups) -> Tensor:
        return in_groups(batch, groups, dict(enumerate(self.on_device, 1)))

    def chosen(self, draws: Draws) -> Tensor:
        """Number of the view that each image gets, int64, shape (N,)."""
        raise NotImplementedError

    def shown(self, batch: Tensor, views: Tensor) -> Tensor:
        """A batch of any type in these views; it may be written into."""
        if batch.device.type != "cpu":
            groups = grouped(views, self.views)
            return self.together(batch, groups._replace(order=groups.order.to(batch.device)))
        images = batch.numpy().transpose(0, 2, 3, 1)
        for group, view in self._groups(views):
            _put(images, group, view(images[group].transpose(0, 3, 1, 2)))  # long rows are copied
        return batch

    def read(self, read: ReadRows, views: Tensor, out: NDArray[np.uint8], spare: NDArray[np.uint8]) -> None:
        """Images read into `out`, each in its view: a copy less than reading and showing them.

        Args:
            out, spare: shape (N, S, S, C); the second holds what is read before its pixels are moved.
        """
        as_they_are = np.flatnonzero(views.numpy() == 0)
        read(as_they_are, [out[number] for number in as_they_are])
        for group, view in self._groups(views):
            images = spare[: len(group)]
            read(group, images)
            _put(out, group, view(images.transpose(0, 3, 1, 2)))

    def _groups(self, views: Tensor) -> Iterable[tuple[NDArray[np.int64], View]]:
        """All images of a view together, since at every step of numpy threads wait for each other."""
        return ((np.flatnonzero(views.numpy() == number), view) for number, view in enumerate(self.in_memory, 1))


@dataclass(frozen=True, kw_only=True)
class Flip(Rearranging):
    """Left to right, with probability `p`."""

    views = 2
    in_memory = (lambda images: images[..., ::-1],)
    on_device = (lambda images: images.flip(-1),)

    p: float = 0.5

    def __post_init__(self) -> None:
        require(self, "p", 0 <= self.p <= 1, "from 0 to 1")

    def chosen(self, draws: Draws) -> Tensor:
        return (draws.uniform("flip").ravel() < self.p).long()


@dataclass(frozen=True, kw_only=True)
class Rotate90(Rearranging):
    """Rotation by 0, 90, 180 or 270 degrees with equal probability, in the sense of `numpy.rot90`."""

    views = 4
    in_memory = (
        lambda images: images.swapaxes(2, 3)[:, :, ::-1],
        lambda images: images[:, :, ::-1, ::-1],
        lambda images: images.swapaxes(2, 3)[..., ::-1],
    )
    on_device = tuple(partial(torch.rot90, k=turn, dims=(-2, -1)) for turn in (1, 2, 3))

    def chosen(self, draws: Draws) -> Tensor:
        return (draws.uniform("rotate90").ravel() * 4).long()


def require(augmentation: object, parameter: str, fulfilled: bool, allowed: str) -> None:
    """Raises `ConfigError` unless an augmentation's parameter is as it must be."""
    if not fulfilled:
        name, value = type(augmentation).__name__.lower(), getattr(augmentation, parameter)
        raise ConfigError(f"{name}({parameter}={value}): {parameter} must be {allowed}")


def _put(images: NDArray[np.uint8], group: NDArray[np.int64], moved: NDArray[np.uint8]) -> None:
    """N C S S in place of those of the group, (N, S, S, C)."""
    for channel in range(images.shape[-1]):
        images[group, ..., channel] = moved[:, channel]  # where whole pixels would be rows of three
