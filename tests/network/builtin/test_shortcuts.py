"""Shortcuts on small numbers, and what they refuse; torchvision's and timm's networks have them too (test_zoo)."""

import pytest
import torch

from resnet_lab.core.errors import SpecError
from resnet_lab.network.builder import build
from resnet_lab.network.builtin.shortcuts import ZeroPadShortcut


def test_option_a_drops_pixels_and_appends_zeros() -> None:
    x = torch.arange(2 * 3 * 3).view(1, 2, 3, 3)
    expected = [[[0, 2], [6, 8]], [[9, 11], [15, 17]], [[0, 0], [0, 0]]]
    assert ZeroPadShortcut(2, 3, 2)(x).tolist() == [expected]


def test_option_a_with_zeros_on_both_sides() -> None:
    """An odd number of new channels puts the extra one at the end."""
    x = torch.arange(1, 3).view(1, 2, 1, 1)
    for out_channels, expected in ((4, [0, 1, 2, 0]), (5, [0, 1, 2, 0, 0]), (8, [0, 0, 0, 1, 2, 0, 0, 0])):
        assert ZeroPadShortcut(2, out_channels, 1, zeros="both")(x).flatten().tolist() == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("none", "stage 1: unknown shortcut 'none'; known: pooled_projection, projection, zero_pad"),
        ("zero_pad(zeros=front)", "stage 1: shortcut zero_pad: parameter 'zeros': input should be 'end' or 'both', got "
         "'front'"),
        ("projection(zeros=end)@2", "stage 2: shortcut projection has no parameter 'zeros'; known: kernel_size"),
        ("zero_pad@1", "stage 1: a zero_pad shortcut cannot lead from 256 to 64 channels"),
    ],
)  # fmt: skip
def test_refused(text: str, message: str) -> None:
    network = "resnet50" if text != "zero_pad@1" else narrowing()
    with pytest.raises(SpecError) as failure:
        build(network, shortcut=text)
    assert str(failure.value) == message


def narrowing():
    from resnet_lab.network import zoo

    spec = zoo.get("resnet18")
    return spec.model_copy(update={"stem": spec.stem.model_copy(update={"convs": (
        spec.stem.convs[0].model_copy(update={"out_channels": 256}),
    )})})  # fmt: skip
