"""Activations against their formulas, written out with `math` one number at a time."""

from math import erf, exp, log, pi, sqrt, tanh

import pytest
import torch

from resnet_lab.core.errors import SpecError
from resnet_lab.network.plugins import load
from resnet_lab.network.spec import Component

BUILT_IN = load(only=())


def sigmoid(x):
    return 1 / (1 + exp(-x))


FORMULAS = {
    "relu": lambda x: max(0.0, x),
    "leaky_relu": lambda x: x if x > 0 else 0.01 * x,
    "leaky_relu(slope=0.2)": lambda x: x if x > 0 else 0.2 * x,
    "gelu": lambda x: x * (1 + erf(x / sqrt(2))) / 2,
    "gelu(approximate=tanh)": lambda x: x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x * sigmoid(x),
    "mish": lambda x: x * tanh(log(1 + exp(x))),
    "prelu": lambda x: x if x > 0 else 0.25 * x,
    "prelu(slope=-0.5)": lambda x: x if x > 0 else -0.5 * x,
    "hardswish": lambda x: x * min(max(x + 3, 0), 6) / 6,
}


def make(text):
    return BUILT_IN.bind("activation", Component.parse(text), "here")()


def test_every_activation_has_a_formula_here():
    assert BUILT_IN.names("activation") == sorted({text.partition("(")[0] for text in FORMULAS})


@pytest.mark.parametrize("text", FORMULAS)
def test_formula(text):
    x = torch.linspace(-6.3, 6.3, 2 * 3 * 7 * 5, dtype=torch.float64).view(2, 3, 7, 5)
    expected = torch.tensor([FORMULAS[text](value) for value in x.flatten().tolist()], dtype=x.dtype)
    torch.testing.assert_close(make(text)(x.clone()), expected.view_as(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("text", FORMULAS)
def test_gradient_is_the_slope_of_the_formula(text):
    points, step = [-4.1, -1.7, -0.4, 0.3, 1.9, 5.2], 1e-6  # away from the kinks at -3, 0 and 3
    x = torch.tensor(points, dtype=torch.float64, requires_grad=True)
    make(text)(x * 1).sum().backward()  # x * 1: a leaf cannot be changed in place
    slopes = [(FORMULAS[text](p + step) - FORMULAS[text](p - step)) / (2 * step) for p in points]
    torch.testing.assert_close(x.grad, torch.tensor(slopes, dtype=torch.float64), rtol=1e-6, atol=1e-8)


def test_the_slope_of_prelu_is_torch_s_and_learned():
    ours, theirs = make("prelu(slope=0.1)"), torch.nn.PReLU(init=0.1)
    x = torch.linspace(-3, 3, 40)
    gradients = []
    for module in (ours, theirs):
        (module(x) * x.cos()).sum().backward()
        gradients.append(next(module.parameters()).grad.item())
    assert gradients[0] == pytest.approx(gradients[1])
    assert gradients[0] != 0


@pytest.mark.parametrize("text", FORMULAS)
def test_channels_last_and_bfloat16(text):
    x = torch.linspace(-6.3, 6.3, 2 * 3 * 7 * 5).view(2, 3, 7, 5).to(memory_format=torch.channels_last)
    expected = make(text)(x.contiguous())  # contiguous() copies: x stays as it was
    half = make(text)(x.bfloat16())
    out = make(text)(x)
    assert out.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(out, expected)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("relu(slope=0.1)", "stem: activation relu has no parameter 'slope'; known: none"),
        ("leaky_relu(slop=0.1)", "stem: activation leaky_relu has no parameter 'slop'; did you mean 'slope'?"),
        (
            "leaky_relu(slope=steep)",
            "stem: activation leaky_relu: parameter 'slope': input should be a valid number, got 'steep'",
        ),
        (
            "gelu(approximate=fast)",
            "stem: activation gelu: parameter 'approximate': input should be 'none' or 'tanh', got 'fast'",
        ),
    ],
)
def test_refused_parameters(text, message):
    with pytest.raises(SpecError) as error:
        BUILT_IN.bind("activation", Component.parse(text), "stem")
    assert str(error.value) == message


def test_a_negative_slope_can_be_trained():
    x = torch.tensor([-2.0, 3.0], requires_grad=True)
    make("leaky_relu(slope=-0.5)")(x * 1).sum().backward()
    assert x.grad.tolist() == [-0.5, 1]


@pytest.mark.parametrize("name", ["silu", "mish", "hardswish"])
def test_not_in_place_where_the_gradient_needs_the_input(name):
    x = torch.ones(3)
    make(name)(x)
    assert x.tolist() == [1, 1, 1]
