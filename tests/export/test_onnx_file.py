import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from resnet_lab.device import onnx_graph
from resnet_lab.export.exported_model import ExportedModel, ExportError
from resnet_lab.export.onnx_file import write_onnx
from resnet_lab.network import checkpoint, zoo
from tests.export.conftest import tiny
from tests.export.test_program import CHANGES, Choosy


def require_same_outputs(original: ExportedModel, path: Path) -> None:
    """Compare what onnxruntime computes of a file with the weights file, on images of our own."""
    onnxruntime = pytest.importorskip("onnxruntime")
    spec = original.metadata.spec
    images = np.random.default_rng(5).normal(size=(5, spec.in_channels, spec.input_size, spec.input_size))
    images = images.astype(np.float32)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(["logits"], {"image": images})
    with torch.no_grad():
        wanted = checkpoint.load(original.weights)(torch.from_numpy(images))
    np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-4, atol=1e-4)


def export(original: ExportedModel, path: Path) -> dict[str, object]:
    for package in onnx_graph.PACKAGES:
        pytest.importorskip(package)
    agreement, facts = write_onnx(original, path)
    assert agreement.probability < 1e-5
    require_same_outputs(original, path)
    return facts


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "act": "gelu",
            "conv": "depthwise",
            "attn": "cbam",
            "norm": "group(groups=4)",
            "stem": "patchify(size=3)",
            "downsample": "blur",
            "pool": "gem",
        },
        {"act": "hardswish", "attn": "eca", "norm": "layer", "shortcut": "pooled_projection"},
    ],
    ids=str,
)
def test_onnxruntime_computes_the_same(
    changes: dict[str, object], exported_model: Callable[..., ExportedModel], tmp_path: Path
) -> None:
    facts = export(exported_model(tiny(**changes)), tmp_path / "model.onnx")
    assert (facts["input"], facts["output"]) == ("image", "logits")
    assert int(str(facts["opset"])) >= 18


@pytest.mark.slow
@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_every_component_is_exported(
    changes: dict[str, object], exported_model: Callable[..., ExportedModel], tmp_path: Path
) -> None:
    export(exported_model(tiny(**changes)), tmp_path / "model.onnx")


@pytest.mark.parametrize(
    "name",
    [
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("resnet18d", "resnext50_32x4d")),
        pytest.param("resnet50", marks=pytest.mark.long),
    ],
)
def test_large_networks(name: str, exported_model: Callable[..., ExportedModel], tmp_path: Path) -> None:
    export(exported_model(zoo.get(name).modified(num_classes=50, input_size=64)), tmp_path / "model.onnx")


@pytest.mark.slow
def test_metadata_are_complete_and_without_paths(exported_model: Callable[..., ExportedModel], tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    original = exported_model(tiny())
    export(original, tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    about = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(about["classes"]) == ["still life", "portrait", "landscape"]
    assert (json.loads(about["mean"]), json.loads(about["std"])) == ([0.5] * 3, [0.25] * 3)
    assert (about["fit"], about["input_size"], about["spec_hash"]) == ("squash", "16", original.metadata.spec.hash)
    shapes = [
        [each.dim_param or each.dim_value for each in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    ]
    assert shapes == [["batch", 3, 16, 16], ["batch", 3]]
    assert [path.name for path in tmp_path.iterdir() if "onnx" in path.name] == ["model.onnx"]
    assert (tmp_path / "model.onnx").read_bytes().count(str(Path(checkpoint.__file__).parent).encode()) == 0


@pytest.mark.slow
def test_weights_that_protobuf_cannot_hold_lie_beside_it(
    exported_model: Callable[..., ExportedModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxscript")
    monkeypatch.setattr("torch.onnx._internal.exporter._onnx_program._LARGE_MODEL_THRESHOLD", 1000)
    export(exported_model(tiny()), tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx.data").stat().st_size > 50_000


def test_a_part_of_a_plugin_that_cannot_be_exported(
    exported_model: Callable[..., ExportedModel], tmp_path: Path
) -> None:
    original = exported_model(tiny())
    original.model.layer1.append(Choosy())
    original.metadata.plugins["lab-choosy"] = "1.0"
    with pytest.raises(ExportError) as failure:
        write_onnx(original, tmp_path / "model.onnx")
    assert str(failure.value).startswith(
        f"{original.weights}: the network has parts of lab-choosy 1.0 and cannot be exported to ONNX: "
    )
