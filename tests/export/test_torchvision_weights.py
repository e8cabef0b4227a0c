from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torchvision import models

from resnet_lab.export.exported_model import ExportedModel, ExportError
from resnet_lab.export.torchvision_weights import CONSTRUCTORS, constructor_of, write_torchvision
from resnet_lab.network import zoo
from resnet_lab.network.builder import assemble
from tests.export.conftest import tiny


@pytest.mark.parametrize(
    "name", ["resnet18", "resnet50", *(pytest.param(name, marks=pytest.mark.long) for name in CONSTRUCTORS[5:9])]
)
def test_torchvision_loads_it_and_computes_the_same(
    name: str, exported_model: Callable[..., ExportedModel], tmp_path: Path
) -> None:
    original = exported_model(zoo.get(name).modified(num_classes=4, input_size=64))
    statistics = torch.Generator().manual_seed(0)
    for module in original.model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # or every running mean is 0
            torch.nn.init.normal_(module.running_mean, std=0.1, generator=statistics)
    agreement, facts = write_torchvision(original, tmp_path / "w.safetensors")
    assert facts == {"constructor": name, "num_classes": 4}
    assert agreement.probability < 1e-6
    network = models.get_model(facts["constructor"], num_classes=facts["num_classes"])
    network.load_state_dict(load_file(tmp_path / "w.safetensors"), strict=True)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(images), original.model(images), rtol=1e-4, atol=1e-5)


def test_metadata_of_the_file(exported_model: Callable[..., ExportedModel], tmp_path: Path) -> None:
    original = exported_model(zoo.get("resnet18").modified(num_classes=3, input_size=32))
    write_torchvision(original, tmp_path / "w.safetensors")
    with safe_open(tmp_path / "w.safetensors", "pt") as file:
        about = file.metadata()
    assert about["torchvision"] == "resnet18"
    assert about["classes"] == '["still life", "portrait", "landscape"]'
    assert (about["mean"], about["input_size"], about["spec_hash"]) == (
        "[0.5, 0.5, 0.5]", "32", original.metadata.spec.hash,
    )  # fmt: skip


def test_a_state_dict_of_tensors_alone(exported_model: Callable[..., ExportedModel], tmp_path: Path) -> None:
    original = exported_model(zoo.get("resnet18").modified(num_classes=3, input_size=32))
    write_torchvision(original, tmp_path / "w.pth")
    state = torch.load(tmp_path / "w.pth", weights_only=True)
    models.resnet18(num_classes=3).load_state_dict(state, strict=True)
    torch.testing.assert_close(state["fc.weight"], original.model.fc.weight.detach(), rtol=0, atol=0)


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_every_one_of_torchvision_s_networks_is_known(name: str) -> None:
    spec = zoo.get(name).modified(num_classes=7, input_size=96, head_dropout=0.2, dropout=0.1, name="mine")
    assert constructor_of(spec, "w") == name
    ours = assemble(spec, device="meta").model.state_dict()
    with torch.device("meta"):
        theirs = models.get_model(name, num_classes=7).state_dict()
    assert {key: tuple(tensor.shape) for key, tensor in ours.items()} == {
        key: tuple(tensor.shape) for key, tensor in theirs.items()
    }


def test_the_first_version_of_a_small_network_is_the_same() -> None:
    assert constructor_of(zoo.get("resnet34_v1"), "w") == "resnet34"


ALTERNATIVES = "export it with --to onnx or --to program"


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (zoo.get("resnet50").modified(act="gelu", attn="cbam@3,4", conv="depthwise"), (
            "resnet50, and its weights cannot be loaded there: it has activation gelu for relu in the stem; "
            "activation gelu for relu in stages 1 to 4; 3x3 convolution depthwise for dense in stages 1 to 4; "
            "attention cbam for none in stages 3 to 4"
        )),
        (zoo.get("resnet50_v1"), (
            "resnet50, and its weights cannot be loaded there: it has block bottleneck(stride_on=conv1) for bottleneck "
            "in stages 1 to 4"
        )),
        (zoo.get("resnet18").modified(in_channels=1, norm="batch(eps=0.001)@2"), (
            "resnet18, and its weights cannot be loaded there: it has input channels 1 for 3; norm batch(eps=0.001) "
            "for batch in stage 2"
        )),
        (zoo.get("resnet34d"), (
            "resnet34, and its weights cannot be loaded there: it has stem of 3x3/2 to 32 channels, 3x3/1 to 32 "
            "channels, 3x3/1 to 64 channels for 7x7/2 to 64 channels; shortcut pooled_projection for projection in "
            "stages 1 to 4"
        )),
    ],
)  # fmt: skip
def test_a_modified_network_is_refused_part_by_part(spec: zoo.ModelSpec, problem: str) -> None:
    with pytest.raises(ExportError) as failure:
        constructor_of(spec, "w")
    assert str(failure.value) == f"w: the network is not torchvision's {problem}; {ALTERNATIVES}"


def test_a_network_that_torchvision_does_not_have() -> None:
    with pytest.raises(ExportError) as failure:
        constructor_of(tiny(), "w")
    assert str(failure.value) == (
        f"w: none of torchvision's networks is 1+1 basic blocks of width 16, so its weights fit none; {ALTERNATIVES}"
    )
