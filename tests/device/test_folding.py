import pytest
import torch
import torchvision
from torch import Tensor, nn

import resnet_lab
from resnet_lab.device.folding import folded
from tests.device.networks import lived_in


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def test_by_hand() -> None:
    """w' = 2 * 4 / sqrt(3 + 1) = 4 and b' = (0.5 - 1) * 4 / 2 + 5 = 4."""
    conv, norm = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=1.0)
    values = {conv.weight: 2, conv.bias: 0.5, norm.running_mean: 1, norm.running_var: 3, norm.weight: 4, norm.bias: 5}
    for tensor, value in values.items():
        nn.init.constant_(tensor, value)
    network = folded(nn.Sequential(conv, norm))
    (left,) = (module for module in network.modules() if not list(module.children()))
    assert (left.weight.item(), left.bias.item()) == (4, 4)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_a_folded_network_gives_torchvision_s_outputs(name: str) -> None:
    theirs = lived_in(getattr(torchvision.models, name)(num_classes=7)).double().eval()
    ours = resnet_lab.build(name, num_classes=7).double()
    ours.load_state_dict(theirs.state_dict())
    network = folded(ours)
    assert (norms(ours), norms(network)) == (norms(theirs), 0)
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.inference_mode():
        torch.testing.assert_close(network(x), theirs(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "changes",
    [
        {"act": "gelu"},
        {"conv": "depthwise"},
        {"conv": "separable", "act": "silu"},
        {"attn": "cbam(norm=true)", "act": "gelu"},
        {"attn": "se", "dropout": 0.5, "head_dropout": 0.5},
        {"shortcut": "pooled_projection"},
        {"shortcut": "projection"},
        {"stem": "patchify(size=3)", "downsample": "blur", "pool": "gem"},
        {"stem": "deep", "downsample": "average", "pool": "maximum"},
    ],
    ids=str,
)
def test_every_batch_norm_is_folded(changes: dict) -> None:
    model = lived_in(resnet_lab.build("resnet20", num_classes=7, **changes)).train()
    network = folded(model)
    assert norms(model) > 0
    assert norms(network) == 0
    assert model.training
    x = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(network(x), model.eval()(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {"attn": "bam"},
        {"attn": "gc"},
        {"attn": "coord"},
        {"attn": "strip(init=identity)"},
        {"attn": "ela"},
        {"block": "sk_basic(split=true)", "pool": "concatenation"},
        {"stem": "space_to_depth", "downsample": "blur(padding=reflect)"},
        {"stem": "deep(pool=max_blur)", "downsample": "max_blur", "pool": "average_maximum", "drop_path": 0.5},
        {"conv": "ws", "norm": "batch@2"},
        {"conv": "partial", "norm": "frozen_batch"},
        {"conv": "ghost", "norm": "filter_response", "act": "prelu"},
        {"norm": "instance"},
    ],
    ids=str,
)
def test_networks_are_traced_and_folded_in_part(changes: dict) -> None:
    """Norms within gates, behind convolutions of their own kinds, and other norms stay."""
    model = lived_in(resnet_lab.build("resnet20", num_classes=7, **changes))
    network = folded(model)
    x = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(network(x), model.eval()(x), rtol=1e-4, atol=1e-4)


def test_other_norms_stay() -> None:
    model = resnet_lab.build("resnet20", num_classes=7, norm="group(groups=8)").eval()
    network = folded(model)
    x = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(network(x), model(x), rtol=0, atol=0)


class Pair(nn.Module):
    """A convolution and a batch norm, put together by `way`."""

    def __init__(self, way: str, conv: type[nn.Conv2d] = nn.Conv2d, track: bool = True) -> None:
        super().__init__()
        self.conv, self.bn = conv(2, 2, 3, padding=1), nn.BatchNorm2d(2, track_running_stats=track)
        self.way = way

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        if self.way == "convolution twice":
            return self.bn(self.conv(out))
        if self.way == "norm twice":
            return self.bn(self.bn(out))
        if self.way == "output elsewhere":
            return self.bn(out) + out
        if self.way == "norm first":
            return self.conv(self.bn(x))
        return self.bn(out)


class Standardised(nn.Conv2d):
    """A convolution of another meaning: arXiv:1903.10520."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return self._conv_forward(x, weight, self.bias)


@pytest.mark.parametrize(
    "model",
    [
        Pair("convolution twice"),
        Pair("norm twice"),
        Pair("output elsewhere"),
        Pair("norm first"),
        Pair("a class of its own", Standardised),
        Pair("by batch statistics", track=False),
    ],
    ids=lambda model: model.way,
)
def test_pairs_that_cannot_be_folded_are_left_as_they_are(model: Pair) -> None:
    if model.bn.track_running_stats:
        lived_in(model)
    network = folded(model)
    assert norms(network) == 1
    x = torch.randn(2, 2, 5, 5)
    torch.testing.assert_close(network(x), model.eval()(x), rtol=0, atol=0)


def test_a_pair_beside_another_way() -> None:
    """The comparison of the test above is not always the same code path."""
    model = lived_in(Pair("plain"))
    assert norms(folded(model)) == 0
