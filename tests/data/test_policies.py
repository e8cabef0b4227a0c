"""Compared with torchvision's and timm's operations on single images, and with the distributions of their draws."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import stats
from timm.data import auto_augment
from torch import Tensor
from torchvision.transforms import v2

from resnet_lab.data import image_by_image, policies
from resnet_lab.data.draws import Draws
from resnet_lab.data.policies import TIMM, TORCHVISION, WIDE, Operation, RandAugment, TrivialAugment, _Policy

SIZE = 32
WARPS = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
SIGNED = (*WARPS, "Brightness", "Color", "Contrast", "Sharpness")


def pictures(number: int, channels: int = 3, size: int = SIZE) -> Tensor:
    """Smooth images with noise, in half of all bytes, N C S S in the memory of N S S C."""
    random = np.random.default_rng(0)
    waves = np.linspace(0, random.uniform(2, 9, (number, channels)), size, axis=1)  # N S C
    both = np.sin(waves)[:, :, None] + np.cos(waves)[:, None]
    pixels = 100 + 40 * both + random.normal(0, 6, (number, size, size, channels))
    return torch.from_numpy(pixels.clip(30, 200).astype(np.uint8)).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Prescribed(_Policy):
    """Every operation of a space at every level and in both directions, each on an image of its own."""

    space: Mapping[str, Operation]
    interpolation: policies.Interpolation = "nearest"

    @property
    def each(self) -> list[tuple[str, int, float]]:
        """Name, level of 30, and sign for each image."""
        return list(product(self.space, range(31), (1.0, -1.0)))

    def _drawn(self, draws: Draws, size: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        names, levels, signs = zip(*self.each, strict=True)
        chosen = np.array([list(self.space).index(name) for name in names])[:, None] / len(self.space) + 1e-9
        return policies._amounts(self.space, chosen, np.array(signs)[:, None], np.array(levels)[:, None] / 30, size)


def changed(policy: _Policy, batch: Tensor, monkeypatch: pytest.MonkeyPatch, together: bool) -> Tensor:
    monkeypatch.setattr(image_by_image, "in_memory", lambda batch: not together)
    return policy(batch.clone(), Draws(0, 1, np.arange(len(batch))))


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("space", "theirs"), [(TORCHVISION, v2.RandAugment), (WIDE, v2.TrivialAugmentWide)], ids=["rand", "trivial"]
)
def test_operations_are_torchvisions(
    monkeypatch: pytest.MonkeyPatch,
    space: Mapping[str, Operation],
    theirs: type[Any],
    channels: int,
    interpolation: policies.Interpolation,
) -> None:
    """Each operation at each magnitude, an image its own, together and one by one.

    Tones are the same to a step of 255, since both cut float32 to bytes; of warped pixels some lie on the edge between
    two, and to which they go is a matter of rounding.
    """
    policy, transform = Prescribed(space, interpolation), theirs(interpolation=v2.InterpolationMode(interpolation))
    batch = pictures(len(policy.each), channels)
    assert list(space) == list(theirs._AUGMENTATION_SPACE)
    wanted = []
    for image, (name, level, sign) in zip(batch, policy.each, strict=True):
        magnitudes, signed = theirs._AUGMENTATION_SPACE[name]
        assert signed == (name in SIGNED)
        amounts = magnitudes(31, SIZE, SIZE)
        amount = 0.0 if amounts is None else float(amounts[level]) * (sign if signed else 1)
        if name == "Solarize":  # in float64, or a rounding error decides of bytes at the threshold
            assert amount == pytest.approx(1 - level / 30, abs=1e-6)
            amount = 1 - level / 30
        wanted.append(
            transform._apply_image_or_video_transform(
                image.contiguous(), name, amount, v2.InterpolationMode(interpolation), {}
            )
        )
    names = np.array([name for name, _, _ in policy.each])
    warped = torch.from_numpy(np.isin(names, WARPS))
    for together in (False, True):
        got = changed(policy, batch, monkeypatch, together)
        difference = (got.int() - torch.stack(wanted).int()).abs()
        assert difference[~warped].max() <= 1
        assert (difference[~warped] == 0).float().mean() > 0.99
        for name in WARPS:
            assert (difference[torch.from_numpy(names == name)] == 0).float().mean() > 0.98, name


def pillow(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).numpy())


@pytest.mark.parametrize("together", [False, True])
def test_operations_are_timms(monkeypatch: pytest.MonkeyPatch, together: bool) -> None:
    """Pillow rounds in other places: tones differ by a step or two of 255."""
    policy = Prescribed(TIMM)
    batch = pictures(len(policy.each))
    got = changed(policy, batch, monkeypatch, together)
    seen = set()
    for image, ours, (name, level, sign) in zip(batch, got, policy.each, strict=True):
        growing = name in ("Posterize", "Solarize", *SIGNED[5:])
        theirs = f"{name}Rel" if name.startswith("Translate") else f"{name}Increasing" if growing else name
        seen.add(theirs)
        way = -sign if name.startswith("Translate") else sign  # there towards the left or the top
        monkeypatch.setattr(auto_augment, "_randomly_negate", lambda value, way=way: way * value)
        level_of = auto_augment.LEVEL_TO_ARG[theirs]
        if (name, level) == ("Posterize", 30):  # no bits at all, which Pillow refuses
            assert not ours.any()
            continue
        amounts = () if level_of is None else level_of(level / 3, {})
        changed_there = auto_augment.NAME_TO_OP[theirs](
            pillow(image), *amounts, fillcolor=(0, 0, 0), resample=Image.Resampling.NEAREST
        )
        difference = np.abs(np.asarray(changed_there).astype(int) - ours.permute(1, 2, 0).numpy().astype(int))
        if name in WARPS:
            assert (difference > 0).mean() < 0.1, (name, level)
        else:
            assert difference.max() <= 2, (name, level)
    assert seen == set(auto_augment._RAND_INCREASING_TRANSFORMS)


def operations(policy: _Policy, number: int, monkeypatch: pytest.MonkeyPatch) -> tuple[list[NDArray[Any]], ...]:
    """What a policy asks `_amounts` for: numbers of operations, signs and levels, each (N, D)."""
    asked: list[Any] = []
    real: Callable[..., Any] = policies._amounts

    def spy(space: Mapping[str, Operation], chosen: Any, signs: Any, levels: Any, size: int) -> Any:
        asked.extend((np.floor(chosen * len(space)).astype(int), signs, levels))
        return real(space, chosen, signs, levels, size)

    monkeypatch.setattr(policies, "_amounts", spy)
    policy._drawn(Draws(0, 1, np.arange(number)), SIZE)
    return tuple(asked)


def test_trivialaugment_draws_operation_level_and_sign_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, signs, levels = operations(TrivialAugment(), 6000, monkeypatch)
    for drawn, number in ((chosen, 14), (np.round(30 * levels).astype(int), 31), ((signs > 0).astype(int), 2)):
        assert drawn.shape == (6000, 1)
        assert stats.chisquare(np.bincount(drawn.ravel(), minlength=number)).pvalue > 0.001
    table = np.histogram2d(chosen.ravel(), signs.ravel(), bins=[14, 2])[0]
    assert stats.chi2_contingency(table).pvalue > 0.001


def test_randaugment_draws_operations_independently(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, signs, levels = operations(RandAugment(num_ops=2, magnitude=9), 6000, monkeypatch)
    assert chosen.shape == signs.shape == (6000, 2)
    assert (levels == 9 / 30).all()
    assert stats.chi2_contingency(np.histogram2d(*chosen.T, bins=14)[0]).pvalue > 0.001


def test_the_magnitude_is_spread_and_an_operation_left_out_as_in_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = RandAugment(ops="timm", magnitude=7, std=0.5, p=0.5)
    _, _, levels = operations(policy, 4000, monkeypatch)
    assert stats.kstest(10 * levels.ravel(), stats.norm(7, 0.5).cdf).pvalue > 0.001
    ways, _ = policy._drawn(Draws(0, 1, np.arange(4000)), SIZE)
    assert stats.binomtest(int((ways == 0).sum()), ways.size, 0.5).pvalue > 0.001
    _, _, levels = operations(RandAugment(ops="timm", magnitude=10, std=3), 4000, monkeypatch)
    assert levels.max() == 1  # cut off, as in timm
    assert 0.45 < (levels == 1).mean() < 0.55
