"""Named networks of timm, made of the program's parts, give timm's outputs on timm's weights. Legend: N C H W."""

import pytest
import timm
import torch
from torch import nn

from resnet_lab.network import zoo
from resnet_lab.network.builder import assemble, build
from resnet_lab.network.spec import ModelSpec
from resnet_lab.network.weights import load_weights
from resnet_lab.network.weights.sources import Weights

NETWORKS: dict[str, tuple[str, dict[str, str]]] = {
    "resnet18d": ("resnet18d", {}),
    "resnet26t": ("resnet26t", {}),
    "resnet50d": ("resnet50d", {}),
    "resnet50t": ("resnet50", {"stem": "deep_tiered", "shortcut": "pooled_projection"}),
    "resnet101d": ("resnet101d", {}),
    "seresnet50": ("resnet50", {"attn": "se"}),
    "ecaresnet50d": ("resnet50d", {"attn": "eca"}),
    "resnetblur50": ("resnet50", {"stem": "plain(pool=max_blur)", "downsample": "blur(padding=reflect)"}),
    "resnetaa50": ("resnet50", {"stem": "plain(pool=average)", "downsample": "average"}),
    "skresnet18": ("resnet18", {"block": "sk_basic(reduction=8, least=16, split=true)"}),
    "skresnet50d": ("resnet50d", {"block": "sk_bottleneck(least=8, split=true)"}),
    "gcresnet50t": ("resnet50", {"stem": "deep_tiered(pool=stride)", "attn": "gc(position=inner)"}),
    "wide_resnet50_2": ("wide_resnet50_2", {}),
}
"""timm's name: the zoo's network and its changes."""

FAST = ("resnet18d", "skresnet18")
SIDE = 64


def spec_of(name: str) -> ModelSpec:
    base, changes = NETWORKS[name]
    return zoo.get(base).modified(num_classes=10, input_size=SIDE, **changes)


def trained(model: nn.Module) -> nn.Module:
    """The model in evaluation mode, its norms and gates with values such as training leaves behind."""
    draw = torch.Generator().manual_seed(0)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight")):
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=draw))
        elif tensor.is_floating_point() and (tensor.ndim == 1 or not tensor.any()):
            tensor.copy_(0.1 * torch.randn(tensor.shape, generator=draw))
    return model.eval()


@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS]
)
def test_outputs_are_timm_s_on_its_weights(name: str) -> None:
    """The weights are taken under timm's names, and all of them are."""
    torch.manual_seed(0)
    theirs = trained(timm.create_model(name, num_classes=10))
    spec = spec_of(name)
    ours = build(spec).eval()
    tensors = {key: tensor for key, tensor in theirs.state_dict().items() if tensor.is_floating_point()}
    coverage = load_weights(ours, spec, Weights(name=name, tensors=tensors))
    assert coverage.total("unused").names == coverage.total("new").names == ()
    x = torch.randn(2, 3, SIDE, SIDE)
    with torch.no_grad():
        expected, out = theirs(x), ours(x)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters_are_as_many_as_timm_s(name: str) -> None:
    with torch.device("meta"):
        theirs = timm.create_model(name, num_classes=10)
    ours = assemble(spec_of(name), device="meta").model
    assert sum(each.numel() for each in ours.parameters()) == sum(each.numel() for each in theirs.parameters())
