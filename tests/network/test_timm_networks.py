"""Named networks of timm, made of the program's parts, give timm's outputs on timm's weights. Legend: N C H W."""

from typing import Any

import pytest
import timm
import torch
from timm.models import resnet
from torch import nn

from resnet_lab.network import zoo
from resnet_lab.network.builder import assemble, build
from resnet_lab.network.model import ResNet
from resnet_lab.network.spec import ModelSpec
from resnet_lab.network.weights import load_weights
from resnet_lab.network.weights.layouts import with_stages
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
    coverage = load_weights(ours, spec, Weights(name=name, tensors=with_stages(tensors)))
    assert coverage.total("unused").names == coverage.total("new").names == ()
    x = torch.randn(2, 3, SIDE, SIDE)
    with torch.no_grad():
        expected, out = theirs(x), ours(x)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnetblur50", "resnetaa50"])
def test_anti_aliased_outputs_are_timm_s_in_double_precision(name: str) -> None:
    """Where rounding is 1e-16, a filter, a padding or a mean that differed at the edge alone would show."""
    torch.manual_seed(0)
    theirs = trained(timm.create_model(name, num_classes=10)).double()
    spec = spec_of(name)
    ours = build(spec).eval()
    tensors = {key: tensor for key, tensor in theirs.state_dict().items() if tensor.is_floating_point()}
    load_weights(ours, spec, Weights(name=name, tensors=with_stages(tensors)))
    ours.double()
    x = torch.randn(2, 3, SIDE, SIDE, dtype=torch.float64)
    with torch.no_grad():
        expected, out = theirs(x), ours(x)
    torch.testing.assert_close(out, expected, rtol=1e-6, atol=1e-6 * expected.abs().max().item())


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters_are_as_many_as_timm_s(name: str) -> None:
    with torch.device("meta"):
        theirs = timm.create_model(name, num_classes=10)
    ours = assemble(spec_of(name), device="meta").model
    assert sum(each.numel() for each in ours.parameters()) == sum(each.numel() for each in theirs.parameters())


RESNETS: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    "output_stride=16": ({"output_stride": 16}, "resnet26", {"dilate": [4]}),
    "output_stride=8": ({"output_stride": 8}, "resnet26", {"dilate": [3, 4]}),
    "avg_down, output_stride=8": (
        {"avg_down": True, "output_stride": 8},
        "resnet26",
        {"shortcut": "pooled_projection", "dilate": [3, 4]},
    ),
    "avg_down, output_stride=16, of basic blocks": (
        {"block": resnet.BasicBlock, "avg_down": True, "output_stride": 16},
        "resnet18",
        {"shortcut": "pooled_projection", "dilate": [4]},
    ),
    "output_stride of basic blocks": ({"block": resnet.BasicBlock, "output_stride": 8}, "resnet18", {"dilate": [3, 4]}),
    "block_reduce_first": ({"block_reduce_first": 2}, "resnet26", {"block": "bottleneck(reduce_first=2)"}),
    "down_kernel_size": ({"down_kernel_size": 3}, "resnet26", {"shortcut": "projection(kernel_size=3)"}),
    "replace_stem_pool": ({"replace_stem_pool": True}, "resnet26", {"stem": "plain(pool=conv)"}),
    "cardinality": ({"cardinality": 2, "base_width": 32}, "resnet26", {"block": "bottleneck(groups=2)"}),
    "act_layer": ({"act_layer": "gelu"}, "resnet26", {"act": "gelu"}),
    "in_chans": ({"in_chans": 1}, "resnet26", {"in_channels": 1}),
    "max": ({"global_pool": "max"}, "resnet26", {"pool": "maximum"}),
    "avgmax": ({"global_pool": "avgmax"}, "resnet26", {"pool": "average_maximum"}),
    "catavgmax": ({"global_pool": "catavgmax"}, "resnet26", {"pool": "concatenation"}),
    "drop_path_rate": ({"drop_path_rate": 0.5}, "resnet26", {"drop_path": 0.5}),
    "drop_rate": ({"drop_rate": 0.5}, "resnet26", {"head_dropout": 0.5}),
}
"""Arguments of timm's ResNet, and ours."""


def pair(case: str) -> tuple[nn.Module, ResNet]:
    """timm's network and ours, an eighth as wide and on the same weights, in evaluation mode."""
    arguments, name, changes = RESNETS[case]
    arguments = {"block": resnet.Bottleneck, "channels": (8, 16, 32, 64), **arguments}
    torch.manual_seed(0)
    theirs = trained(resnet.ResNet(layers=(2, 2, 2, 2), num_classes=10, **arguments))
    basic = name == "resnet18"
    base = zoo.get("resnet18" if basic else "resnet26t").modified(num_classes=10, stem="plain", shortcut="projection")
    stages = tuple(
        stage.model_copy(update={"width": 8 << index, "out_channels": (8 if basic else 32) << index})
        for index, stage in enumerate(base.stages)
    )
    ours = build(base.model_copy(update={"stages": stages}), **changes).eval()
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


@pytest.mark.parametrize("case", RESNETS)
@pytest.mark.parametrize("training", [False, True])
def test_arguments_of_timm_s_resnet(case: str, training: bool) -> None:
    """In training the same seed draws the same branches and features to drop."""
    theirs, ours = (model.train(training) for model in pair(case))
    x = torch.randn(4, RESNETS[case][0].get("in_chans", 3), SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    outputs = []
    for model in (theirs, ours):
        torch.manual_seed(2)
        outputs.append(model(x))
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", [case for case in RESNETS if "output_stride" in case])
def test_dilated_outputs_are_timm_s(case: str) -> None:
    theirs, ours = pair(case)
    for side in (SIDE, 72):
        x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            expected, out = theirs(x), ours(x)
        torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


def test_features_only() -> None:
    theirs = trained(timm.create_model("resnet18", features_only=True))
    ours = build("resnet18").eval()
    ours.load_state_dict(theirs.state_dict(), strict=False)
    x = torch.randn(1, 3, SIDE, SIDE)
    with torch.no_grad():
        for expected, found in zip(theirs(x), ours.feature_maps(x), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
