from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import nn

from resnet_lab.network.builder import build
from tests.network.test_zoo import TORCHVISION

SMALLER = ("resnet18", "resnet34", "resnet50", "resnext50_32x4d")
"""Than takes seconds in float64."""


def gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize(
    "name", [name if name in SMALLER else pytest.param(name, marks=pytest.mark.slow) for name in TORCHVISION]
)
def test_torchvision_s_network_is_ours(name: str, training: bool) -> None:
    """Same keys and shapes, strict loading both ways, equal logits and gradients in float64."""
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(name, num_classes=10).double()
    ours = build(name, num_classes=10).double()
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}
    theirs.load_state_dict(ours.state_dict(), strict=True)
    for parameter in theirs.parameters():
        if parameter.ndim == 1:
            nn.init.uniform_(parameter, 0.5, 1)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(2, 3, 33, 40, dtype=torch.float64)
    outputs = [model.train(training)(x) for model in (ours, theirs)]
    torch.testing.assert_close(*outputs, rtol=1e-10, atol=1e-10)
    if not training:
        return
    for output in outputs:
        output.square().sum().backward()
    torch.testing.assert_close(gradients(ours), gradients(theirs), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", ["resnet18d", "resnet50d"])
def test_timm_s_resnet_d_is_ours(name: str) -> None:
    torch.manual_seed(0)
    theirs = timm.create_model(name, num_classes=10).double()
    ours = build(name, num_classes=10).double()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(2, 3, 65, 48, dtype=torch.float64)
    torch.testing.assert_close(ours.train()(x), theirs.train()(x), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=1e-10, atol=1e-10)


OUR_NAMES = {
    "cbam": {
        "se.channel.fc1": "attn.fc1", "se.channel.fc2": "attn.fc2",
        "se.spatial.conv.conv": "attn.conv", "se.spatial.conv.bn": "attn.bn",
    },
    "se": {"se.fc1": "attn.fc1", "se.fc2": "attn.fc2"},
    "eca": {"se.conv": "attn.conv"},
}  # fmt: skip


@pytest.mark.parametrize(("theirs_attn", "ours_attn"), [("cbam", "cbam(norm=true)"), ("se", "se"), ("eca", "eca")])
def test_attention_is_placed_as_in_timm(theirs_attn: str, ours_attn: str) -> None:
    """A whole ResNet-50, weights mapped by name; timm rounds no hidden width here (C / 16 is at least 16)."""
    torch.manual_seed(0)
    theirs = timm.create_model("resnet50", num_classes=10, block_args={"attn_layer": theirs_attn}).double()
    ours = build("resnet50", num_classes=10, attn=ours_attn).double()
    state = {}
    for name, tensor in theirs.state_dict().items():
        for old, new in OUR_NAMES[theirs_attn].items():
            name = name.replace(f".{old}.", f".{new}.")
        state[name] = tensor
    ours.load_state_dict(state, strict=True)
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    torch.testing.assert_close(ours.train()(x), theirs.train()(x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("name", "strides"), [("resnet50", (1, 2)), ("resnet50_v1", (2, 1))])
def test_the_stride_of_v1_and_v1_5(name: str, strides: tuple[int, int]) -> None:
    block: Any = build(name).get_submodule("layer2.0")
    assert tuple(conv.stride[0] for conv in (block.conv1, block.conv2)) == strides


def test_a_block_by_hand() -> None:
    """One pixel, all weights known: relu(bn2(conv2(relu(bn1(conv1 x)))) + x)."""
    block: Any = build("resnet20", in_channels=1).get_submodule("layer1.0")
    block.eval()
    with torch.no_grad():
        for conv, centre in ((block.conv1, 2.0), (block.conv2, -0.5)):
            conv.weight.zero_()
            conv.weight[:, :, 1, 1] = torch.eye(16) * centre
        for norm in (block.bn1, block.bn2):
            norm.running_var.fill_(1 - norm.eps)
            norm.bias.fill_(1.0)
    x = torch.full((1, 16, 1, 1), 3.0)
    assert block(x).flatten().tolist() == pytest.approx([-0.5 * (2 * 3 + 1) + 1 + 3] * 16)


def test_features_are_what_is_pooled() -> None:
    model = build("resnet18", num_classes=5).eval()
    x = torch.randn(2, 3, 64, 64)
    features = model.features(x)
    assert features.shape == (2, 512, 2, 2)
    torch.testing.assert_close(model(x), model.fc(features.mean((2, 3))))


@pytest.mark.slow
@pytest.mark.parametrize("attn", ["none", "cbam"])
def test_a_network_compiles_whole(attn: str) -> None:
    model = build("resnet20", attn=attn).eval()
    x = torch.randn(2, 3, 32, 32)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), model(x))
