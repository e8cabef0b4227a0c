"""Layouts of public weights: other projects' names of the parts of a ResNet, and networks inferred from names."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from torch import Tensor

from resnet_lab.network import zoo
from resnet_lab.network.spec import ModelSpec
from resnet_lab.network.weights.compatibility import anatomy_of

_NAMES = (
    (re.compile(r"(?:linear|head\.fc|head|classifier|last_linear)\.(weight|bias)"), r"fc.\1"),
    (re.compile(r"(layer\d+\.\d+)\.shortcut\.(.+)"), r"\1.downsample.\2"),
    (re.compile(r"(layer\d+\.\d+)\.(?:se|se_module)\.((?:fc1|fc2|conv)\..+)"), r"\1.attn.\2"),
    (re.compile(r"(layer\d+\.\d+)\.se\.channel\.((?:fc1|fc2)\..+)"), r"\1.attn.\2"),  # of timm's CBAM
    (re.compile(r"(layer\d+\.\d+)\.se\.spatial\.conv\.((?:conv|bn)\..+)"), r"\1.attn.\2"),
    (re.compile(r"layer0\.((?:conv1|bn1)\..+)"), r"\1"),  # of the SENet authors' ResNets
)
"""Parameter names of other projects, and torchvision's, which this program uses."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class WeightsLayout:
    """A public code base whose weights are known by their names.

    Attributes:
        spec: its network, with the parts that have no parameters.
        mean: of each input channel, on a scale of [0, 1], that it normalises images with.
        classes: names in the order of the logits; empty where not known.
    """

    name: str
    spec: ModelSpec
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...] = ()


def with_names_of(network: Collection[str], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the network's names, where it has a part that others call otherwise.

    A tensor whose name the network has keeps it, and so does one whose place another has taken.
    """
    renamed: dict[str, Tensor] = {name: tensor for name, tensor in tensors.items() if name in network}
    for name, tensor in tensors.items():
        own = _own_name(name, network)
        renamed[name if own in renamed else own] = tensor
    return renamed


def _own_name(name: str, network: Collection[str]) -> str:
    for pattern, own in _NAMES if name not in network else ():
        if (match := pattern.fullmatch(name)) and ((found := match.expand(own)) in network or ".downsample." in found):
            return found
    return name


def layout_of(tensors: Mapping[str, Tensor]) -> WeightsLayout | None:
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
    num_classes = len(tensors["linear.weight"])
    return WeightsLayout(
        "pytorch_resnet_cifar10",
        spec.modified(shortcut="zero_pad(zeros=both)", num_classes=num_classes),
        IMAGENET_MEAN,
        IMAGENET_STD,
        CIFAR10 if num_classes == len(CIFAR10) else (),
    )
