import json
from collections.abc import Callable
from pathlib import Path

import pytest
import resnet_lab_simam
import torch
from torch import Tensor, nn

from resnet_lab.export.exported_model import ExportedModel, ExportError, open_exported_model
from resnet_lab.export.program import PROPERTIES, write_program
from resnet_lab.network import checkpoint, zoo
from resnet_lab.network.builder import build
from resnet_lab.network.plugins import Owner, PluginStatus, load, registered_by
from tests.export.conftest import tiny

_REGISTRY = load(only=[])

NAMES = {
    slot: [f"{name}(groups=4)" if (kind, name) == ("norm", "group") else name for name in _REGISTRY.names(kind)]
    for kind, slot in (
        ("activation", "act"), ("convolution", "conv"), ("attention", "attn"), ("norm", "norm"),
        ("shortcut", "shortcut"), ("stem", "stem"), ("downsample", "downsample"), ("pool", "pool"),
    )
}  # fmt: skip
CHANGES: list[dict[str, object]] = [
    {},
    *(
        {slot: names[number % len(names)] for slot, names in NAMES.items()}
        for number in range(max(map(len, NAMES.values())))
    ),
    {"attn": "cbam(norm=true, position=output)"},
    {"act": "gelu(approximate=tanh)", "conv": "depthwise", "attn": "eca", "norm": "layer"},
    {"block": "bottleneck(groups=2)", "shortcut": "projection"},
    {"block": "bottleneck(stride_on=conv1)", "shortcut": "projection"},
    {"dropout": 0.5, "head_dropout": 0.5},
    {"in_channels": 1},
]
"""Every component that comes with the program, in as few networks as hold them all, and some together."""


@pytest.mark.slow
@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_every_component_is_exported(
    changes: dict[str, object], exported_model: Callable[..., ExportedModel], tmp_path: Path
) -> None:
    original = exported_model(tiny(**changes))
    agreement, facts = write_program(original, tmp_path / "model.pt2")
    assert facts == {"properties": PROPERTIES}
    assert agreement.probability < 1e-6
    images = torch.rand(5, original.metadata.spec.in_channels, 16, 16, generator=torch.Generator().manual_seed(1))
    program = torch.export.load(tmp_path / "model.pt2").module()
    with torch.no_grad():
        torch.testing.assert_close(program(images), checkpoint.load(original.weights)(images), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_deep_stem(exported_model: Callable[..., ExportedModel], tmp_path: Path) -> None:
    original = exported_model(zoo.get("resnet18d").modified(num_classes=3, input_size=32))
    assert write_program(original, tmp_path / "model.pt2")[0].probability < 1e-6


def test_metadata_are_complete_and_without_paths(exported_model: Callable[..., ExportedModel], tmp_path: Path) -> None:
    original = exported_model(tiny())
    write_program(original, tmp_path / "model.pt2")
    files = {PROPERTIES: ""}
    torch.export.load(tmp_path / "model.pt2", extra_files=files)
    properties = json.loads(files[PROPERTIES])
    assert json.loads(properties["classes"]) == ["still life", "portrait", "landscape"]
    assert (json.loads(properties["mean"]), json.loads(properties["std"])) == ([0.5] * 3, [0.25] * 3)
    assert (properties["fit"], properties["input_size"]) == ("squash", "16")
    assert (tmp_path / "model.pt2").read_bytes().count(str(Path(checkpoint.__file__).parent).encode()) == 0


class Choosy(nn.Module):
    """Asks for the value of a pixel, which no exporter can know."""

    def forward(self, x: Tensor) -> Tensor:
        return x if float(x.sum()) > 0 else -x


def test_a_part_of_a_plugin_that_cannot_be_exported(
    exported_model: Callable[..., ExportedModel], tmp_path: Path
) -> None:
    original = exported_model(tiny())
    original.model.layer1.append(Choosy())
    original.metadata.plugins["lab-choosy"] = "1.0"
    with pytest.raises(ExportError) as failure:
        write_program(original, tmp_path / "model.pt2")
    assert str(failure.value).startswith(
        f"{original.weights}: the network has parts of lab-choosy 1.0 and cannot be exported to torch.export: "
    )
    assert "\n" not in str(failure.value)
    assert not (tmp_path / "model.pt2").exists()


def test_a_fault_of_our_own_is_not_hidden(exported_model: Callable[..., ExportedModel], tmp_path: Path) -> None:
    original = exported_model(tiny())
    original.model.layer1.append(Choosy())
    with pytest.raises(Exception) as failure:  # noqa: PT011 (whatever torch raises)
        write_program(original, tmp_path / "model.pt2")
    assert not isinstance(failure.value, ExportError)


def test_a_part_of_a_plugin_that_can_be_exported(tmp_path: Path) -> None:
    registry, owner = load(only=[]), Owner("resnet-lab-simam", "0.1")
    registry.add(*registered_by(resnet_lab_simam, owner))
    registry.plugins.append(PluginStatus("simam", owner, "loaded"))
    spec = tiny(attn="simam")
    checkpoint.save(tmp_path / "w.safetensors", build(spec, registry=registry), spec, registry=registry)
    original = open_exported_model(tmp_path / "w.safetensors", registry)
    assert original.metadata.plugins == {"resnet-lab-simam": "0.1"}
    write_program(original, tmp_path / "model.pt2")
    images = torch.rand(5, 3, 16, 16)
    torch.testing.assert_close(torch.export.load(tmp_path / "model.pt2").module()(images), original.model(images))
