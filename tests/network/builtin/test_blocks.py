"""The blocks against torchvision's on the same weights, and their options by hand."""

import re
from functools import partial

import pytest
import torch
from timm.models import sknet
from torch import nn
from torchvision.models import resnet

from resnet_lab.core.errors import SpecError
from resnet_lab.network.model import Parts
from resnet_lab.network.plugins import load
from resnet_lab.network.spec import Component

BUILT_IN = load(only=())


def conv3x3(in_channels, out_channels, stride=1, *, groups=1, must_mix=False, dilation=1):
    return nn.Conv2d(in_channels, out_channels, 3, stride, dilation, dilation, groups=groups, bias=False)


def conv1x1(in_channels, out_channels, stride):
    return nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)


def projection(in_channels, out_channels, stride):
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(conv1x1(in_channels, out_channels, stride), nn.BatchNorm2d(out_channels))


def nothing(channels):
    return nn.Identity()


def make(text, *sizes, **changes):
    parts = {
        "conv": conv3x3,
        "pointwise": conv1x1,
        "norm": nn.BatchNorm2d,
        "act": partial(nn.ReLU, inplace=True),
        "attn": nothing,
        "output_attn": nothing,
        "dropout": nn.Identity,
        "shortcut": projection,
    }
    torch.manual_seed(0)
    return BUILT_IN.bind("block", Component.parse(text), "here")(*sizes, Parts(**parts | changes))


CASES = [
    # block, (in_channels, width, out_channels, stride), torchvision's block
    ("basic", (8, 8, 8, 1), lambda: resnet.BasicBlock(8, 8)),
    ("basic", (8, 12, 12, 2), lambda: resnet.BasicBlock(8, 12, 2, projection(8, 12, 2))),
    ("bottleneck", (16, 4, 16, 1), lambda: resnet.Bottleneck(16, 4)),
    ("bottleneck", (8, 4, 16, 2), lambda: resnet.Bottleneck(8, 4, 2, projection(8, 16, 2))),
    (
        "bottleneck(groups=4)",
        (8, 8, 16, 2),
        lambda: resnet.Bottleneck(8, 4, 2, projection(8, 16, 2), groups=4, base_width=32 * 4 // 2 // 2),
    ),
]


SELECTIVE = [
    # block, (in_channels, width, out_channels, stride), timm's block
    ("sk_basic", (8, 12, 12, 2), sknet.SelectiveKernelBasic),
    ("sk_bottleneck", (8, 4, 16, 2), sknet.SelectiveKernelBottleneck),
]


@pytest.mark.parametrize(("text", "sizes", "make_other"), CASES)
@pytest.mark.parametrize("training", [True, False])
def test_equal_torchvision_on_the_same_weights(text, sizes, make_other, training):
    block, other = make(text, *sizes).double().train(training), make_other().double().train(training)
    other.load_state_dict(block.state_dict())
    results = []
    for module in (block, other):
        x = torch.linspace(-2, 2, 2 * sizes[0] * 7 * 5, dtype=torch.float64).sin().view(2, -1, 7, 5).requires_grad_()
        out = module(x)
        (out * torch.arange(out.numel(), dtype=out.dtype).cos().view_as(out)).sum().backward()
        results.append((out, x.grad))
    (out, gradient), (other_out, other_gradient) = results
    assert out.shape == (2, sizes[2], *((7, 5) if sizes[3] == 1 else (4, 3)))
    torch.testing.assert_close(out, other_out, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient, other_gradient, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("name", "sizes", "theirs"), SELECTIVE)
def test_selective_kernels_equal_timm_s_on_the_same_weights(name, sizes, theirs, split, training):
    text = f"{name}(reduction=2, least=4, split={str(split).lower()})"
    in_channels, width, out_channels, stride = sizes
    block = make(text, *sizes).double().train(training)
    shortcut = projection(in_channels, out_channels, stride)
    kernels = {"rd_channels": max(width // 2, 4), "split_input": split}
    other = theirs(in_channels, width, stride, shortcut, sk_kwargs=kernels).double().train(training)
    renamed = {re.sub(r"\.conv(\d)\.(conv|bn)\.", r".\2\1.", f".{key}")[1:]: key for key in other.state_dict()}
    other.load_state_dict({renamed[key]: value for key, value in block.state_dict().items()})
    results = []
    for module in (block, other):
        x = torch.linspace(-2, 2, 3 * 8 * 7 * 5, dtype=torch.float64).sin().view(3, 8, 7, 5).requires_grad_()
        out = module(x)
        (out * torch.arange(out.numel(), dtype=out.dtype).cos().view_as(out)).sum().backward()
        results += [out, x.grad]
    torch.testing.assert_close(results[0], results[2], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(results[1], results[3], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sk_basic(reduction=0)", "a selective kernel's reduction must be at least 1, got 0"),
        ("sk_basic(least=0)", "a selective kernel's least must be at least 1, got 0"),
        ("sk_bottleneck(split=true)", "a selective kernel cannot split 3 channels in two; choose split=false"),
    ],
)
def test_selective_kernels_that_are_refused(text, message):
    with pytest.raises(SpecError) as error:
        make(text, 3, 3, 12, 1)
    assert str(error.value) == message


@pytest.mark.parametrize(("stride_on", "strides"), [("conv1", (2, 1)), ("conv2", (1, 2))])
def test_bottleneck_stride(stride_on, strides):
    block = make(f"bottleneck(stride_on={stride_on})", 8, 4, 16, 2)
    assert (block.conv1.stride[0], block.conv2.stride[0], block.conv3.stride[0]) == (*strides, 1)


class Recorder(nn.Module):
    """Writes its name into a list when it is called."""

    def __init__(self, name, calls):
        super().__init__()
        self.name, self.calls = name, calls

    def forward(self, x):
        self.calls.append(self.name)
        return x


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("basic", "norm act dropout norm attn act output_attn"),
        ("bottleneck", "norm act norm act dropout norm attn act output_attn"),
    ],
)
def test_order_of_the_parts(text, order):
    """Figure 5 of He et al. 2015: the addition stands before the last activation; attention just before it."""
    calls = []
    recorders = {name: lambda *args, name=name: Recorder(name, calls) for name in set(order.split())}
    make(text, 8, 8, 8, 1, **recorders)(torch.randn(1, 8, 3, 3))
    assert calls == order.split()


@pytest.mark.parametrize("text", ["basic", "bottleneck"])
def test_last_norm_at_zero_leaves_the_shortcut(text):
    block, x = make(text, 8, 8, 8, 1), torch.randn(2, 8, 5, 5)
    nn.init.zeros_(block.last_norm.weight)
    assert torch.equal(block(x), x.relu())


@pytest.mark.slow
@pytest.mark.parametrize("text", ["basic", "bottleneck", "bottleneck(groups=2, stride_on=conv1)"])
def test_compiles_without_a_graph_break(text):
    block, x = make(text, 8, 8, 16, 2).eval(), torch.randn(2, 8, 7, 5)
    torch.testing.assert_close(torch.compile(block, fullgraph=True, backend="aot_eager")(x), block(x))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "bottleneck(stride_on=conv3)",
            "here: block bottleneck: parameter 'stride_on': input should be 'conv1' or 'conv2', got 'conv3'",
        ),
        ("basic(groups=2)", "here: block basic has no parameter 'groups'; known: none"),
    ],
)
def test_refused_parameters(text, message):
    with pytest.raises(SpecError) as error:
        make(text, 8, 8, 8, 1)
    assert str(error.value) == message


def test_every_block_is_tested_here():
    assert BUILT_IN.names("block") == sorted({text.partition("(")[0] for text, *_ in CASES + SELECTIVE})
