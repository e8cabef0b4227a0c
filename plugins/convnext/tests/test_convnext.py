from functools import partial
from math import inf, nan

import numpy as np
import pytest
import torch
from resnet_lab_convnext import ConvNeXtBlock
from scipy.signal import correlate2d
from scipy.special import erf
from torch import nn
from torchvision.models.convnext import CNBlock, LayerNorm2d

from resnet_lab.plugin_api import Parts, SpecError
from resnet_lab.testing import conformance

test_conforms = conformance("block", "convnext")

EPS = 1e-6
PLACES = {"depthwise": "block.0", "norm": "block.2", "expand": "block.3", "project": "block.5"}  # in CNBlock


class Times(nn.Module):
    """x * factor, which shows where a part stands."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x


def no_convolution(in_channels, out_channels, stride=1, *, groups=1, must_mix=False):
    raise AssertionError("the block has no 3x3")


def shortcut(in_channels, out_channels, stride):
    return None if (in_channels, stride) == (out_channels, 1) else nn.Conv2d(in_channels, out_channels, 1, stride)


def parts(branch=1, output=1, dropout=1):
    return Parts(
        conv=no_convolution,
        pointwise=no_convolution,
        norm=partial(LayerNorm2d, eps=EPS),
        act=nn.GELU,
        attn=lambda channels: Times(branch),
        output_attn=lambda channels: Times(output),
        dropout=lambda: Times(dropout),
        shortcut=shortcut,
    )


def block_and_input(in_channels, out_channels, stride, size=(9, 6), layer_scale=0.3, **factors):
    """Block and input, with parameters that all have an effect, in float64."""
    torch.manual_seed(0)
    block = ConvNeXtBlock(in_channels, out_channels, out_channels, stride, parts(**factors), layer_scale=layer_scale)
    for parameter in block.parameters():
        nn.init.normal_(parameter, mean=0.2, std=0.5)
    return block.double(), torch.randn(2, in_channels, *size, dtype=torch.float64)


def reference(block, x, stride, *, branch=1, output=1, dropout=1):
    """The formula in NumPy and SciPy, one image at a time, its channels last from the norm on."""
    weight = {name: value.detach().numpy() for name, value in block.state_dict().items()}
    images = []
    for image in x.numpy():
        planes = [
            correlate2d(plane, w[0], mode="same")[::stride, ::stride] + b
            for plane, w, b in zip(image, weight["depthwise.weight"], weight["depthwise.bias"], strict=True)
        ]
        out = np.stack(planes, axis=-1)  # H W C
        out = (out - out.mean(-1, keepdims=True)) / np.sqrt(out.var(-1, keepdims=True) + EPS)
        out = out * weight["norm.weight"] + weight["norm.bias"]
        out = out @ weight["expand.weight"][:, :, 0, 0].T + weight["expand.bias"]
        out = dropout * out * (1 + erf(out / np.sqrt(2))) / 2
        out = out @ weight["project.weight"][:, :, 0, 0].T + weight["project.bias"]
        identity = image.transpose(1, 2, 0)[::stride, ::stride]
        if "downsample.weight" in weight:
            identity = identity @ weight["downsample.weight"][:, :, 0, 0].T + weight["downsample.bias"]
        images.append(output * (identity + weight["scale"][:, 0, 0] * branch * out))
    return np.stack(images).transpose(0, 3, 1, 2)


def test_equals_torchvision_s():
    """Outputs and gradients, with CNBlock's weights."""
    torch.manual_seed(0)
    peer = CNBlock(6, layer_scale=0.3, stochastic_depth_prob=0.0).double()
    block, x = block_and_input(6, 6, 1)
    state = peer.state_dict()
    weights = {
        f"{place}.{name}": state[f"{theirs}.{name}"] for place, theirs in PLACES.items() for name in ("weight", "bias")
    }
    for place in ("expand", "project"):
        weights[f"{place}.weight"] = weights[f"{place}.weight"][:, :, None, None]
    block.load_state_dict(weights | {"scale": state["layer_scale"]})

    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    out, expected = block(ours), peer(theirs)
    torch.testing.assert_close(out, expected)
    out.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    torch.testing.assert_close(block.scale.grad, peer.layer_scale.grad)
    torch.testing.assert_close(block.depthwise.weight.grad, peer.block[0].weight.grad)


@pytest.mark.parametrize("size", [(9, 6), (5, 5), (1, 1)])
@pytest.mark.parametrize("shape", [(6, 6, 1), (6, 6, 2), (4, 6, 1), (4, 6, 2)])
def test_formula(size, shape):
    block, x = block_and_input(*shape, size=size)
    np.testing.assert_allclose(block(x).detach(), reference(block, x, shape[2]), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("factors", [{"branch": 2}, {"output": 3}, {"dropout": 5}])
@pytest.mark.parametrize("shape", [(6, 6, 1), (4, 6, 2)])
def test_places_of_the_parts(factors, shape):
    block, x = block_and_input(*shape, **factors)
    np.testing.assert_allclose(block(x).detach(), reference(block, x, shape[2], **factors), rtol=1e-10, atol=1e-10)


def test_parameters():
    """96 channels, as in ConvNeXt-T's first stage: 49 + 1 and 2 per channel, 96 x 384 twice with biases, a scale."""
    block = ConvNeXtBlock(96, 96, 96, 1, parts())
    assert sum(p.numel() for p in block.parameters()) == 96 * 52 + (96 * 384 + 384) + (384 * 96 + 96) + 96


@pytest.mark.parametrize(("given", "scale"), [({}, 1e-6), ({"layer_scale": 0.25}, 0.25)])
def test_layer_scale(given, scale):
    block = ConvNeXtBlock(6, 6, 6, 1, parts(), **given)
    assert torch.equal(block.scale, torch.full((6, 1, 1), scale))


@pytest.mark.parametrize("layer_scale", [0.0, -1e-6, inf, nan])
def test_refused_layer_scale(layer_scale):
    with pytest.raises(SpecError) as error:
        ConvNeXtBlock(6, 6, 6, 1, parts(), layer_scale=layer_scale)
    assert str(error.value) == (f"block convnext(layer_scale={layer_scale}): layer_scale must be positive and finite")
