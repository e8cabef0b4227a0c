"""Names that no file can have: too long for a file system, or with a NUL."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resnet_lab.core.errors import ResNetLabError
from resnet_lab.core.run_folder import weights_of
from resnet_lab.data.class_names import read_class_map
from resnet_lab.data.image_files import image_files
from resnet_lab.data.sources.named import Named
from resnet_lab.data.sources.shards import open_shards
from resnet_lab.data.sources.torchvision_sets import open_torchvision
from resnet_lab.export.exported_model import open_exported_model
from resnet_lab.network import checkpoint, zoo
from resnet_lab.network.plugins import load
from resnet_lab.network.weights.sources import open_weights
from resnet_lab.recipes.recipe import read_recipe
from resnet_lab.study.design_files import read_tables
from resnet_lab.study.search import noted
from resnet_lab.study.trials import StudyFolder

OPENED: dict[str, Callable[[str], Any]] = {
    "recipe": read_recipe,
    "recipe file": lambda name: read_recipe(f"{name}.toml"),
    "study": lambda name: read_tables(Path(name)),
    "study file": lambda name: read_tables(Path(f"{name}.toml")),
    "weights": lambda name: open_weights(name, zoo.get("resnet18")),
    "pickled weights": lambda name: open_weights(f"{name}.pth", zoo.get("resnet18")),
    "safetensors": lambda name: open_weights(f"{name}.safetensors", zoo.get("resnet18")),
    "weights and key": lambda name: open_weights(f"{name}.pth:key", zoo.get("resnet18")),
    "own weights": checkpoint.read,
    "weights of a run": lambda name: checkpoint.read(weights_of(Path(name))),
    "exported": lambda name: open_exported_model(Path(name), load(only=[])),
    "image": lambda name: image_files([name]),
    "pattern": lambda name: image_files([f"{name}*.png"]),
    "shards": lambda name: open_shards(f"wds:{name}.tar"),
    "images of torchvision": lambda name: open_torchvision(
        Named.parse("torchvision", f"CIFAR10(root='{name}')"), False
    ),
    "study folder": lambda name: StudyFolder(Path(name)).study(),
    "search folder": lambda name: noted(Path(name)),
    "class map": lambda name: read_class_map([name]),
}


@pytest.mark.parametrize("name", ["q" * 300, "a\0b"], ids=["long", "nul"])
@pytest.mark.parametrize("kind", OPENED)
def test_it_is_one_sentence(kind: str, name: str) -> None:
    with pytest.raises(ResNetLabError, match=rf"{name}|a\\x00b") as failure:
        OPENED[kind](name)
    assert "\n" not in str(failure.value)


def test_a_long_pair_of_a_class_map() -> None:
    assert read_class_map([f"{'q' * 300}=b"]) == {"q" * 300: "b"}
