import sys

import pytest
import timm
import torch
import torchvision

from resnet_lab.bench.peers import InexpressibleError, peer
from resnet_lab.core.errors import ConfigError
from resnet_lab.network import zoo

R18 = zoo.get("resnet18").modified(num_classes=7)
COUNT = {"gelu": {"act_layer": "gelu"}, "se": {"block_args": {"attn_layer": "se"}}}


def parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnext50_32x4d", "wide_resnet50_2"])
def test_torchvision_s_and_timm_s_own(name: str) -> None:
    spec = zoo.get(name).modified(num_classes=7)
    with torch.device("meta"):
        theirs, timms = peer("torchvision", spec), peer("timm", spec)
        expected = getattr(torchvision.models, name)(num_classes=7)
    assert {key: value.shape for key, value in theirs.state_dict().items()} == {
        key: value.shape for key, value in expected.state_dict().items()
    }
    assert parameters(timms) == parameters(theirs)


def test_timm_takes_activations_and_attentions() -> None:
    with torch.device("meta"):
        found = peer("timm", R18.modified(act="gelu", attn="cbam"))
        expected = timm.create_model("resnet18", num_classes=7, act_layer="gelu", block_args={"attn_layer": "cbam"})
    assert str(found) == str(expected)
    assert "CbamModule" in str(found)
    assert "GELU" in str(found)


@pytest.mark.parametrize(
    ("maker", "changes", "why"),
    [
        ("torchvision", {"act": "gelu"}, "torchvision cannot change act"),
        ("torchvision", {"attn": "cbam", "conv": "depthwise"}, "torchvision cannot change conv, attn"),
        ("torchvision", {"pool": "gem", "stem": "patchify"}, "torchvision cannot change stem, pool"),
        ("timm", {"downsample": "blur"}, "timm cannot change downsample"),
        ("torchvision", {"in_channels": 1}, "torchvision has no such network"),
        ("timm", {"conv": "depthwise"}, "timm cannot change conv"),
        ("timm", {"attn": "cbam(reduction=8)"}, "timm cannot change attn to cbam(reduction=8)"),
        ("timm", {"attn": "cbam@3"}, "timm cannot change single stages"),
        ("timm", {"norm": "group"}, "timm cannot change norm"),
    ],
)
def test_changes_that_peers_lack(maker: str, changes: dict[str, object], why: str) -> None:
    with pytest.raises(InexpressibleError) as failure:
        peer(maker, R18.modified(**changes))
    assert str(failure.value).startswith(why)


def test_networks_that_they_do_not_have() -> None:
    for maker in ("torchvision", "timm"):
        with pytest.raises(InexpressibleError, match=f"{maker} has no such network"):
            peer(maker, zoo.get("resnet20"))


def test_an_unknown_peer() -> None:
    with pytest.raises(ConfigError) as failure:
        peer("keras", R18)
    assert str(failure.value) == "unknown peer 'keras'; peers are torchvision, timm"


def test_timm_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError) as failure:
        peer("timm", R18)
    assert str(failure.value) == 'the peer timm is not installed: pip install "resnet-lab[bench]"'
