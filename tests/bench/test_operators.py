import time
import warnings

import pytest
import torch
from torch import nn

from resnet_lab.bench.operators import activations, largest_output, operators, timed
from resnet_lab.network import cost, zoo
from resnet_lab.network.builder import assemble
from resnet_lab.network.spec import ModelSpec
from tests.references.counts import count

GIGA = {
    "resnet18": 1.814, "resnet34": 3.664, "resnet50": 4.089, "resnet101": 7.801, "resnet152": 11.514,
    "resnet50_v1": 3.858, "resnet101_v1": 7.570, "resnet152_v1": 11.282,
}  # fmt: skip
"""Multiply-adds at 224 pixels, in 10^9."""

TINY = ModelSpec.model_validate(
    {
        "name": "tiny",
        "input_size": 8,
        "stem": {"convs": [{"out_channels": 2, "kernel_size": 3, "stride": 2}]},
        "stages": [{"depth": 1, "width": 2, "out_channels": 2, "stride": 1, "block": {"kind": "basic"}}],
        "head": {"num_classes": 5},
    }
)


def traced(spec: ModelSpec) -> list:
    model = assemble(spec, device="meta").model
    return operators(model, (1, spec.in_channels, spec.input_size, spec.input_size))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("resnet18", "resnet50_v1", "resnet20") else pytest.mark.slow)
        for name in zoo.names()
    ],
)
def test_three_counts_of_every_network_agree(name: str) -> None:
    """Torch's counter, operator by operator; fvcore; and the closed formula."""
    spec = zoo.get(name)
    found = sum(each.macs for each in traced(spec))
    assert found == count(spec)[1] == cost.measure(spec).macs
    assert found == fvcore_s(spec)
    if name in GIGA:
        assert round(found / 1e9, 3) == GIGA[name]


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"conv": "separable", "attn": "se"}, {"attn": "eca", "norm": "group"},
        {"act": "gelu", "conv": "depthwise", "attn": "cbam"},
    ],
    ids=str,
)  # fmt: skip
def test_and_of_every_modification(changes: dict[str, str]) -> None:
    spec = zoo.get("resnet50").modified(**changes)
    found = traced(spec)
    assert sum(each.macs for each in found) == cost.measure(spec).macs
    assert sum(each.macs for each in found) == fvcore_s(spec)


def fvcore_s(spec: ModelSpec) -> int:
    """Convolutions and matrix products as fvcore counts them."""
    with warnings.catch_warnings(action="ignore"):  # fvcore compiles and traces as torch no longer likes it
        from fvcore.nn import FlopCountAnalysis

        x = torch.zeros(1, spec.in_channels, spec.input_size, spec.input_size)
        analysis = FlopCountAnalysis(assemble(spec).model.eval(), x)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        counts = analysis.by_operator()
    return int(sum(number for kind, number in counts.items() if kind in ("conv", "linear", "matmul")))


def test_a_network_by_hand() -> None:
    """8x8 -> 2 x 4x4 after the stem -> 2 x 2x2 after the pool and in the stage -> 5 classes."""
    found = [each for each in traced(TINY) if each.kind.startswith(("conv", "linear", "add", "relu"))]
    assert [(each.kind, each.stage, each.macs, each.read, each.written, each.weights) for each in found] == [
        ("convolution 3x3", "stem", 54 * 16, 192 + 54, 32, 54),
        ("relu", "stem", 0, 32, 32, 0),
        ("convolution 3x3", "layer1", 36 * 4, 8 + 36, 8, 36),
        ("relu", "layer1", 0, 8, 8, 0),
        ("convolution 3x3", "layer1", 36 * 4, 8 + 36, 8, 36),
        ("add", "layer1", 0, 16, 8, 0),
        ("relu", "layer1", 0, 8, 8, 0),
        ("linear", "head", 10, 2 + 10 + 5, 5, 15),
    ]
    assert activations(traced(TINY)) == 32 + 8 + 8 + 5
    assert found[0].nbytes(2) == 2 * (192 + 54 + 32)
    assert largest_output(traced(TINY)) == 192 + 32


def test_kinds_of_convolutions() -> None:
    kinds = {each.kind for each in traced(zoo.get("resnext50_32x4d").modified(attn="cbam"))}
    assert {"convolution 7x7", "convolution 1x1", "convolution 3x3 in 32 groups", "batch_norm", "amax"} <= kinds
    assert "depthwise 3x3" in {each.kind for each in traced(zoo.get("resnet18").modified(conv="depthwise"))}


class Slow(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(x)
        time.sleep(0.02)  # between operators, and so nobody's
        return x @ x


def test_the_time_of_each_operator() -> None:
    x = torch.randn(700, 700)
    (relu, fast), (product, slow) = timed(Slow(), x)
    assert (relu.kind, product.kind, product.macs) == ("relu", "linear", 700**3)
    assert fast < slow < 0.5
    assert fast < 0.01
