"""Norms against their formulas in float64, and the layer norm against timm's."""

import pytest
import torch
from timm.layers import LayerNorm2d
from timm.layers.filter_response_norm import FilterResponseNormAct2d
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from resnet_lab.core.errors import SpecError
from resnet_lab.network.builder import assemble, resolve
from resnet_lab.network.plugins import load
from resnet_lab.network.spec import Component

BUILT_IN = load(only=())
TEXTS = (
    "frozen_batch",
    "instance",
    "filter_response",
    "filter_response(eps=0.1)",
    "batch",
    "batch(eps=0.1, momentum=0.3)",
    "group(groups=4)",
    "layer",
    "layer(eps=0.1)",
    "none",
)


def make(text, channels=8):
    """The norm in float64 with random scale and shift, so that both can be seen in the output."""
    torch.manual_seed(0)
    norm = BUILT_IN.bind("norm", Component.parse(text), "here")(channels).double()
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    return norm


def example(channels=8, size=(7, 5)):
    torch.manual_seed(1)
    return 3 * torch.randn(4, channels, *size, dtype=torch.float64) + 2


def standardised(x, axes, eps):
    centred = x - x.mean(axes, keepdim=True)
    return centred / (centred.square().mean(axes, keepdim=True) + eps).sqrt()


def scaled(norm, x):
    return x * norm.weight.view(-1, 1, 1) + norm.bias.view(-1, 1, 1)


def test_every_norm_is_tested_here():
    assert BUILT_IN.names("norm") == sorted({text.partition("(")[0] for text in TEXTS})


@pytest.mark.parametrize(
    ("text", "eps", "momentum"), [("batch", 1e-5, 0.1), ("batch(eps=0.1, momentum=0.3)", 0.1, 0.3)]
)
def test_batch(text, eps, momentum):
    norm, x = make(text), example()
    torch.testing.assert_close(norm(x), scaled(norm, standardised(x, (0, 2, 3), eps)))

    mean = momentum * x.mean((0, 2, 3))
    variance = (1 - momentum) + momentum * x.transpose(0, 1).reshape(8, -1).var(1)  # the unbiased one, as the paper
    torch.testing.assert_close(norm.running_mean, mean)
    torch.testing.assert_close(norm.running_var, variance)
    seen = (x - mean.view(-1, 1, 1)) / (variance.view(-1, 1, 1) + eps).sqrt()
    torch.testing.assert_close(norm.eval()(x), scaled(norm, seen))


@pytest.mark.parametrize(("groups", "channels"), [(1, 8), (4, 8), (8, 8), (32, 64)])
def test_group(groups, channels):
    norm, x = make(f"group(groups={groups})", channels), example(channels)
    expected = standardised(x.view(4, groups, channels // groups, 7, 5), (2, 3, 4), 1e-5).view_as(x)
    torch.testing.assert_close(norm(x), scaled(norm, expected))
    torch.testing.assert_close(norm(x[:1]), norm(x)[:1])


def test_group_has_32_groups_by_default():
    torch.testing.assert_close(make("group", 64)(example(64)), make("group(groups=32)", 64)(example(64)))


@pytest.mark.parametrize("size", [(7, 5), (1, 1), (9, 9)])
def test_layer(size):
    norm, x = make("layer"), example(size=size)
    torch.testing.assert_close(norm(x), scaled(norm, standardised(x, 1, 1e-6)))
    other = LayerNorm2d(8).double()
    other.load_state_dict(norm.state_dict())
    torch.testing.assert_close(norm(x), other(x), rtol=0, atol=0)


def test_layer_eps():
    norm, x = make("layer(eps=0.1)"), example()
    torch.testing.assert_close(norm(x), scaled(norm, standardised(x, 1, 0.1)))


@pytest.mark.parametrize("training", [True, False])
def test_frozen_batch_is_torchvision_s(training):
    """On a trained batch norm's averages, which stay; only the input gets a gradient."""
    ours, theirs, x = make("frozen_batch(eps=0.01)").train(training), FrozenBatchNorm2d(8, eps=0.01).double(), example()
    for name, buffer in theirs.named_buffers():
        buffer.copy_(torch.linspace(0.5, 2, 8) + len(name))
    assert set(ours.state_dict()) == set(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours(x), theirs(x))
    assert ours.running_mean.equal(theirs.running_mean)
    assert list(ours.parameters()) == []


@pytest.mark.parametrize("size", [(7, 5), (9, 9)])
def test_instance_is_torch_s(size):
    norm, x = make("instance"), example(size=size)
    other = nn.InstanceNorm2d(8, affine=True).double()
    other.load_state_dict(norm.state_dict())
    torch.testing.assert_close(norm(x), other(x))
    torch.testing.assert_close(norm(x), scaled(norm, standardised(x, (2, 3), 1e-5)))


@pytest.mark.parametrize(("text", "eps"), [("filter_response", 1e-6), ("filter_response(eps=0.1)", 0.1)])
def test_filter_response_is_timm_s(text, eps):
    norm, x = make(text), example()
    other = FilterResponseNormAct2d(8, apply_act=False, eps=eps).double()
    other.load_state_dict(norm.state_dict())
    torch.testing.assert_close(norm(x), scaled(norm, x / (x.square().mean((2, 3), keepdim=True) + eps).sqrt()))
    torch.testing.assert_close(norm(x), other(x), rtol=1e-6, atol=1e-6)  # timm computes the mean in float32


def test_a_frozen_norm_is_not_set_to_zero():
    """Its branch would stay so for ever."""
    built = assemble(resolve("resnet20", norm="frozen_batch"), zero_init_residual=True)
    assert (built.model.layer1[0].bn2.weight == 1).all()
    assert built.notes[0] == "zero_init_residual has no effect on layer1: its basic blocks end in no norm"


def test_none():
    x = example()
    assert make("none")(x) is x


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("size", [(7, 5), (1, 1), (9, 9)])
def test_layout_and_bfloat16(text, size):
    norm, x = make(text), example(size=size)
    expected = norm(x)
    out = norm(x.to(memory_format=torch.channels_last))
    assert out.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(out, expected)
    half = norm.bfloat16()(x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.double(), expected, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("text", TEXTS)
def test_compiles_without_a_graph_break(text):
    norm, x = make(text), example()
    torch.testing.assert_close(torch.compile(norm, fullgraph=True, backend="aot_eager")(x), norm(x))


@pytest.mark.parametrize(
    ("name", "adds_bias"), [("none", False), *((name, True) for name in BUILT_IN.names("norm") if name != "none")]
)
def test_adds_bias_is_what_the_module_does(name, adds_bias):
    assert BUILT_IN.get("norm", name, "here").traits.get("adds_bias", True) is adds_bias
    norm = BUILT_IN.bind("norm", Component(name=name), "here")(32)
    assert hasattr(norm, "bias") is adds_bias


@pytest.mark.parametrize("groups", [0, -1, 3])
def test_groups_that_do_not_divide(groups):
    with pytest.raises(SpecError) as error:
        make(f"group(groups={groups})")
    assert str(error.value) == f"norm group(groups={groups}) does not divide 8 channels; choose a divisor of them"
