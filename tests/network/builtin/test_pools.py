"""Pools before the classifier by their formulas in numpy."""

import numpy as np
import pytest
import torch

from resnet_lab.core.errors import SpecError
from resnet_lab.network.builder import build
from resnet_lab.network.cost import measure
from resnet_lab.network.plugins import load
from resnet_lab.network.spec import Component

BUILT_IN = load(only=())


@pytest.mark.parametrize(
    ("text", "formula"),
    [
        ("average", lambda x: x.mean((2, 3), keepdims=True)),
        ("maximum", lambda x: x.max((2, 3), keepdims=True)),
        ("average_maximum", lambda x: (x.mean((2, 3), keepdims=True) + x.max((2, 3), keepdims=True)) / 2),
        (
            "concatenation",
            lambda x: np.concatenate([x.mean((2, 3), keepdims=True), x.max((2, 3), keepdims=True)], axis=1),
        ),
        ("gem", lambda x: (np.maximum(x, 1e-6) ** 3).mean((2, 3), keepdims=True) ** (1 / 3)),
        ("gem(p=1.5,eps=0.1)", lambda x: (np.maximum(x, 0.1) ** 1.5).mean((2, 3), keepdims=True) ** (1 / 1.5)),
    ],
)
def test_formula(text: str, formula) -> None:
    x = torch.randn(2, 3, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    module = BUILT_IN.bind("pool", Component.parse(text), "here")(3).double()
    np.testing.assert_allclose(module(x).detach().numpy(), formula(x.numpy()))


def test_it_precedes_the_classifier() -> None:
    """And its parameters are counted there."""
    network, plain = build("resnet20", pool="gem"), build("resnet20")
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    features = network.eval().features(x)
    pooled = features.clamp_min(1e-6).pow(3).mean((2, 3)).pow(1 / 3)
    torch.testing.assert_close(network(x), pooled @ network.fc.weight.T + network.fc.bias)
    assert network.state_dict().keys() - plain.state_dict().keys() == {"avgpool.p"}
    from resnet_lab.network import zoo

    costs = [measure(zoo.get("resnet20").modified(pool=pool)).stages[-1].parameters for pool in ("average", "gem")]
    assert costs == [650, 651]


def test_a_pool_with_more_channels_has_a_classifier_of_as_many() -> None:
    network = build("resnet20", pool="concatenation").eval()
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    features = network.features(x)
    pooled = torch.cat((features.mean((2, 3)), features.amax((2, 3))), dim=1)
    assert network.fc.in_features == 128
    torch.testing.assert_close(network(x), pooled @ network.fc.weight.T + network.fc.bias)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gem(p=0.0)", "head: pool gem(p=0.0): p must be positive and finite"),
        ("gem(eps=-1.0)", "head: pool gem(eps=-1.0): eps must be positive and finite"),
        ("mean", "head: unknown pool 'mean'; known: average, average_maximum, concatenation, gem, maximum"),
        ("gem@2", "gem: resnet20 has no such part in stage 2; leave out what follows @"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(SpecError) as failure:
        build("resnet20", pool=text)
    assert str(failure.value) == message
