"""Random erasing. Legend: N batch, C channels, S size of a square image, B boxes of an image."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from resnet_lab.data import batch_transforms
from resnet_lab.data.batch_transforms import grouped, in_groups
from resnet_lab.data.draws import Draws
from resnet_lab.data.flips import require
from resnet_lab.data.image_by_image import Change, ImageByImage
from resnet_lab.data.random_boxes import random_boxes

SHARE, RATIO = (0.02, 0.33), (1 / 3.3, 1 / 0.3)
"""Share of the area, and width / height, of what is erased: torchvision's."""

CHANNELS = 3
"""Channels of which a colour has one of its own."""


@dataclass(frozen=True, kw_only=True)
class Erase(ImageByImage):
    """Random rectangles painted over, with probability `p`: torchvision's `RandomErasing` (arXiv:1708.04896).

    A rectangle's share of the area is uniform in [0.02, 0.33], the logarithm of width / height uniform between those of
    1/3.3 and 1/0.3. An image gets 1 to `count` rectangles, and each is so many times smaller, as in timm.

    The modes are timm's, with an image's own mean colour and deviations in place of the training part's: `const` fills
    with the mean colour, which is no edge to the eye and, unlike black, leaves the image's mean where it was, `rand`
    with a normally distributed colour, `pixel` with one for each pixel.
    """

    p: float = 0.25
    mode: Literal["const", "rand", "pixel"] = "const"
    count: int = 1

    def __post_init__(self) -> None:
        require(self, "p", 0 <= self.p <= 1, "from 0 to 1")
        require(self, "count", 1 <= self.count <= 100, "from 1 to 100")

    def change(self, draws: Draws, size: int) -> Change:
        boxes, deviates, keys = self._drawn(draws, size)
        places = boxes.tolist()

        def painted(image: Tensor, number: int) -> Tensor:
            if not any(height for _, _, height, _ in places[number]):
                return image
            one = slice(number, number + 1)
            fills = self._fills(image[None], deviates[one], keys[one])
            for (top, left, height, width), fill in zip(places[number], fills, strict=True):
                inside = (..., slice(top, top + height), slice(left, left + width))
                image[inside] = fill.expand(1, *image.shape)[0][inside]
            return image

        return painted

    def decided(self, draws: Draws, size: int) -> tuple[Any, ...]:
        drawn = self._drawn(draws, size)
        return grouped(drawn[0].any(dim=2).any(dim=1).long(), 2), *drawn

    def together(self, batch: Tensor, *decided: Any) -> Tensor:
        erased, *drawn = decided
        return in_groups(batch, erased, {1: self._painted}, *drawn)

    def _drawn(self, draws: Draws, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (N, B, 4), empty where there are none, normal deviates (N, B, 3), and keys of noise, int64 (N, 2)."""
        chosen = draws.uniform("erase").numpy() < self.p  # N 1
        number = 1 + np.floor(self.count * draws.uniform("boxes of erase").numpy())
        drawn = []
        for box in range(self.count):
            name = f"box {box} of erase" if box else "box of erase"
            share = SHARE[0] / number, SHARE[1] / number
            found = random_boxes(draws, name, share, RATIO, size, size - 1)
            wanted = (chosen & (box < number)).ravel().tolist()
            drawn.append([each if its and each else (0, 0, 0, 0) for its, each in zip(wanted, found, strict=True)])
        deviates = ndtri(draws.uniform("colours of erase", CHANNELS * self.count).numpy() + 2.0**-54)
        keys = (draws.uniform("noise of erase", 2) * 2**32).long()
        return (
            torch.tensor(drawn).view(self.count, -1, 4).transpose(0, 1),
            torch.from_numpy(deviates).float().view(-1, self.count, CHANNELS),
            keys,
        )

    def _painted(self, batch: Tensor, boxes: Tensor, deviates: Tensor, keys: Tensor) -> Tensor:
        painted = batch
        for places, fill in zip(boxes.unbind(1), self._fills(batch, deviates, keys), strict=True):
            painted = torch.where(batch_transforms.inside(places, batch.shape[-1]), fill, painted)
        return painted

    def _fills(self, batch: Tensor, deviates: Tensor, keys: Tensor) -> list[Tensor]:
        """Fillings of each box: a colour of each image (N, C, 1, 1), or its pixels (N, C, S, S)."""
        channels = batch.shape[1]
        if self.mode == "rand":
            return [_as_bytes(batch, each[:, :channels, None, None]) for each in deviates.unbind(1)]
        if self.mode == "pixel":
            return [_as_bytes(batch, batch_transforms.noise(keys, channels, batch.shape[-1]))] * self.count
        return [batch_transforms.mean_colours(batch)] * self.count


def _as_bytes(batch: Tensor, deviates: Tensor) -> Tensor:
    """Deviates as bytes, so many of the image's standard deviations from its mean."""
    spread, mean = torch.std_mean(batch.float(), (2, 3), correction=0, keepdim=True)
    return (mean + spread * deviates).round_().clamp_(0, 255).to(batch.dtype)
