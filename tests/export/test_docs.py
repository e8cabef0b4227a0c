"""The code in docs/export.md, run on a network of the kind it speaks of."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from resnet_lab.export import export
from resnet_lab.export.exported_model import ExportedModel
from resnet_lab.network import zoo
from resnet_lab.network.plugins import Registry

PAGE = Path(__file__).parents[2] / "docs" / "export.md"
ONNX, PROGRAM, TORCHVISION, _ = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
def original(
    exported_model: Callable[..., ExportedModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ExportedModel:
    monkeypatch.chdir(tmp_path)
    return exported_model(zoo.get("resnet18").modified(num_classes=4, input_size=32))


@pytest.mark.slow
def test_onnx(original: ExportedModel, registry: Registry) -> None:
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package)
    export(original.weights, "onnx", Path("model.onnx"), registry=registry)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("picture.jpg", format="PNG")
    names: dict[str, Any] = {}
    exec(ONNX, names)
    with torch.no_grad():
        images = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
        wanted = original.model((images - 0.5) / 0.25).softmax(1)[0]
    np.testing.assert_allclose(names["scores"] / names["scores"].sum(), wanted.numpy(), atol=1e-5)
    assert names["classes"] == ["still life", "portrait", "landscape", "3"]


@pytest.mark.slow
def test_program(original: ExportedModel, registry: Registry) -> None:
    export(original.weights, "program", Path("model.pt2"), registry=registry)
    names: dict[str, Any] = {}
    exec(PROGRAM, names)
    torch.testing.assert_close(names["probabilities"], original.model(torch.zeros(8, 3, 32, 32)).softmax(1))


def test_torchvision(original: ExportedModel, registry: Registry) -> None:
    export(original.weights, "torchvision", Path("torchvision.safetensors"), registry=registry)
    names: dict[str, Any] = {}
    exec(TORCHVISION, names)
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(names["model"](images), original.model(images))
