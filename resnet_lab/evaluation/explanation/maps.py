"""Maps of the evidence for a class, whatever method they are by. Legend: N batch, C channels, H W pixels, K classes."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from resnet_lab.core.errors import ConfigError
from resnet_lab.core.watcher import SILENT, Watcher
from resnet_lab.device import Placement
from resnet_lab.network.model import ResNet

Attribute = Callable[[Tensor], Tensor]
"""Classes, shape (N,), to evidence, shape (N, 1, h, w), negative where it is against the class."""


class Maps(Protocol):
    """Maps of one network by one method.

    Attributes:
        layer: that the maps are of, or `input`.
        positions: height and width of the last maps before they are upsampled: there is no detail beyond them.
    """

    layer: str
    positions: tuple[int, int] | None

    def run(self, x: Tensor) -> "Pass":
        """A forward pass of normalised images on the device, shape (N, C, H, W), from which maps can be had."""


class MakeMaps(Protocol):
    """Makes the maps of a network.

    Args:
        layer: a name as in `model.get_submodule`.
        images: that are to come; None where that is not known.
        watcher: notified of what cannot be done and why.

    Raises:
        ConfigError: no such layer, or a method that takes none.
    """

    def __call__(
        self,
        model: ResNet,
        placement: Placement,
        layer: str | None = None,
        *,
        images: int | None = None,
        watcher: Watcher = SILENT,
    ) -> Maps: ...


class Pass:
    """A forward pass, from which maps of any classes can be had.

    Args:
        attribute: the evidence in the same images for classes on their device.
        size: height and width of the images.

    Attributes:
        logits: float32 on the CPU, shape (N, K).
    """

    def __init__(self, attribute: Attribute, logits: Tensor, size: tuple[int, int]) -> None:
        self.logits = logits.float().cpu()
        self._attribute = attribute
        self._device = logits.device
        self._size = size

    def maps(self, classes: Tensor) -> Tensor:
        """The map of a class for each image: float32 on the CPU in [0, 1], shape (N, H, W).

        Evidence against the class is 0. Each map is a share of its own maximum; one without any positive value is 0
        everywhere. Between positions it is bilinear.

        Args:
            classes: positions of the classes among the logits, shape (N,).

        Raises:
            ConfigError: other than one class of the network for each image.
        """
        number, known = self.logits.shape
        if classes.shape != (number,) or not all(0 <= k < known for k in classes.tolist()):
            raise ConfigError(
                f"classes of {number} images are {number} numbers from 0 to {known - 1}, got {classes.tolist()}"
            )
        coarse = self._attribute(classes.long().to(self._device)).float().cpu().relu()
        maps = F.interpolate(coarse, self._size, mode="bilinear")[:, 0]
        peaks = maps.amax((1, 2), keepdim=True)
        return torch.where(peaks > 0, maps / peaks, 0.0)
