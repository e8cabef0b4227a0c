"""Augmentation of whole batches on their device. Legend: N batch, C H W image, S size of a square one, K classes.

Each random number belongs to an image (`Draws`), so that an image comes out alike whatever batch it is in. Only its
partner in a mixture is another image of the batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf, log
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import betaincinv
from torch import Tensor

from resnet_lab.core.errors import ConfigError, SpecError
from resnet_lab.data import batch_transforms
from resnet_lab.data.draws import Draws
from resnet_lab.data.flips import Flip, Rearranging, Rotate90, require
from resnet_lab.network.kinds import AUGMENTATION
from resnet_lab.network.registry import OWN, Entry, Registry
from resnet_lab.network.spec import Component

PixelAugmentation: TypeAlias = Callable[[Tensor, Draws], Tensor]
"""Takes a uint8 batch (N, C, S, S) and gives it back changed; it may write into it, since new memory costs time."""

MixingAugmentation: TypeAlias = Callable[[Tensor, Tensor, Draws], tuple[Tensor, Tensor]]
"""Takes a normalised float32 batch (N, C, H, W) with targets (N, K), and gives others."""

Box: TypeAlias = tuple[int, int, int, int]
"""Top, left, height and width, in pixels."""

ATTEMPTS = 10
"""Attempts at drawing a box that fits, as in torchvision."""


@dataclass(frozen=True, kw_only=True)
class Crop:
    """A random rectangle, resized to the whole image: torchvision's `RandomResizedCrop`, antialiased.

    Its share of the area is uniform in [`scale`, 1], the logarithm of width / height uniform between those of 3/4 and
    4/3 (Szegedy et al. 2014, arXiv:1409.4842, section 6).
    """

    scale: float = 0.35

    def __post_init__(self) -> None:
        require(self, "scale", 0 < self.scale <= 1, "above 0 and at most 1")

    def __call__(self, batch: Tensor, draws: Draws) -> Tensor:
        size = batch.shape[-1]
        found = random_boxes(draws, "crop", (self.scale, 1.0), (3 / 4, 4 / 3), size, size)
        boxes = [box or (0, 0, size, size) for box in found]
        if not _in_memory(batch):
            return batch_transforms.resized_crop(batch, torch.tensor(boxes).to(batch.device))

        crop = partial(_vision().resized_crop, size=[size, size], antialias=True)
        return _one_by_one(batch, lambda image, number: crop(image, *boxes[number]))


@dataclass(frozen=True, kw_only=True)
class Jitter:
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

    def __call__(self, batch: Tensor, draws: Draws) -> Tensor:
        names = ("adjust_brightness", "adjust_contrast", "adjust_saturation", "adjust_hue")
        strengths = (self.brightness, self.contrast, self.saturation, self.hue)
        spread, middle = torch.tensor(strengths, dtype=torch.float64), torch.tensor([1, 1, 1, 0])
        lowest, highest = middle - spread, middle + spread
        lowest[:3].clamp_(min=0)
        numbers = draws.uniform("jitter", 8)
        factors = lowest + (highest - lowest) * numbers[:, :4]  # N 4
        orders = numbers[:, 4:].argsort(dim=1, stable=True)  # N 4, the kind that is changed first, second, ...
        module = _vision() if _in_memory(batch) else batch_transforms
        adjustments = {kind: getattr(module, names[kind]) for kind in range(4) if strengths[kind]}
        if not _in_memory(batch):
            in_turn = factors.gather(1, orders).to(batch.device, torch.float32).view(-1, 4, 1, 1, 1)
            for place in range(4):
                batch = batch_transforms.in_groups(batch, orders[:, place], adjustments, in_turn[:, place])
            return batch

        def jittered(image: Tensor, number: int) -> Tensor:
            for kind in orders[number].tolist():
                if kind in adjustments:
                    image = adjustments[kind](image, factors[number, kind].item())
            return image

        return _one_by_one(batch, jittered)


@dataclass(frozen=True, kw_only=True)
class Erase:
    """A random rectangle painted over, with probability `p`: torchvision's `RandomErasing` (arXiv:1708.04896).

    Its share of the area is uniform in [0.02, 0.33], the logarithm of width / height uniform between those of 1/3.3 and
    1/0.3. It is filled with the image's own mean colour, which is no edge to the eye and, unlike black, leaves the
    image's mean where it was.
    """

    p: float = 0.25

    def __post_init__(self) -> None:
        require(self, "p", 0 <= self.p <= 1, "from 0 to 1")

    def __call__(self, batch: Tensor, draws: Draws) -> Tensor:
        size = batch.shape[-1]
        chosen = (draws.uniform("erase").ravel() < self.p).tolist()
        found = random_boxes(draws, "box of erase", (0.02, 0.33), (1 / 3.3, 1 / 0.3), size, size - 1)
        boxes = [box if its and box is not None else (0, 0, 0, 0) for its, box in zip(chosen, found, strict=True)]
        if not _in_memory(batch):
            colours = batch.double().mean((2, 3), keepdim=True).round().to(batch.dtype)  # N C 1 1
            return torch.where(batch_transforms.inside(torch.tensor(boxes).to(batch.device), size), colours, batch)

        def erased(image: Tensor, number: int) -> Tensor:
            if not any(box := boxes[number]):
                return image
            mean = image.double().mean((1, 2), keepdim=True).round().to(image.dtype)  # C 1 1
            painted: Tensor = _vision().erase(image, *box, mean)
            return painted

        return _one_by_one(batch, erased)


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
        chosen, weight, place = draws.uniform("mixup", 3).T
        share = torch.where(chosen < self.p, 1 - _beta(weight, self.alpha), 0).to(x)  # N, of the partner
        partners = _partners(place).to(x.device)
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
        chosen, weight, place, *middle = draws.uniform("cutmix", 5).T
        side = torch.where(chosen < self.p, (1 - _beta(weight, self.alpha)).sqrt(), 0)
        partners = _partners(place)
        sizes = torch.tensor(x.shape[-2:])
        middles = (torch.stack(middle, dim=1) * sizes).long()  # N 2: row, column
        half = (side[:, None] / 2 * sizes).long()
        first, end = (middles - half).clamp(min=0), (middles + half).minimum(sizes)
        pasted = batch_transforms.inside(torch.cat([first, end - first], dim=1).to(x.device), x.shape[-1])
        mixed = torch.where(pasted, x[partners.to(x.device)], x)
        share = ((end - first).prod(dim=1) / sizes.prod()).to(x)  # N
        return mixed, y.lerp(y[partners.to(y.device)], share.view(-1, 1))


PIXEL: dict[str, type[PixelAugmentation]] = {
    kind.__name__.lower(): kind for kind in (Flip, Rotate90, Crop, Jitter, Erase)
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


def random_boxes(
    draws: Draws, name: str, scale: tuple[float, float], ratio: tuple[float, float], size: int, largest: int
) -> list[Box | None]:
    """A random rectangle in each image of `size` x `size` pixels, as torchvision draws it; None where none fits.

    Args:
        name: of the draws.
        scale: lowest and highest share of the area.
        ratio: lowest and highest width / height.
        largest: width and height allowed.
    """
    numbers = draws.uniform(name, 2 * ATTEMPTS + 2).numpy()
    area = size**2 * (scale[0] + (scale[1] - scale[0]) * numbers[:, :ATTEMPTS])  # N ATTEMPTS
    low, high = log(ratio[0]), log(ratio[1])
    aspect = np.exp(low + (high - low) * numbers[:, ATTEMPTS:-2])
    sides = np.stack([np.sqrt(area / aspect), np.sqrt(area * aspect)]).round()  # 2 N ATTEMPTS: height, width
    fits: NDArray[np.bool_] = np.all((sides >= 1) & (sides <= largest), axis=0)  # N ATTEMPTS
    sides = sides[:, np.arange(len(numbers)), fits.argmax(axis=1)].T  # N 2, of the first attempt that fits
    corners = np.floor(numbers[:, -2:] * (size - sides + 1))
    boxes = np.concatenate([corners, sides], axis=1).astype(int).tolist()
    return [
        (top, left, height, width) if fitting else None
        for (top, left, height, width), fitting in zip(boxes, np.any(fits, axis=1).tolist(), strict=True)
    ]


def _beta(uniform: Tensor, alpha: float) -> Tensor:
    """Numbers distributed like Beta(alpha, alpha), by inversion."""
    return torch.from_numpy(betaincinv(alpha, alpha, uniform.numpy()))


def _partners(places: Tensor) -> Tensor:
    """Partner of each image, shape (N,): the one before it on one round of the batch in the order of `places`."""
    order = places.argsort(stable=True)
    return torch.empty_like(order).scatter_(0, order, order.roll(1))


def _in_memory(batch: Tensor) -> bool:
    """Whether the batch is in CPU memory, where images are changed one by one; a GPU changes them together."""
    return batch.device.type == "cpu"


def _vision() -> Any:
    from torchvision.transforms.v2 import functional  # with it comes torch's compiler: two seconds

    return functional


def _one_by_one(batch: Tensor, change: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Change each image by itself, `change(image, its number)`, so that it stays in the CPU's cache meanwhile."""
    for number, image in enumerate(batch):
        _copy(change(image, number), image)
    return batch


def _copy(source: Tensor, target: Tensor) -> None:
    if source.device.type == "cpu" and source.stride() != target.stride():
        for channel, place in zip(source.numpy(), target.numpy(), strict=True):
            place[...] = channel  # numpy takes a third of torch's time for bytes that are not neighbours
    else:
        target.copy_(source)


def _require_mixing(augmentation: object, alpha: float, p: float) -> None:
    require(augmentation, "alpha", 0 < alpha < inf, "above 0")
    require(augmentation, "p", 0 <= p <= 1, "from 0 to 1")
