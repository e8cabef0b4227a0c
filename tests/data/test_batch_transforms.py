"""Compared with torchvision's functions on single images."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms.v2 import functional as vision

from resnet_lab.data import batch_transforms


def images(number: int, channels: int = 3, size: int = 33) -> Tensor:
    """Smooth and noisy ones, black, white and grey ones among them: N C S S, in the memory of N S S C."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (number, size, size, channels), dtype=np.uint8)
    pixels[0], pixels[1], pixels[2] = 0, 255, 119
    pixels[3:6] = np.linspace(0, 255, size, dtype=np.uint8)[:, None, None]
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


BOXES = [(0, 0, 33, 33), (3, 5, 20, 11), (32, 32, 1, 1), (0, 30, 33, 3), (10, 0, 2, 29), (7, 7, 7, 7)]


def test_a_pixel_is_inside_its_own_images_box() -> None:
    found = batch_transforms.inside(torch.tensor([*BOXES, (0, 0, 0, 0)]), 33)
    assert found.shape == (7, 1, 33, 33)
    for mask, (top, left, height, width) in zip(found[:, 0], BOXES, strict=False):
        expected = torch.zeros(33, 33, dtype=torch.bool)
        expected[top : top + height, left : left + width] = True
        assert torch.equal(mask, expected)
    assert not found[6].any()


@pytest.mark.parametrize("channels", [1, 3])
def test_crops_are_torchvisions(channels: int) -> None:
    """Rounded from float32, as it does where it has no integer arithmetic for it."""
    batch = images(6, channels)
    cropped = batch_transforms.resized_crop(batch, torch.tensor(BOXES))
    for image, box, got in zip(batch, BOXES, cropped, strict=True):
        exact = vision.resized_crop(image.double(), *box, [33, 33], antialias=True)
        assert (got - exact).abs().max() <= 0.501
    assert torch.equal(cropped[0], batch[0])
    assert torch.equal(cropped[2], batch[2, :, 32:, 32:].expand(channels, 33, 33))


@pytest.mark.parametrize("size", [1, 2, 5, 16])
def test_mean_colours_are_rounded_as_float64_rounds_them(size: int) -> None:
    """Halves to even; a fifth of the images are made of two neighbouring bytes in equal parts."""
    generator = torch.Generator().manual_seed(0)
    batch = torch.randint(0, 256, (200, 3, size, size), dtype=torch.uint8, generator=generator)
    halves = torch.arange(40, dtype=torch.uint8).view(40, 1, 1).repeat(1, 3, size * size)
    halves[..., : size * size // 2] += 1
    batch[:40] = halves.view(40, 3, size, size)
    expected = batch.double().mean((2, 3), keepdim=True).round().to(torch.uint8)
    assert torch.equal(batch_transforms.mean_colours(batch), expected)


ADJUSTED = {
    "adjust_brightness": (0.0, 0.4, 1.0, 1.37, 9.0),
    "adjust_contrast": (0.0, 0.4, 1.0, 1.37, 9.0),
    "adjust_saturation": (0.0, 0.4, 1.0, 1.37, 9.0),
    "adjust_sharpness": (0.0, 0.4, 1.0, 1.37, 9.0),
    "adjust_hue": (-0.5, -0.13, 0.0, 0.21, 0.5),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ADJUSTED)
def test_colours_are_torchvisions(name: str, channels: int) -> None:
    """Each image by a factor of its own, and now and then a step of 255 apart, since both cut float32 to bytes."""
    factors = torch.tensor([ADJUSTED[name][number % 5] for number in range(30)])
    batch = images(30, channels)
    got = getattr(batch_transforms, name)(batch.clone(), factors.view(-1, 1, 1, 1))
    wanted = [getattr(vision, name)(image, factor) for image, factor in zip(batch, factors.tolist(), strict=True)]
    assert (got.int() - torch.stack(wanted).int()).abs().max() <= 1
    assert (got == torch.stack(wanted)).float().mean() > 0.99


@pytest.mark.parametrize(("channels", "size"), [(1, 33), (3, 33), (3, 2), (3, 16)])
def test_equalized_images_are_torchvisions(channels: int, size: int) -> None:
    """Also those of one colour, and those with too few pixels to be equalized at all."""
    batch = images(30, channels, size)
    wanted = [vision.equalize(image.contiguous()) for image in batch]
    assert torch.equal(batch_transforms.equalize(batch), torch.stack(wanted))


def test_images_of_two_pixels_are_as_sharp_as_before() -> None:
    batch = images(10, 3, 2)
    assert torch.equal(batch_transforms.adjust_sharpness(batch.clone(), torch.zeros(10, 1, 1, 1)), batch)


def murmur(value: int) -> int:
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        value = ((value ^ (value >> shift)) * factor) % 2**32
    return value


def test_noise_is_a_normal_function_of_keys_and_place() -> None:
    keys = torch.tensor([[5, 2**32 - 1], [2**32 - 3, 7], [0, 0]])
    found = batch_transforms.noise(keys, 3, 40)
    assert found.shape == (3, 3, 40, 40)
    for number, (first, second) in enumerate(keys.tolist()):
        for place in (0, 1, 4799):
            hashed = murmur(murmur((place + first) % 2**32) ^ second)
            wanted = stats.norm.ppf(((hashed >> 8) + 0.5) / 2**24)
            assert found[number].flatten()[place].item() == pytest.approx(wanted, abs=1e-3)
    for one in found:
        assert stats.kstest(one.flatten().numpy(), stats.norm.cdf).pvalue > 0.01
    many = batch_transforms.noise(torch.randint(0, 2**32, (40, 2), generator=torch.Generator().manual_seed(0)), 3, 40)
    correlations = np.corrcoef(many.flatten(1).numpy())[np.triu_indices(40, 1)]
    assert stats.kstest(correlations * 4800**0.5, stats.norm.cdf).pvalue > 0.001


def test_groups_are_changed_each_in_its_way() -> None:
    batch, choices = torch.arange(6).view(6, 1, 1, 1), torch.tensor([0, 2, 1, 0, 2, 7])
    own = torch.arange(10, 70, 10).view(6, 1, 1, 1)
    ways = {1: lambda images, own: images + own, 2: lambda images, own: images * own}
    groups = batch_transforms.grouped(choices, 8)
    assert groups.ends == (2, 3, 5, 5, 5, 5, 5, 6)
    assert batch_transforms.in_groups(batch, groups, ways, own).ravel().tolist() == [0, 20, 32, 3, 200, 5]
