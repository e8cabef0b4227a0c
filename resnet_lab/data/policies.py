"""Augmentation by operations drawn from a list. Legend: N batch, C channels, S size, D operations an image."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf, pi
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor

from resnet_lab.data import batch_transforms
from resnet_lab.data.batch_transforms import grouped, in_groups
from resnet_lab.data.draws import Draws
from resnet_lab.data.flips import require
from resnet_lab.data.image_by_image import Change, ImageByImage, vision

Floats: TypeAlias = NDArray[np.float64]
Interpolation = Literal["nearest", "bilinear"]

ADJUSTED = ("adjust_brightness", "adjust_saturation", "adjust_contrast", "adjust_sharpness")
TONES = ("posterize", "solarize", "solarize_add")
PLAIN = ("autocontrast", "equalize", "invert")
WAYS = ("identity", "warp", *ADJUSTED, *TONES, *PLAIN)
"""What is done to pixels, in the order of their numbers."""

LEVELS = 30
"""Highest magnitude of torchvision's policies, whose default has 31."""


class Operation(NamedTuple):
    """An operation of a policy.

    Attributes:
        way: of `WAYS`.
        amounts: of levels in [0, 1], (N,), signs and S: what the way takes, (N,), or matrices (N, 6) of a warp.
    """

    way: str
    amounts: Callable[[Floats, Floats, int], Floats] = lambda levels, signs, size: levels


def _warp(place: int, offset: int | None, amount: Callable[[Floats, int], Floats]) -> Operation:
    """A warp with an amount at a place of its matrix, and half the size times as much at another."""

    def matrices(levels: Floats, signs: Floats, size: int) -> Floats:
        made = np.tile([1.0, 0.0, 0.0, 0.0, 1.0, 0.0], (len(levels), 1))
        made[:, place] = signs * amount(levels, size)
        if offset is not None:
            made[:, offset] = made[:, place] * size / 2
        return made

    return Operation("warp", matrices)


def _rotation(most: float) -> Operation:
    def matrices(levels: Floats, signs: Floats, size: int) -> Floats:
        angles = signs * levels * most * pi / 180
        cosines, sines, zeros = np.cos(angles), np.sin(angles), np.zeros_like(angles)
        return np.stack([cosines, -sines, zeros, sines, cosines, zeros], axis=1)

    return Operation("warp", matrices)


def _geometry(shear: float, translation: Callable[[Floats, int], Floats], rotation: float) -> dict[str, Operation]:
    """Five warps: shears about the top left corner, translations in pixels, and a rotation of up to so many degrees."""
    return {
        "ShearX": _warp(1, 2, lambda levels, size: shear * levels),
        "ShearY": _warp(3, 5, lambda levels, size: shear * levels),
        "TranslateX": _warp(2, None, lambda levels, size: -translation(levels, size)),
        "TranslateY": _warp(5, None, lambda levels, size: -translation(levels, size)),
        "Rotate": _rotation(rotation),
    }


def _adjustments(strength: float, least: float = 0.0) -> dict[str, Operation]:
    def factors(levels: Floats, signs: Floats, size: int) -> Floats:
        return np.maximum(1 + signs * strength * levels, least)

    names = ("Brightness", "Color", "Contrast", "Sharpness")
    return {name: Operation(way, factors) for name, way in zip(names, ADJUSTED, strict=True)}


def _mask(bits: Floats) -> Floats:
    """The byte of which so many leading bits are set."""
    return np.asarray(256 - 2.0 ** (8 - bits))


def _tones(bits: float) -> dict[str, Operation]:
    """Torchvision's others, of which posterizing takes away so many bits at most."""
    return {
        "Posterize": Operation("posterize", lambda levels, signs, size: _mask(np.round(8 - bits * levels))),
        "Solarize": Operation("solarize", lambda levels, signs, size: 255 * (1 - levels)),
        "AutoContrast": Operation("autocontrast"),
        "Equalize": Operation("equalize"),
    }


TORCHVISION: Mapping[str, Operation] = {
    "Identity": Operation("identity"),
    **_geometry(0.3, lambda levels, size: np.trunc(150 / 331 * size * levels), 30),
    **_adjustments(0.9),
    **_tones(4),
}
"""`v2.RandAugment`'s."""

WIDE: Mapping[str, Operation] = {
    "Identity": Operation("identity"),
    **_geometry(0.99, lambda levels, size: np.trunc(32 * levels), 135),
    **_adjustments(0.99),
    **_tones(6),
}
"""`v2.TrivialAugmentWide`'s: translations are of up to 32 pixels, whatever the image's size."""

TIMM: Mapping[str, Operation] = {
    **_geometry(0.3, lambda levels, size: 0.45 * size * levels, 30),
    **_adjustments(0.9, least=0.1),
    "Posterize": Operation("posterize", lambda levels, signs, size: _mask(4 - np.trunc(4 * levels))),
    "Solarize": Operation("solarize", lambda levels, signs, size: 256 - np.trunc(256 * levels)),
    "SolarizeAdd": Operation("solarize_add", lambda levels, signs, size: np.trunc(110 * levels)),
    "AutoContrast": Operation("autocontrast"),
    "Equalize": Operation("equalize"),
    "Invert": Operation("invert"),
}
"""timm's `rand-...-inc1`, the operations that grow with their magnitude."""

SPACES = {"torchvision": (TORCHVISION, LEVELS), "timm": (TIMM, 10)}
"""Operations and highest magnitude of `RandAugment`."""


class _Policy(ImageByImage):
    """Applies the operations that `_drawn` names."""

    interpolation: Interpolation

    def _drawn(self, draws: Draws, size: int) -> tuple[NDArray[np.int64], Floats]:
        """Numbers of ways (N, D) and what each takes, (N, D, 6)."""
        raise NotImplementedError

    def change(self, draws: Draws, size: int) -> Change:
        numbers, amounts = self._drawn(draws, size)
        ways, taken = _ways(self.interpolation), torch.from_numpy(amounts).float()

        def changed(image: Tensor, number: int) -> Tensor:
            for turn, way in enumerate(numbers[number].tolist()):
                if way:
                    image = ways[way](image[None], taken[number, None, turn])[0]
            return image

        return changed

    def decided(self, draws: Draws, size: int) -> tuple[Any, ...]:
        numbers, amounts = self._drawn(draws, size)
        turns = (grouped(torch.from_numpy(chosen), len(WAYS)) for chosen in numbers.T)
        return torch.from_numpy(amounts).float(), *turns

    def together(self, batch: Tensor, *decided: Any) -> Tensor:
        amounts, *turns = decided
        ways = _ways(self.interpolation)
        for turn, groups in enumerate(turns):
            batch = in_groups(batch, groups, ways, amounts[:, turn])
        return batch


@dataclass(frozen=True, kw_only=True)
class RandAugment(_Policy):
    """`num_ops` operations, each drawn from a list, of one magnitude: Cubuk et al. 2019, arXiv:1909.13719.

    Operations, ranges and signs are those of torchvision's `RandAugment`, whose magnitudes are 0 to 30, or with
    `ops` = timm of timm's `rand-...-inc1`, 0 to 10. Each operation is applied with probability `p`, which is 0.5 in
    timm, and its magnitude is normally distributed with deviation `std` where that is above 0.
    """

    num_ops: int = 2
    magnitude: float = 9.0
    std: float = 0.0
    p: float = 1.0
    ops: Literal["torchvision", "timm"] = "torchvision"
    interpolation: Interpolation = "nearest"

    def __post_init__(self) -> None:
        most = SPACES[self.ops][1]
        require(self, "num_ops", 1 <= self.num_ops <= 20, "from 1 to 20")
        require(self, "magnitude", 0 <= self.magnitude <= most, f"from 0 to {most} with ops={self.ops}")
        require(self, "std", 0 <= self.std < inf, "0 or more")
        require(self, "p", 0 <= self.p <= 1, "from 0 to 1")

    def _drawn(self, draws: Draws, size: int) -> tuple[NDArray[np.int64], Floats]:
        space, most = SPACES[self.ops]
        chosen, applied, sign, spread = (
            draws.uniform(f"randaugment {what}", self.num_ops).numpy()
            for what in ("op", "applied", "sign", "magnitude")
        )
        levels = np.clip(self.magnitude + self.std * ndtri(spread + 2.0**-54), 0, most) / most
        ways, amounts = _amounts(space, chosen, np.where(sign < 0.5, -1.0, 1.0), levels, size)
        return np.where(applied < self.p, ways, 0), amounts


@dataclass(frozen=True, kw_only=True)
class TrivialAugment(_Policy):
    """An operation of random magnitude: torchvision's `TrivialAugmentWide` (Müller, Hutter 2021, arXiv:2103.10158)."""

    interpolation: Interpolation = "nearest"

    def _drawn(self, draws: Draws, size: int) -> tuple[NDArray[np.int64], Floats]:
        chosen, sign, level = draws.uniform("trivialaugment", 3).numpy().T[:, :, None]
        levels = np.floor((LEVELS + 1) * level) / LEVELS
        return _amounts(WIDE, chosen, np.where(sign < 0.5, -1.0, 1.0), levels, size)


def _amounts(
    space: Mapping[str, Operation], chosen: Floats, signs: Floats, levels: Floats, size: int
) -> tuple[NDArray[np.int64], Floats]:
    """Numbers of ways (N, D), and what these take (N, D, 6), of numbers in [0, 1), signs and levels (N, D)."""
    operation = np.floor(chosen * len(space))
    ways, amounts = np.zeros(chosen.shape, dtype=np.int64), np.zeros((*chosen.shape, 6))
    for number, each in enumerate(space.values()):
        its = operation == number
        ways[its] = WAYS.index(each.way)
        made = each.amounts(levels[its], signs[its], size)
        amounts[its] = made if made.ndim == 2 else made[:, None]
    return ways, amounts


def _ways(interpolation: Interpolation) -> dict[int, Callable[[Tensor, Tensor], Tensor]]:
    """Functions of images (N, C, S, S) and of what each takes, (N, 6), by number."""

    def by_number(name: str) -> Callable[[Tensor, Tensor], Tensor]:
        if name == "warp":
            return lambda images, taken: batch_transforms.warp(images, taken.view(-1, 2, 3), interpolation)
        if name in PLAIN:
            plainly = getattr(batch_transforms if name == "equalize" else vision(), name)
            return lambda images, taken: plainly(images)
        change = getattr(batch_transforms, name)
        return lambda images, taken: change(images, taken[:, :1, None, None])

    return {number: by_number(name) for number, name in enumerate(WAYS) if number}
