"""Quantised ONNX files, read by onnx and run by onnxruntime on images that PIL read."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import balanced_accuracy_score
from torch import nn

from resnet_lab.core.errors import ConfigError
from resnet_lab.device.folding import folded
from resnet_lab.device.onnx_graph import PACKAGES
from resnet_lab.export import export
from resnet_lab.export.exported_model import ExportedModel, ExportError
from resnet_lab.network import checkpoint
from resnet_lab.network.plugins import Registry
from tests.export.conftest import tiny

for package in PACKAGES:
    pytest.importorskip(package)


@pytest.fixture(scope="module")
def quantised(trained: Path, registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = shutil.copytree(trained, tmp_path_factory.mktemp("quantised") / "run")
    export(run, "onnx", int8=True, registry=registry)
    return run


def validation(run: Path, network: Any, properties: dict[str, str]) -> tuple[NDArray[Any], NDArray[Any]]:
    """True and predicted classes of the validation part, by a network of arrays, with what a file says of its input."""
    size, classes = int(properties["input_size"]), json.loads(properties["classes"])
    mean, std = (np.array(json.loads(properties[name]), dtype=np.float32) for name in ("mean", "std"))
    source = Path(json.loads((run / "run.json").read_text())["data"]["source"])
    with (run / "splits.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "val"]
    images = []
    for row in rows:
        pixels = Image.open(source / row["path"]).convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
        images.append(((np.asarray(pixels, dtype=np.float32) / 255 - mean) / std).transpose(2, 0, 1))
    return np.array([classes.index(row["label"]) for row in rows]), network(np.stack(images)).argmax(1)


def test_the_accuracy_that_is_recorded(quantised: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(quantised / "model.int8.onnx"), providers=["CPUExecutionProvider"])
    properties = session.get_modelmeta().custom_metadata_map
    about = json.loads(properties["int8"])
    model = checkpoint.load(quantised / "best.safetensors").eval()

    def float32(images: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            found: NDArray[np.float32] = model(torch.from_numpy(images)).numpy()
        return found

    labels, by_float32 = validation(quantised, float32, properties)
    _, by_int8 = validation(quantised, lambda images: session.run(["logits"], {"image": images})[0], properties)
    scores = [balanced_accuracy_score(labels, found) for found in (by_float32, by_int8)]
    assert [about["float32"], about["int8"]] == pytest.approx(scores)
    assert about["difference"] == pytest.approx(scores[1] - scores[0], abs=1e-12)
    assert (about["changed"], about["validation_images"]) == (int((by_float32 != by_int8).sum()), len(labels))
    low, high = about["interval"]
    assert low <= about["difference"] <= high
    assert about["calibration_images"] == (quantised / "splits.csv").read_text().count("train")


def weights_of(path: Path) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Integer weights of each convolution with their scales per output channel."""
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(path).graph
    tensors = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    made_by = {node.output[0]: node for node in graph.node}
    found = []
    for node in graph.node:
        if node.op_type == "Conv":
            weight, scale, _ = made_by[node.input[1]].input
            found.append((tensors[weight], tensors[scale]))
    return found


def test_weights_are_rounded_to_the_nearest_of_their_channel(quantised: Path) -> None:
    network = folded(checkpoint.load(quantised / "best.safetensors"))
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    found = weights_of(quantised / "model.int8.onnx")
    assert len(found) == len(convolutions) == 5
    for (integers, scales), module in zip(found, convolutions, strict=True):
        weight = module.weight.detach().numpy()
        assert integers.dtype == np.int8
        np.testing.assert_allclose(scales, np.abs(weight).max((1, 2, 3)) / 127, rtol=1e-5)
        distance = np.abs(integers * scales[:, None, None, None] - weight)
        assert (distance <= scales[:, None, None, None] * 0.501).all()


def test_seven_bits_without_vnni(run: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False)
    exported = export(run, "onnx", int8=True, registry=registry)
    assert exported.facts["int8"]["reduced_range"]
    assert max(int(np.abs(integers).max()) for integers, _ in weights_of(exported.path)) <= 64
    assert [path.name for path in run.iterdir() if "onnx" in path.name] == ["model.int8.onnx"]


def refused(weights: Path, registry: Registry, kind: type[Exception] = ExportError) -> str:
    with pytest.raises(kind) as failure:
        export(weights, "onnx", int8=True, registry=registry)
    return str(failure.value)


def test_a_weights_file_alone(exported_model: Callable[..., ExportedModel], registry: Registry) -> None:
    weights = exported_model(tiny()).weights
    assert refused(weights, registry) == (
        f"{weights}: int8 needs the images of the training, and a weights file names none; export the run folder"
    )


def test_images_that_are_gone(run: Path, registry: Registry) -> None:
    record = json.loads((run / "run.json").read_text())
    record["data"]["source"] = str(run / "gone")
    (run / "run.json").write_text(json.dumps(record))
    assert refused(run, registry).startswith(f"{run}: int8 needs the images of the training: {run}/gone")
    assert not (run / "model.int8.onnx").exists()


def test_a_part_that_is_gone(run: Path, registry: Registry) -> None:
    record = json.loads((run / "run.json").read_text())
    source = shutil.copytree(record["data"]["source"], run.parent / "paintings")
    for row in csv.DictReader((run / "splits.csv").read_text().splitlines()):
        if row["split"] == "val":
            (source / row["path"]).unlink()
    record["data"]["source"] = str(source)
    (run / "run.json").write_text(json.dumps(record))
    assert refused(run, registry) == (
        f"{run}: int8 needs the images of the validation part, and none of them can be read; restore them"
    )


def test_imported_weights(run: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "resnet_lab.evaluation.opened_run.OpenedRun.record", {"status": "imported", "data": {"source": ""}}
    )
    assert refused(run, registry) == (
        f"{run}: int8 needs the images of the training, and imported weights have none; "
        "export a run of `resnet-lab train`"
    )


def test_other_formats(run: Path, registry: Registry) -> None:
    with pytest.raises(ConfigError) as failure:
        export(run, "program", int8=True, registry=registry)
    assert str(failure.value) == "int8 is for onnx, not for program; leave it out, or export to onnx"
