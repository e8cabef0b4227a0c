from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch._dynamo.utils import counters

import resnet_lab
from resnet_lab.core.errors import ConfigError
from resnet_lab.device import choose, inference, optimize_for_inference
from tests.device.networks import (
    SHAPE,
    Breaking,
    Choosing,
    Counting,
    Listener,
    lived_in,
    put_in_place_of_the_compiler,
    small,
)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    return put_in_place_of_the_compiler(monkeypatch)


def distance(a: Tensor, b: Tensor) -> float:
    """The largest difference, of the largest output."""
    return ((a.double() - b.double()).abs().max() / b.abs().max()).item()


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 0.02)])
def test_outputs_are_torchvision_s(precision: Any, tolerance: float) -> None:
    torch.manual_seed(0)
    theirs = lived_in(torchvision.models.resnet18(num_classes=7)).eval()
    ours = resnet_lab.build("resnet18", num_classes=7)
    ours.load_state_dict(theirs.state_dict())
    network = optimize_for_inference(ours, choose("cpu", precision))
    x = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        expected = theirs(x)
    assert distance(network(x), expected) < tolerance


@pytest.mark.parametrize(
    "changes",
    [
        {"act": "gelu", "attn": "cbam"},
        {"conv": "depthwise"},
        {"norm": "group(groups=8)"},
        {"norm": "layer", "attn": "eca"},
    ],
    ids=str,
)
def test_in_bf16_outputs_are_as_near_as_autocast_s(changes: dict) -> None:
    torch.manual_seed(0)
    model = lived_in(resnet_lab.build("resnet20", num_classes=7, **changes)).eval()
    placement = choose("cpu", "bf16")
    x = torch.randn(64, 3, 32, 32)  # the largest of few differences says little
    with torch.inference_mode():
        expected = model(x)
        with placement.autocast():
            usual = distance(model(x), expected)
    assert distance(optimize_for_inference(model, placement)(x), expected) < 2 * usual + 1e-3


def test_the_copy_is_ready_and_the_model_unchanged() -> None:
    model = lived_in(small(nn.Dropout(0.5)))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    network = optimize_for_inference(model, choose("cpu", "bf16"))
    x = torch.randn(SHAPE)
    outputs = network(x)
    assert (outputs.dtype, outputs.requires_grad) == (torch.float32, False)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.bfloat16}
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)
    nn.init.zeros_(model[0].weight)
    torch.testing.assert_close(network(x), outputs, rtol=0, atol=0)


def test_a_network_that_cannot_be_traced_is_not_folded() -> None:
    model, listener = lived_in(small(Choosing())), Listener()
    network = optimize_for_inference(model, choose("cpu", "bf16"), watcher=listener)
    (notes,) = listener.notes
    assert notes.startswith(
        "batch norms are not folded, as the network cannot be traced (TraceError: symbolically traced variables cannot "
        "be used as inputs to control flow"
    )
    x = torch.randn(SHAPE)
    assert distance(network(x), model.eval()(x).detach()) < 0.02
    norm = next(module for module in network.modules() if isinstance(module, nn.BatchNorm2d))
    torch.testing.assert_close(norm.running_var, model[1].running_var, rtol=0, atol=0)  # rounded to bf16 it would not
    assert model[1].running_var.data_ptr() != norm.running_var.data_ptr()


def test_a_plugin_may_make_float32_tensors() -> None:
    class Shifting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.conv(x + torch.linspace(0, 1, x.shape[-1]))
            return out

    model = small(Shifting())
    x = torch.randn(SHAPE)
    for folds in ((), (Choosing(),)):
        model = small(Shifting(), *folds)
        assert distance(optimize_for_inference(model, choose("cpu", "bf16"))(x), model.eval()(x).detach()) < 0.02


@pytest.mark.parametrize(
    ("requested", "images", "compiled"),
    [
        ("off", 10**9, False),
        ("on", None, True),
        ("max", 1, True),
        ("auto", None, False),
        ("auto", 4, False),
        ("auto", 10**9, True),
    ],
)
def test_it_is_compiled_where_that_was_asked_for_or_pays(
    counting: Counting, requested: Any, images: int | None, compiled: bool
) -> None:
    model, listener, x = lived_in(small()), Listener(), torch.randn(SHAPE)
    network = optimize_for_inference(model, choose("cpu", "fp32", requested), images, watcher=listener)
    for _ in range(2):
        torch.testing.assert_close(network(x), model.eval()(x), rtol=1e-5, atol=1e-5)
    assert counting.calls == compiled
    assert listener.notes == ["compiling the network for inference, which can take a minute"] * compiled


def test_it_pays_where_a_tenth_of_the_time_is_a_minute(monkeypatch: pytest.MonkeyPatch, counting: Counting) -> None:
    """Batches of 4 that take 0.5 s: 600 s are 4,800 images."""
    clock = iter(range(100))
    monkeypatch.setattr(inference, "perf_counter", lambda: next(clock) / 2)
    for images, calls in ((4800, 0), (4801, 1)):
        optimize_for_inference(small(), choose("cpu", "fp32"), images)(torch.randn(SHAPE))
        assert counting.calls == calls


def test_batches_of_another_shape_go_through_uncompiled(counting: Counting) -> None:
    model = lived_in(small())
    network = optimize_for_inference(model, choose("cpu", "fp32", "on"))
    for size in (4, 3, 4, 1):
        x = torch.randn(size, *SHAPE[1:])
        torch.testing.assert_close(network(x), model.eval()(x), rtol=1e-5, atol=1e-5)
    assert counting.calls == 1


def test_what_cannot_be_compiled(counting: Counting) -> None:
    model, listener, x = small(Choosing(), Breaking()), Listener(), torch.randn(SHAPE)
    network = optimize_for_inference(model, choose("cpu", "fp32"), 10**9, watcher=listener)
    torch.testing.assert_close(network(x), model.eval()(x))
    assert listener.notes[-1].startswith("not compiled: the network cannot be compiled here (Unsupported: ")
    with pytest.raises(ConfigError) as failure:
        optimize_for_inference(model, choose("cpu", "fp32", "on"))(x)
    assert str(failure.value).startswith("the network cannot be compiled here (Unsupported: ")
    assert str(failure.value).endswith("; use --compile off")


def test_a_network_that_fails_by_itself_fails_as_itself(counting: Counting) -> None:
    with pytest.raises(RuntimeError, match="to have 3 channels, but got 2 channels"):
        optimize_for_inference(small(), choose("cpu", "fp32", "on"))(torch.randn(4, 2, 8, 8))


@pytest.mark.slow
def test_weights_are_built_in_after_a_plain_compilation_of_the_same_class() -> None:
    """Packed for the kernels, and activations and additions made part of the convolutions."""
    model = lived_in(resnet_lab.build("resnet18", num_classes=7)).eval()
    x = torch.randn(2, 3, 32, 32)
    torch.compile(model)(x)
    counters.clear()
    network = optimize_for_inference(model, choose("cpu", "fp32", "on"))
    outputs = network(x)
    found = counters["inductor"]
    assert found["mkldnn_conv_weight_pack_matcher_count"] == 20
    assert found["mkldnn_unary_fusion_matcher_count"] + found["mkldnn_conv_binary_unary_fusion_matcher_count"] == 17
    with torch.inference_mode():
        assert distance(outputs, model.double()(x.double())) < 1e-5
