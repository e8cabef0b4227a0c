"""Occlusion and integrated gradients: maps of the input. Legend: N batch, C channels, H W pixels, K classes.

Occlusion, Zeiler and Fergus 2013, arXiv:1311.2901, section 4.2: with y the class's logit and x_w the image whose
window w is at the baseline,

    map = relu(mean over the windows w that cover a pixel of y(x) - y(x_w))

Integrated gradients, Sundararajan et al. 2017, arXiv:1703.01365, equation 1: with b the baseline,

    map = relu(sum over channels of (x - b) * integral over a from 0 to 1 of dy / dx at b + a (x - b))

averaged over cells of pixels before the relu, as the values of single pixels scatter around 0.

The baseline of both is 0 in normalised values, the mean colour that the network's images were normalised by. With
black, the baseline of the latter paper, dark parts of an image could have no evidence.
"""

from abc import ABC, abstractmethod
from copy import deepcopy
from dataclasses import replace
from functools import partial
from math import ceil

import torch
from captum import attr
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_lab.core.errors import ConfigError
from resnet_lab.core.watcher import SILENT, Watcher
from resnet_lab.device import Placement, optimize_for_inference
from resnet_lab.evaluation.explanation.maps import Pass
from resnet_lab.network.model import ResNet

BASELINE = 0.0

PIXELS = 16 * 224**2
"""Pixels that go through the network at a time, as integrated gradients keep their activations."""

MOST = 64
"""Images of them."""

WINDOWS = 7
"""Occluding windows side by side: each is as large as a position of the last stage of a network with a stride of 32."""

STEPS = 32
"""Points of the Gauss-Legendre quadrature."""

CELLS = 32
"""Cells side by side, at most, over which integrated gradients are averaged."""


class InputMaps(ABC):
    """Maps of the input, in float32, as half precision would lose small differences and gradients.

    They work on a copy of the network, which keeps its mode and gradients.

    Args:
        layer: None; the others as `MakeMaps` takes them.

    Attributes:
        layer: `input`.
        positions: height and width of the last maps before they are upsampled.

    Raises:
        ConfigError: a layer was given.
    """

    method: str

    def __init__(
        self,
        model: ResNet,
        placement: Placement,
        layer: str | None = None,
        *,
        images: int | None = None,
        watcher: Watcher = SILENT,
    ) -> None:
        if layer is not None:
            raise ConfigError(
                f"layer {layer!r}: maps by {self.method} are of the input, not of a layer; leave the layer out, or use "
                "the method grad-cam or hires-cam"
            )
        self.layer = "input"
        self.positions: tuple[int, int] | None = None
        self._placement = replace(placement, dtype=torch.float32, compile="off", runtime="torch")
        self._network = self._copied(model, watcher)

    def run(self, x: Tensor) -> Pass:
        """A forward pass, from which maps of any classes can be had.

        Args:
            x: normalised images on the device, shape (N, C, H, W).
        """
        x = x.float()
        with torch.inference_mode(), self._placement.products():
            logits = torch.cat([self._network(few) for few in torch.split(x, at_a_time(x))])
        self.positions = self._positions((x.shape[2], x.shape[3]))
        return Pass(partial(self._evidence, x), logits, (x.shape[2], x.shape[3]))

    def _evidence(self, x: Tensor, classes: Tensor) -> Tensor:
        number = at_a_time(x)
        # Captum's gradients cannot be taken in inference mode, nor of tensors made in it
        with torch.inference_mode(False), self._placement.products():
            pairs = zip(torch.split(x, number), torch.split(classes, number), strict=True)
            return torch.cat([self._attribute(few.clone(), targets.clone(), number) for few, targets in pairs])

    @abstractmethod
    def _copied(self, model: ResNet, watcher: Watcher) -> nn.Module:
        """The network that is run: (N, C, H, W) to (N, K)."""

    @abstractmethod
    def _positions(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the map of an image of this size."""

    @abstractmethod
    def _attribute(self, x: Tensor, classes: Tensor, number: int) -> Tensor:
        """Evidence for a class in each image, (N, 1, h, w), from batches of `number` images."""


class Occlusion(InputMaps):
    """The logit's decrease where a square window of the image is at the baseline.

    A window's side is a seventh of the image's, rounded up, and windows are half of that apart.
    """

    method = "occlusion"

    def _copied(self, model: ResNet, watcher: Watcher) -> nn.Module:
        return optimize_for_inference(model, self._placement, watcher=watcher)

    def _positions(self, size: tuple[int, int]) -> tuple[int, int]:
        height, width = (ceil((side - window_of(side)) / stride_of(side)) + 1 for side in size)
        return height, width

    def _attribute(self, x: Tensor, classes: Tensor, number: int) -> Tensor:
        channels, *sides = x.shape[1:]
        found: Tensor = attr.Occlusion(self._network).attribute(
            x,
            (channels, *map(window_of, sides)),
            (channels, *map(stride_of, sides)),
            BASELINE,
            classes,
            perturbations_per_eval=max(1, number // len(x)),
        )
        return found[:, :1]  # a window covers all channels, and each gets the same


class IntegratedGradients(InputMaps):
    """Gradients of the logit along the line from the baseline to the image, times their difference."""

    method = "integrated-gradients"

    def _copied(self, model: ResNet, watcher: Watcher) -> nn.Module:
        return self._placement.place(deepcopy(model).eval().requires_grad_(False))

    def _positions(self, size: tuple[int, int]) -> tuple[int, int]:
        height, width = (min(side, CELLS) for side in size)
        return height, width

    def _attribute(self, x: Tensor, classes: Tensor, number: int) -> Tensor:
        found: Tensor = attr.IntegratedGradients(self._network).attribute(
            x, BASELINE, classes, n_steps=STEPS, internal_batch_size=number
        )
        height, width = x.shape[2:]
        return F.adaptive_avg_pool2d(found.detach().sum(1, keepdim=True), self._positions((height, width)))


def window_of(side: int) -> int:
    """Side in pixels of an occluding window, in an image of this one."""
    return ceil(side / WINDOWS)


def stride_of(side: int) -> int:
    """Pixels between one occluding window and the next."""
    return ceil(window_of(side) / 2)


def at_a_time(x: Tensor) -> int:
    """Images of the shape of these that go through the network at a time."""
    return max(1, min(MOST, PIXELS // (x.shape[2] * x.shape[3])))
