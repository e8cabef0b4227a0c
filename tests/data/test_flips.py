"""Compared with torchvision and Pillow on single images."""

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torch import Tensor
from torchvision.transforms.v2 import functional as vision

from resnet_lab.data.draws import Draws
from resnet_lab.data.flips import Flip, Rearranging, Rotate90
from tests.stand_ins import ArrayPixels

SHAPES = [(3, 24), (1, 24), (3, 17), (1, 1), (3, 2)]


def images(number: int, channels: int = 3, size: int = 24) -> Tensor:
    """Random pixels N C S S, in the memory of N S S C, as the cache holds them."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (number, size, size, channels), dtype=torch.uint8, generator=generator)
    return pixels.permute(0, 3, 1, 2)


def draws_of(number: int) -> Draws:
    return Draws(0, 1, np.arange(number))


@pytest.mark.parametrize(("channels", "size"), SHAPES)
def test_flip_is_torchvisions(channels: int, size: int) -> None:
    batch, draws = images(30, channels, size), draws_of(30)
    for image, flipped, u in zip(batch, Flip(p=0.4)(batch.clone(), draws), draws.uniform("flip"), strict=True):
        assert torch.equal(flipped, vision.horizontal_flip(image) if u < 0.4 else image)


@pytest.mark.parametrize(("channels", "size"), SHAPES)
def test_rotate90_is_torchvisions(channels: int, size: int) -> None:
    batch, draws = images(40, channels, size), draws_of(40)
    turns = np.floor(draws.uniform("rotate90").numpy() * 4).ravel()
    assert set(turns) == {0, 1, 2, 3}
    for image, turned, turn in zip(batch, Rotate90()(batch.clone(), draws), turns, strict=True):
        assert torch.equal(turned, vision.rotate(image, 90 * turn))


def test_rotate90_is_pillows() -> None:
    batch, draws = images(40), draws_of(40)
    ways = [
        lambda picture: picture,
        partial(Image.Image.transpose, method=Image.Transpose.ROTATE_90),
        partial(Image.Image.transpose, method=Image.Transpose.ROTATE_180),
        partial(Image.Image.transpose, method=Image.Transpose.ROTATE_270),
    ]
    numbers = (draws.uniform("rotate90").ravel() * 4).long().tolist()
    for image, turned, number in zip(batch, Rotate90()(batch.clone(), draws), numbers, strict=True):
        expected = ways[number](Image.fromarray(image.permute(1, 2, 0).numpy()))
        assert np.array_equal(np.asarray(expected), turned.permute(1, 2, 0).numpy())


def test_all_four_turns_and_both_sides_are_as_likely_as_the_others() -> None:
    number = 4000
    corners = torch.tensor([[0, 1], [2, 3]], dtype=torch.uint8).expand(number, 1, 2, 2)
    turned = Rotate90()(corners.clone(), draws_of(number))[:, 0, 0, 0]
    assert stats.chisquare(torch.bincount(turned, minlength=4).numpy()).pvalue > 0.001
    flipped = int(Flip(p=0.3)(corners.clone(), draws_of(number))[:, 0, 0, 0].sum())
    assert stats.binomtest(flipped, number, 0.3).pvalue > 0.001


@pytest.mark.parametrize("kind", [Flip(p=0.4), Rotate90()], ids=repr)
@pytest.mark.parametrize(("channels", "size"), SHAPES)
def test_images_are_shown_while_they_are_read(kind: Rearranging, channels: int, size: int) -> None:
    batch, views = images(30, channels, size), kind.chosen(draws_of(30))
    pixels = ArrayPixels(batch.permute(0, 2, 3, 1).numpy())
    out, spare = np.full_like(pixels.array, 7), np.full_like(pixels.array, 8)
    kind.read(pixels.gather, views, out, spare)
    assert np.array_equal(out, kind.shown(batch.clone(), views).permute(0, 2, 3, 1).numpy())


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_all_images_in_one_view(number: int) -> None:
    batch, views = images(5), torch.full((5,), number)
    out, spare = (np.empty((5, 24, 24, 3), dtype=np.uint8) for _ in range(2))
    Rotate90().read(ArrayPixels(batch.permute(0, 2, 3, 1).numpy()).gather, views, out, spare)
    assert np.array_equal(out, np.rot90(batch.permute(0, 2, 3, 1).numpy(), number, axes=(1, 2)))
