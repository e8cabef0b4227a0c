"""Augmentation of whole batches on their device. Legend: N batch, C H W image, S size of a square one, K classes.

Each random number belongs to an image (`Draws`), so that an image comes out alike whatever batch it is in. Only its
partner in a mixture is another image of the batch.

The CPU decides what happens to each image. In its own memory it does so to one image after the other; for a GPU it
decides ahead, so that a step waits for nothing, and all images are changed together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any, Protocol

import numpy as np
import torch
from scipy.special import betaincinv
from torch import Tensor

from resnet_lab.core.errors import ConfigError, SpecError
from resnet_lab.data import batch_transforms
from resnet_lab.data.batch_transforms import Groups, grouped
from resnet_lab.data.draws import Draws
from resnet_lab.data.erasing import Erase
from resnet_lab.data.flips import Flip, Rearranging, Rotate90, require
from resnet_lab.data.image_by_image import Change, ImageByImage, PixelAugmentation, to_device, vision
from resnet_lab.data.policies import RandAugment, TrivialAugment
from resnet_lab.data.random_boxes import Box, random_boxes
from resnet_lab.network.kinds import AUGMENTATION
from resnet_lab.network.registry import OWN, Entry, Registry
from resnet_lab.network.spec import Component


class MixingAugmentation(Protocol):
    """Mixes normalised float32 batches (N, C, S, S) with their targets (N, K)."""

    def __call__(self, x: Tensor, y: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Other images and targets."""

    def decided(self, draws: Draws, size: int) -> tuple[Tensor, ...]:
        """Tensors on the CPU of what happens to each image of S = `size`."""

    def mixed(self, x: Tensor, y: Tensor, *decided: Tensor) -> tuple[Tensor, Tensor]:
        """The same by what was decided, which is on the batch's device."""


@dataclass(frozen=True, kw_only=True)
class Crop(ImageByImage):
    """A random rectangle, resized to the whole image: torchvision's `RandomResizedCrop`, antialiased.

    Its share of the area is uniform in [`scale`, 1], the logarithm of width / height uniform between those of 3/4 and
    4/3 (Szegedy et al. 2014, arXiv:1409.4842, section 6).
    """

    scale: float = 0.35

    def __post_init__(self) -> None:
        require(self, "scale", 0 < self.scale <= 1, "above 0 and at most 1")

    def change(self, draws: Draws, size: int) -> Change:
        boxes = self._boxes(draws, size)
        crop = partial(vision().resized_crop, size=[size, size], antialias=True)
        return lambda image, number: crop(image, *boxes[number])

    def decided(self, draws: Draws, size: int) -> tuple[Tensor]:
        return (torch.tensor(self._boxes(draws, size)),)

    def together(self, batch: Tensor, *decided: Tensor) -> Tensor:
        (boxes,) = decided
        return batch_transforms.resized_crop(batch, boxes)

    def _boxes(self, draws: Draws, size: int) -> list[Box]:
        found = random_boxes(draws, "crop", (self.scale, 1.0), (3 / 4, 4 / 3), size, size)
        return [box or (0, 0, size, size) for box in found]


@dataclass(frozen=True, kw_only=True)
class Jitter(ImageByImage):
    """Brightness, contrast, saturation and hue changed in random order: torchvision's `ColorJitter`.

    The first three are multiplied by a factor uniform in [max(0, 1 - strength), 1 + strength]; the hue is turned by a
    share of the colour circle uniform in [-`hue`, `hue`]. Greyscale images have neither saturation nor hue.
    """

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.0

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            require(self, name, 0 <= getattr(self, name) < inf, "0 or more")
        require(self, "hue", 0 <= self.hue <= 0.5, "from 0 to 0.5")

    def change(self, draws: Draws, size: int) -> Change:
        factors, orders = self._drawn(draws)
        adjustments = self._adjustments(vision())

        def jittered(image: Tensor, number: int) -> Tensor:
            for kind in orders[number].tolist():
                if kind in adjustments:
                    image = adjustments[kind](image, factors[number, kind].item())
            return image

        return jittered

    def decided(self, draws: Draws, size: int) -> tuple[Tensor | Groups, ...]:
        factors, orders = self._drawn(draws)
        return factors.gather(1, orders).float(), *(grouped(kinds, 4) for kinds in orders.T)

    def together(self, batch: Tensor, *decided: Any) -> Tensor:
        factors, *kinds = decided
        adjustments, in_turn = self._adjustments(batch_transforms), factors.view(-1, 4, 1, 1, 1)
        for place, groups in enumerate(kinds):
            batch = batch_transforms.in_groups(batch, groups, adjustments, in_turn[:, place])
        return batch

    @property
    def _strengths(self) -> tuple[float, ...]:
        return self.brightness, self.contrast, self.saturation, self.hue

    def _adjustments(self, module: Any) -> dict[int, Callable[..., Tensor]]:
        names = ("adjust_brightness", "adjust_contrast", "adjust_saturation", "adjust_hue")
        return {kind: getattr(module, names[kind]) for kind in range(4) if self._strengths[kind]}

    def _drawn(self, draws: Draws) -> tuple[Tensor, Tensor]:
        """Factors by kind, float64 (N, 4), and the kind that is changed first, second, ..., (N, 4)."""
        spread, middle = torch.tensor(self._strengths, dtype=torch.float64), torch.tensor([1, 1, 1, 0])
        lowest, highest = middle - spread, middle + spread
        lowest[:3].clamp_(min=0)
        numbers = draws.uniform("jitter", 8)
        return lowest + (highest - lowest) * numbers[:, :4], numbers[:, 4:].argsort(dim=1, stable=True)


@dataclass(frozen=True, kw_only=True)
class Mixup:
    """w x + (1 - w) x' and the same of the targets, w from Beta(`alpha`, `alpha`): Zhang et al. 2017, arXiv:1710.09412.

    Each image has a weight of its own; with probability 1 - `p` it is left as it is.
    """

    alpha: float = 0.2
    p: float = 1.0

    def __post_init__(self) -> None:
        _require_mixing(self, self.alpha, self.p)

    def __call__(self, x: Tensor, y: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        return self.mixed(x, y, *to_device(x.device, self.decided(draws, x.shape[-1])))

    def decided(self, draws: Draws, size: int) -> tuple[Tensor, Tensor]:
        chosen, weight, place = draws.uniform("mixup", 3).T
        share = torch.where(chosen < self.p, 1 - _beta(weight, self.alpha), 0)  # N, of the partner
        return share.float(), _partners(place)

    def mixed(self, x: Tensor, y: Tensor, *decided: Tensor) -> tuple[Tensor, Tensor]:
        share, partners = decided
        return x.lerp(x[partners], share.view(-1, 1, 1, 1)), y.lerp(y[partners], share.view(-1, 1))


@dataclass(frozen=True, kw_only=True)
class Cutmix:
    """A rectangle of another image pasted in, the targets mixed by area: Yun et al. 2019, arXiv:1905.04899.

    Its share of the area is 1 - w, w from Beta(`alpha`, `alpha`), and its middle anywhere; what would stand over the
    edge is cut off, and does not count in the targets. Each image has a rectangle of its own; with probability 1 - `p`
    it is left as it is.
    """

    alpha: float = 1.0
    p: float = 1.0

    def __post_init__(self) -> None:
        _require_mixing(self, self.alpha, self.p)

    def __call__(self, x: Tensor, y: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        return self.mixed(x, y, *to_device(x.device, self.decided(draws, x.shape[-1])))

    def decided(self, draws: Draws, size: int) -> tuple[Tensor, Tensor, Tensor]:
        chosen, weight, place, *middle = draws.uniform("cutmix", 5).T
        side = torch.where(chosen < self.p, (1 - _beta(weight, self.alpha)).sqrt(), 0)
        sizes = torch.tensor((size, size))
        middles = (torch.stack(middle, dim=1) * sizes).long()  # N 2: row, column
        half = (side[:, None] / 2 * sizes).long()
        first, end = (middles - half).clamp(min=0), (middles + half).minimum(sizes)
        share = (end - first).prod(dim=1) / sizes.prod()  # N
        return torch.cat([first, end - first], dim=1), share, _partners(place)

    def mixed(self, x: Tensor, y: Tensor, *decided: Tensor) -> tuple[Tensor, Tensor]:
        boxes, share, partners = decided
        pasted = batch_transforms.inside(boxes, x.shape[-1])
        return torch.where(pasted, x[partners], x), y.lerp(y[partners], share.view(-1, 1))


PIXEL: dict[str, type[PixelAugmentation]] = {
    kind.__name__.lower(): kind for kind in (Flip, Rotate90, Crop, Jitter, RandAugment, TrivialAugment, Erase)
}
MIXING: dict[str, type[MixingAugmentation]] = {kind.__name__.lower(): kind for kind in (Mixup, Cutmix)}


_REGISTRY = Registry()
_REGISTRY.add(Entry(AUGMENTATION.name, name, factory, OWN) for name, factory in (PIXEL | MIXING).items())


@dataclass(frozen=True)
class Augmentations:
    """Augmentation of training batches: `pixel` in this order on uint8 images, then `mixing` on normalised ones."""

    pixel: tuple[PixelAugmentation, ...] = ()
    mixing: tuple[MixingAugmentation, ...] = ()

    @property
    def endless(self) -> tuple[str, ...]:
        """Names of those that show an image in ever new ways, and not in one of a few views."""
        others = (each for each in (*self.pixel, *self.mixing) if not isinstance(each, Rearranging))
        return tuple(type(each).__name__.lower() for each in others)

    @property
    def rearranging(self) -> tuple[Rearranging, ...]:
        return tuple(each for each in self.pixel if isinstance(each, Rearranging))

    def chosen(self, draws: Draws) -> Tensor:
        """Number of the view that each image gets of `rearranging`, int64, (N,), or () where there are none."""
        number = torch.zeros((), dtype=torch.int64)
        for each in self.rearranging:
            number = number * each.views + each.chosen(draws)
        return number

    def shown(self, batch: Tensor, number: int) -> Tensor:
        """A batch of any type, all of it in the view of that number; it may be written into."""
        digits = np.unravel_index(number, [each.views for each in self.rearranging])
        for each, digit in zip(self.rearranging, digits, strict=True):
            batch = each.shown(batch, torch.full((len(batch),), int(digit)))
        return batch


def parse_augmentations(texts: Sequence[str]) -> Augmentations:
    """Parse augmentations written `flip` or `crop(scale=0.5)`.

    Where both mixtures are listed an image meets each with its own `p`: `mixup(p=0.5)`.

    Raises:
        ConfigError: a text of another form, an unknown name or parameter, a value out of range, or a name listed twice.
    """
    made = {}
    for text in texts:
        try:
            component = Component.parse(text)
            entry = _REGISTRY.find(AUGMENTATION.name, component.name)
            if entry.name in made:
                raise ConfigError(f"{entry.name} is listed twice; leave one of the two out")
            made[entry.name] = entry.bind(dict(component.parameters), text)()
        except (SpecError, ConfigError) as error:
            raise ConfigError(f"augment: {error}") from None
    return Augmentations(
        pixel=tuple(augmentation for name, augmentation in made.items() if name in PIXEL),
        mixing=tuple(augmentation for name, augmentation in made.items() if name in MIXING),
    )


def _beta(uniform: Tensor, alpha: float) -> Tensor:
    """Numbers distributed like Beta(alpha, alpha), by inversion."""
    return torch.from_numpy(betaincinv(alpha, alpha, uniform.numpy()))


def _partners(places: Tensor) -> Tensor:
    """Partner of each image, shape (N,): the one before it on one round of the batch in the order of `places`."""
    order = places.argsort(stable=True)
    return torch.empty_like(order).scatter_(0, order, order.roll(1))


def _require_mixing(augmentation: object, alpha: float, p: float) -> None:
    require(augmentation, "alpha", 0 < alpha < inf, "above 0")
    require(augmentation, "p", 0 <= p <= 1, "from 0 to 1")
