"""Convolutions against a loop over pixels in numpy, and the promises of the hook."""

from math import ceil

import numpy as np
import pytest
import torch
from timm.layers import StdConv2d

from resnet_lab.network.plugins import load
from resnet_lab.network.spec import Component

BUILT_IN = load(only=())
SIZES = [(7, 5), (1, 1), (9, 9), (8, 6)]


def make(name, in_channels, out_channels, stride=1, groups=1, bias=False):
    return BUILT_IN.bind("convolution", Component.parse(name), "here")(in_channels, out_channels, stride, groups, bias)


def convolve(x, weight, bias, stride=1):
    """Cross-correlation by its definition: x (N, C, H, W), weight (O, C / groups, K, K), zeros around x."""
    out_channels, in_group, size, _ = weight.shape
    groups, pad = x.shape[1] // in_group, size // 2
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    height, width = ceil(x.shape[2] / stride), ceil(x.shape[3] / stride)
    out = np.zeros((len(x), out_channels, height, width))
    for o, i, j in np.ndindex(out_channels, height, width):
        first = o // (out_channels // groups) * in_group
        window = padded[:, first : first + in_group, i * stride : i * stride + size, j * stride : j * stride + size]
        out[:, o, i, j] = (window * weight[o]).sum((1, 2, 3)) + (0 if bias is None else bias[o])
    return out


def arrays(conv):
    return conv.weight.detach().numpy(), None if conv.bias is None else conv.bias.detach().numpy()


def test_depthwise_by_hand():
    conv = make("depthwise", 2, 2)
    with torch.no_grad():  # the first channel is shifted one pixel to the left, the second summed over 3x3
        conv.weight.zero_()[0, 0, 1, 2] = 1
        conv.weight[1] = 1
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    out = conv(torch.stack((x, x))[None])
    assert out[0, 0].tolist() == [[2, 3, 0], [5, 6, 0]]
    assert out[0, 1].tolist() == [[12, 21, 16], [12, 21, 16]]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("bias", [False, True])
def test_equal_the_definition(size, stride, bias):
    torch.manual_seed(0)
    x = torch.randn(2, 4, *size, dtype=torch.float64)

    dense = make("dense", 4, 6, stride, groups=2, bias=bias).double()
    assert dense.weight.shape == (6, 2, 3, 3)
    np.testing.assert_allclose(dense(x).detach(), convolve(x.numpy(), *arrays(dense), stride), atol=1e-12)

    depthwise = make("depthwise", 4, 4, stride, bias=bias).double()
    assert depthwise.weight.shape == (4, 1, 3, 3)
    np.testing.assert_allclose(depthwise(x).detach(), convolve(x.numpy(), *arrays(depthwise), stride), atol=1e-12)

    separable = make("separable", 4, 6, stride, bias=bias).double()
    each, mix = separable
    assert (each.weight.shape, mix.weight.shape) == ((4, 1, 3, 3), (6, 4, 1, 1))
    expected = convolve(convolve(x.numpy(), *arrays(each), stride), *arrays(mix))
    np.testing.assert_allclose(separable(x).detach(), expected, atol=1e-12)
    assert [conv.bias is not None for conv in (dense, depthwise, each, mix)] == [bias, bias, False, bias]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("bias", [False, True])
def test_standardised_partial_and_ghost_by_their_definition(size, stride, bias):
    torch.manual_seed(0)
    x = torch.randn(2, 4, *size, dtype=torch.float64)

    ws = make("ws", 4, 6, stride, groups=2, bias=bias).double()
    weight, shift = arrays(ws)
    centred = weight - weight.mean((1, 2, 3), keepdims=True)
    standard = centred / np.sqrt(centred.var((1, 2, 3), keepdims=True) + 1e-6)
    np.testing.assert_allclose(ws(x).detach(), convolve(x.numpy(), standard, shift, stride), atol=1e-12)

    partial = make("partial", 4, 6, stride, groups=2, bias=bias).double()
    weight, shift = arrays(partial)
    there = convolve(np.ones((1, 1, *size)), np.ones((1, 1, 3, 3)), None, stride)
    expected = convolve(x.numpy(), weight, None, stride) * 9 / there
    expected += 0 if shift is None else shift[:, None, None]
    np.testing.assert_allclose(partial(x).detach(), expected, atol=1e-6)  # the share is computed in float32

    for out_channels in (6, 5):
        ghost = make("ghost", 4, out_channels, stride, bias=bias).double()
        first = convolve(x.numpy(), *arrays(ghost.primary), stride)
        second = convolve(first, *arrays(ghost.cheap))
        assert first.shape[1] == 3
        expected = np.concatenate([first, second], axis=1)[:, :out_channels]
        np.testing.assert_allclose(ghost(x).detach(), expected, atol=1e-12)


def test_standardised_is_timm_s():
    ours, theirs = make("ws(dilation=2)", 4, 6, 2), StdConv2d(4, 6, 3, 2, padding=2, dilation=2)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 4, 9, 7)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("name", ["dense", "depthwise", "separable", "ws"])
def test_dilation(name):
    """A 3x3 dilated by 2 is the 5x5 with zeros between its weights."""
    conv = make(f"{name}(dilation=2)", 4, 4)
    first = conv[0] if name == "separable" else conv
    plain = make(name, 4, 4)
    plain.load_state_dict(conv.state_dict())
    x = torch.zeros(1, 4, 9, 9)
    x[:, :, 4, 4] = 1
    assert first.dilation == (2, 2)
    torch.testing.assert_close(conv(x)[:, :, ::2, ::2], plain(x[:, :, ::2, ::2]))
    assert not conv(x)[:, :, 1::2].any()


@pytest.mark.parametrize("name", BUILT_IN.names("convolution"))
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", SIZES)
def test_shape_layout_and_batch_of_one(name, stride, size):
    torch.manual_seed(0)
    conv = make(name, 4, 4, stride)
    x = torch.randn(3, 4, *size)
    out = conv(x)
    assert out.shape == (3, 4, ceil(size[0] / stride), ceil(size[1] / stride))
    torch.testing.assert_close(conv(x[:1]), out[:1])

    last = conv.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    assert last.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(last, out)

    half = conv.bfloat16()(x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), out, rtol=0.03, atol=0.03 * max(1.0, out.std().item()))


@pytest.mark.parametrize("name", BUILT_IN.names("convolution"))
def test_compiles_without_a_graph_break(name):
    torch.compiler.reset()  # the classes of convolutions share their compiled code, which is counted
    conv, x = make(name, 4, 4, 2, bias=True), torch.randn(2, 4, 7, 5)
    torch.testing.assert_close(torch.compile(conv, fullgraph=True, backend="aot_eager")(x), conv(x))


@pytest.mark.parametrize(
    ("name", "traits"),
    [
        ("dense", {}),
        ("depthwise", {"mixes_channels": False, "takes_groups": False}),
        ("separable", {"takes_groups": False}),
        ("ws", {}),
        ("partial", {}),
        ("ghost", {"takes_groups": False}),
    ],
)
def test_traits_are_what_the_module_does(name, traits):
    """The inputs that reach output channel 0 say whether the channels are mixed."""
    assert BUILT_IN.get("convolution", name, "here").traits == traits
    x = torch.randn(1, 4, 5, 5, requires_grad=True)
    make(name, 4, 4)(x)[:, 0].sum().backward()
    reached = x.grad.abs().sum((0, 2, 3)) > 0
    assert reached.tolist() == [True] + [traits.get("mixes_channels", True)] * 3
