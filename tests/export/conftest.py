import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnet_lab.export.exported_model import ExportedModel, open_exported_model
from resnet_lab.network import checkpoint, zoo
from resnet_lab.network.builder import build
from resnet_lab.network.plugins import Registry, load
from resnet_lab.network.spec import ModelSpec
from resnet_lab.train.config import TrainConfig
from resnet_lab.train.training import train

CLASSES = ("still life", "portrait", "landscape")


@pytest.fixture(scope="session")
def registry() -> Registry:
    return load(only=[])


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run on 3 classes of 12, 12 and 40 images, its predictions not kept."""
    root, draw = tmp_path_factory.mktemp("private") / "paintings", np.random.default_rng(0)
    for name, colour, number in (("blue", 40, 12), ("green", 120, 12), ("red", 220, 40)):
        (root / name).mkdir(parents=True)
        for index in range(number):
            pixels = np.clip(draw.normal(colour, 40, (9, 12, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{index}.png")
    folder = root.parent / "run"
    config = TrainConfig(epochs=2, batch_size=16, precision="fp32", compile="off")
    train(tiny(), str(root), config, folder=folder, command=["resnet-lab", "train", f"--data={root}", "--epochs", "2"])
    shutil.rmtree(folder / "predictions")
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture
def exported_model(tmp_path: Path, registry: Registry) -> Callable[..., ExportedModel]:
    """Writes a weights file of a network with random weights, and opens it."""

    def make(spec: ModelSpec, number: int = 0) -> ExportedModel:
        path = tmp_path / "weights.safetensors"
        classes = (*CLASSES, *(str(index) for index in range(3, spec.head.num_classes)))[: spec.head.num_classes]
        channels = spec.in_channels
        checkpoint.save(
            path, build(spec, seed=number, registry=registry), spec,
            classes=classes, mean=(0.5,) * channels, std=(0.25,) * channels, registry=registry,
        )  # fmt: skip
        return open_exported_model(path, registry)

    return make


def tiny(**changes: object) -> ModelSpec:
    """A ResNet-20 with two stages of one block, for 3 classes of 16 pixels."""
    spec = zoo.get("resnet20").modified(num_classes=3, input_size=16)
    stages = tuple(stage.model_copy(update={"depth": 1}) for stage in spec.stages[:2])
    return spec.model_copy(update={"stages": stages}).modified(**changes)
