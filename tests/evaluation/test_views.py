"""Compared with numpy's rotations and reflections."""

import numpy as np
import pytest
import torch

from resnet_lab.core.errors import ConfigError
from resnet_lab.evaluation.views import Views, parse_views


@pytest.mark.parametrize("text", ["flip", "rotate90", "flip,rotate90", "rotate90, flip"])
def test_views_are_those_of_a_square(text: str) -> None:
    image = np.random.default_rng(0).normal(size=(3, 5, 5)).astype(np.float32)
    flips = [image, image[..., ::-1]] if "flip" in text else [image]
    turns = range(4) if "rotate90" in text else range(1)
    wanted = {np.rot90(each, turn, axes=(1, 2)).tobytes() for each in flips for turn in turns}
    views = parse_views(text)
    batch = torch.from_numpy(np.stack([image, -image])).contiguous(memory_format=torch.channels_last)
    before = batch.clone()
    shown = [views.shown(batch, number) for number in range(views.number)]
    assert torch.equal(batch, before)
    assert torch.equal(shown[0], batch)
    assert {each[0].contiguous().numpy().tobytes() for each in shown} == wanted
    assert len(wanted) == views.number
    assert all(torch.equal(each[0], -each[1]) for each in shown)


def test_no_views_are_the_image_as_it_is() -> None:
    assert (parse_views(None), Views().number) == (Views(), 1)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "crop",
            "tta 'crop': test-time augmentation averages over all views of an image, which only flip and rotate90 have "
            "a fixed number of; known: flip, rotate90",
        ),
        ("flip,flip", "tta 'flip,flip': a name is listed twice; leave one of the two out"),
    ],
)
def test_what_has_no_views_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse_views(text)
    assert str(refusal.value) == sentence
