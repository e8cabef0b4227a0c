from math import exp, inf, nan

import numpy as np
import pytest
import torch
from resnet_lab_simam import SimAM

from resnet_lab.plugin_api import SpecError
from resnet_lab.testing import conformance

test_conforms = conformance("attention", "simam")

SIZES = [(7, 5), (1, 1), (9, 9), (1, 6)]


def sigmoid(z):
    return 1 / (1 + exp(-z))


def reference(x, epsilon):
    """The formula, one channel of one image at a time, in numpy."""
    out = np.empty_like(x)
    for image, channel in np.ndindex(x.shape[:2]):
        t = x[image, channel]
        d = (t - t.mean()) ** 2
        variance = d.sum() / (t.size - 1) if t.size > 1 else 0.0
        out[image, channel] = t / (1 + np.exp(-(d / (4 * (variance + epsilon)) + 0.5)))
    return out


def example(size=(7, 5)):
    torch.manual_seed(0)
    return 2 * torch.randn(3, 4, *size, dtype=torch.float64) + 1


def test_by_hand():
    """1, 2, 3, 6: mean 3, squared distances 4, 1, 0, 9, variance 14 / 3."""
    x = torch.tensor([[1.0, 2.0], [3.0, 6.0]], dtype=torch.float64)[None, None]
    scale = 4 * (14 / 3 + 0.5)
    expected = [
        1 * sigmoid(4 / scale + 0.5),
        2 * sigmoid(1 / scale + 0.5),
        3 * sigmoid(0.5),
        6 * sigmoid(9 / scale + 0.5),
    ]
    torch.testing.assert_close(SimAM(1, epsilon=0.5)(x).flatten(), torch.tensor(expected, dtype=x.dtype))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("epsilon", [1e-4, 0.3])
def test_formula(size, epsilon):
    x = example(size)
    np.testing.assert_allclose(SimAM(4, epsilon=epsilon)(x), reference(x.numpy(), epsilon), rtol=1e-12)


def test_epsilon_is_the_paper_s_unless_given():
    np.testing.assert_allclose(SimAM(4)(example()), reference(example().numpy(), 1e-4), rtol=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_gradient(size):
    assert torch.autograd.gradcheck(SimAM(4), example(size)[:1].requires_grad_())


@pytest.mark.parametrize("value", [0.0, 1.0, -1e6])
def test_a_constant_channel_has_a_finite_gradient(value):
    x = torch.full((2, 3, 4, 4), value, requires_grad=True)
    SimAM(3)(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.full_like(x, sigmoid(0.5)))


@pytest.mark.parametrize("size", SIZES)
def test_bfloat16(size):
    x = example(size).bfloat16()
    out = SimAM(4)(x)
    assert out.dtype == torch.bfloat16
    np.testing.assert_allclose(out.double(), reference(x.double().numpy(), 1e-4), rtol=0.03, atol=0.03)


def test_has_no_parameters():
    assert list(SimAM(8).state_dict()) == []


@pytest.mark.parametrize("epsilon", [0.0, -1e-4, inf, nan])
def test_refused_epsilon(epsilon):
    with pytest.raises(SpecError) as error:
        SimAM(8, epsilon=epsilon)
    assert str(error.value) == f"attention simam(epsilon={epsilon}): epsilon must be positive and finite"
