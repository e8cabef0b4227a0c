"""Layouts of public weights: how others name the parts of a ResNet, and which network some names tell of."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from resnet_lab import zoo
from resnet_lab.spec import ModelSpec
from resnet_lab.weights.kinship import anatomy_of

_CLASSIFIER = re.compile(r"linear\.(weight|bias)")
_SHORTCUT = re.compile(r"(layer\d+\.\d+)\.shortcut\.")

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Layout:
    """A public code base whose weights are known by their names.

    Attributes:
        spec: its network, with the parts that have no parameters.
        mean: of each input channel, on a scale of [0, 1], that it normalises images with.
    """

    name: str
    spec: ModelSpec
    mean: tuple[float, ...]
    std: tuple[float, ...]


def with_own_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under torchvision's names, as far as the parts are known under others."""
    return {_SHORTCUT.sub(r"\1.downsample.", _CLASSIFIER.sub(r"fc.\1", name)): each for name, each in tensors.items()}


def layout_of(tensors: Mapping[str, Tensor]) -> Layout | None:
    """The layout of tensors that have the names of their author; None where it is none of the known.

    The public CIFAR ResNets with option-A shortcuts (github.com/akamaster/pytorch_resnet_cifar10) have a classifier
    named `linear` and shortcuts without parameters, whose zeros stand on both sides of the old channels.
    """
    found = anatomy_of(tensors)
    cifar = found.blocks == ("basic",) * 3 and found.widths == (16, 32, 64) and len(set(found.depths)) == 1
    if not cifar or "linear.weight" not in tensors or any(".shortcut." in name for name in tensors):
        return None
    resnet20 = zoo.get("resnet20")
    stages = tuple(stage.model_copy(update={"depth": found.depths[0]}) for stage in resnet20.stages)
    spec = resnet20.model_copy(update={"name": f"resnet{6 * found.depths[0] + 2}", "stages": stages})
    return Layout(
        "pytorch_resnet_cifar10",
        spec.modified(shortcut="zero_pad(zeros=both)", num_classes=len(tensors["linear.weight"])),
        IMAGENET_MEAN,
        IMAGENET_STD,
    )
