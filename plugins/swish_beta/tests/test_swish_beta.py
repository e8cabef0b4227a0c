from math import exp, inf, nan

import numpy as np
import pytest
import torch
from resnet_lab_swish_beta import SwishBeta
from scipy.special import expit, lambertw
from torch import nn

from resnet_lab.plugin_api import SpecError
from resnet_lab.testing import conformance

test_conforms = conformance("activation", "swish_beta")
test_conforms_below_zero = conformance("activation", "swish_beta(start=-0.5)", skip={"cost": "measured at 1"})

BETAS = [-2.0, 0.0, 0.5, 1.0, 3.0]
VALUES = torch.linspace(-6, 6, 49, dtype=torch.float64)


@pytest.mark.parametrize("beta", BETAS)
def test_formula(beta):
    out = SwishBeta(start=beta).double()(VALUES).detach()
    x = VALUES.numpy()
    np.testing.assert_allclose(out, x * expit(beta * x), rtol=1e-12)


@pytest.mark.parametrize("beta", BETAS)
def test_gradients(beta):
    """Derived on paper, with s the sigmoid: s + beta x s (1 - s) for x, and the sum of x^2 s (1 - s) for beta."""
    module, x = SwishBeta(start=beta).double(), VALUES.clone().requires_grad_()
    module(x).sum().backward()
    values = VALUES.numpy()
    s = expit(beta * values)
    np.testing.assert_allclose(x.grad, s + beta * values * s * (1 - s), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(module.beta.grad, (values**2 * s * (1 - s)).sum(), rtol=1e-12)


def test_is_silu_as_it_starts():
    torch.testing.assert_close(SwishBeta().double()(VALUES), nn.functional.silu(VALUES))


@pytest.mark.parametrize("beta", [1.0, 50.0])
def test_nears_relu(beta):
    """The largest distance from max(0, x) is W(1/e) / beta, W Lambert's: where z sigmoid(-z) is largest, z = beta x."""
    x = torch.linspace(-6, 6, 4801, dtype=torch.float64) / beta
    distance = (SwishBeta(start=beta).double()(x) - x.relu()).abs().max()
    assert distance.item() == pytest.approx(lambertw(exp(-1)).real / beta, rel=1e-5)


def test_learns_beta():
    """Beta goes from SiLU's to that of the values it is shown."""
    module, aim = SwishBeta().double(), VALUES * torch.sigmoid(2.5 * VALUES)
    optimizer = torch.optim.LBFGS(
        [module.beta], tolerance_grad=1e-14, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )

    def loss():
        optimizer.zero_grad()
        error = (module(VALUES) - aim).square().mean()
        error.backward()
        return error

    for _ in range(5):
        optimizer.step(loss)
    assert module.beta.item() == pytest.approx(2.5, rel=1e-6)


@pytest.mark.parametrize("start", [inf, -inf, nan])
def test_refused_start(start):
    with pytest.raises(SpecError) as error:
        SwishBeta(start=start)
    assert str(error.value) == f"activation swish_beta(start={start}): start must be finite"
