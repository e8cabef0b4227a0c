"""Layouts of public weights: other projects' names of the parts of a ResNet, and networks inferred from names."""

import re
from collections.abc import Callable, Collection, Mapping
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
    (re.compile(r"(layer\d+\.\d+)\.se_layer\.conv([12])\.conv\.(.+)"), r"\1.attn.fc\2.\3"),
    (re.compile(r"layer0\.((?:conv1|bn1)\..+)"), r"\1"),  # of the SENet authors' ResNets
    (re.compile(r"stem\.0\.conv\.(.+)"), r"conv1.0.\1"),  # a deep stem, convolution and norm in one module
    (re.compile(r"stem\.0\.bn\.(.+)"), r"conv1.1.\1"),
    (re.compile(r"stem\.1\.conv\.(.+)"), r"conv1.3.\1"),
    (re.compile(r"stem\.1\.bn\.(.+)"), r"conv1.4.\1"),
    (re.compile(r"stem\.2\.conv\.(.+)"), r"conv1.6.\1"),
    (re.compile(r"stem\.2\.bn\.(.+)"), r"bn1.\1"),
    (re.compile(r"(layer\d+\.\d+)\.conv(\d)\.(conv|bn)\.(.+)"), r"\1.\3\2.\4"),  # of timm's SKNets
    (re.compile(r"(layer\d+\.\d+)\.se\.((?:conv_attn|conv1|bn1|conv_h|conv_w|norm_h|norm_w)\..+)"), r"\1.attn.\2"),
    (re.compile(r"(layer\d+\.\d+)\.se\.mlp_(?:add|scale)\.((?:fc1|norm|fc2)\..+)"), r"\1.attn.\2"),
)
"""Parameter names of other projects, and torchvision's, which this program uses."""

_IN_STAGE = re.compile(r"layer\d+\.\d+\.")
_FIRST_IN_STAGE = re.compile(r"((?:.+\.)?)(\d{1,4})\.0\.conv1\.weight")
_LAYERS = {"conv": "conv", "bn": "bn", "convolution": "conv", "normalization": "bn"}
_IN_SHORTCUT = {"conv": 0, "bn": 1, "convolution": 0, "normalization": 1}
_SCHEMES: tuple[tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...], ...] = (
    (  # stages numbered from 1, the stem being 0, and their layers from 1: `1.layer.0.cv1.conv.weight`
        (re.compile(r"0\.layer\.0\.(conv|bn)\.(.+)"), lambda m: f"{_LAYERS[m[1]]}1.{m[2]}"),
        (
            re.compile(r"(\d+)\.layer\.(\d+)\.cv(\d)\.(conv|bn)\.(.+)"),
            lambda m: f"layer{m[1]}.{m[2]}.{_LAYERS[m[4]]}{m[3]}.{m[5]}",
        ),
        (
            re.compile(r"(\d+)\.layer\.(\d+)\.shortcut\.0\.(conv|bn)\.(.+)"),
            lambda m: f"layer{m[1]}.{m[2]}.downsample.{_IN_SHORTCUT[m[3]]}.{m[4]}",
        ),
    ),
    (  # stages, their blocks and layers numbered from 0: `stages.0.layers.0.layer.0.convolution.weight`
        (
            re.compile(r"embedder\.embedder\.(convolution|normalization)\.(.+)"),
            lambda m: f"{_LAYERS[m[1]]}1.{m[2]}",
        ),
        (
            re.compile(r"stages\.(\d{1,4})\.layers\.(\d{1,4})\.layer\.(\d{1,4})\.(convolution|normalization)\.(.+)"),
            lambda m: f"layer{int(m[1]) + 1}.{m[2]}.{_LAYERS[m[4]]}{int(m[3]) + 1}.{m[5]}",
        ),
        (
            re.compile(r"stages\.(\d{1,4})\.layers\.(\d{1,4})\.shortcut\.(convolution|normalization)\.(.+)"),
            lambda m: f"layer{int(m[1]) + 1}.{m[2]}.downsample.{_IN_SHORTCUT[m[3]]}.{m[4]}",
        ),
        (re.compile(r"classifier\.1\.(weight|bias)"), lambda m: f"fc.{m[1]}"),
    ),
    (  # stages and blocks numbered from 0, layers from 1: timm's `stages.0.0.conv1_1x1.conv.weight`
        (re.compile(r"stem\.conv(\d)\.conv\.(.+)"), lambda m: f"conv1.{3 * int(m[1]) - 3}.{m[2]}"),
        (re.compile(r"stem\.conv([12])\.bn\.(.+)"), lambda m: f"conv1.{3 * int(m[1]) - 2}.{m[2]}"),
        (re.compile(r"stem\.conv3\.bn\.(.+)"), lambda m: f"bn1.{m[1]}"),
        (
            re.compile(r"stages\.(\d{1,4})\.(\d{1,4})\.conv(\d)_\w+\.(conv|bn)\.(.+)"),
            lambda m: f"layer{int(m[1]) + 1}.{m[2]}.{_LAYERS[m[4]]}{m[3]}.{m[5]}",
        ),
        (
            re.compile(r"stages\.(\d{1,4})\.(\d{1,4})\.attn\.(?:mlp_(?:add|scale)\.)?(.+)"),
            lambda m: f"layer{int(m[1]) + 1}.{m[2]}.inner_attn.{m[3]}",
        ),
        (
            re.compile(r"stages\.(\d{1,4})\.(\d{1,4})\.shortcut\.(conv|bn)\.(.+)"),
            lambda m: f"layer{int(m[1]) + 1}.{m[2]}.downsample.{_IN_SHORTCUT[m[3]]}.{m[4]}",
        ),
        (re.compile(r"head\.fc\.(weight|bias)"), lambda m: f"fc.{m[1]}"),
    ),
)
"""Naming schemes of whole networks: patterns of names, and torchvision's name of each."""

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


def with_stages(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under torchvision's names, where they have stages by another scheme or by position.

    As they are where they have torchvision's stages, or where two of them would be in one place.
    """
    if any(_IN_STAGE.match(name) for name in tensors):
        return dict(tensors)
    for renamed in (*(_by_scheme(tensors, scheme) for scheme in _SCHEMES), _by_position(tensors)):
        unique = len(set(renamed.values())) == len(renamed)
        if unique and any(_IN_STAGE.match(name) for name in renamed.values()):
            return {renamed[name]: tensor for name, tensor in tensors.items()}
    return dict(tensors)


def _by_scheme(
    names: Collection[str], scheme: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...]
) -> dict[str, str]:
    renamed = {name: name for name in names}
    for name in names:
        for pattern, own in scheme:
            if match := pattern.fullmatch(name):
                renamed[name] = own(match)
    return renamed


def _by_position(names: Collection[str]) -> dict[str, str]:
    """Names of the parts of a torchvision network in a `nn.Sequential(*network.children())`: `4.0.conv1.weight`."""
    stages = [match for name in names if (match := _FIRST_IN_STAGE.fullmatch(name))]
    if not stages:
        return {}
    prefix = stages[0][1]
    positions = sorted(int(match[2]) for match in stages if match[1] == prefix)
    parts = {"0": "conv1", "1": "bn1", f"{positions[-1] + 2}": "fc"}  # the pool stands between
    parts |= {f"{position}": f"layer{number}" for number, position in enumerate(positions, 1)}
    renamed = {name: name for name in names}
    for name in names:
        position, _, rest = name.removeprefix(prefix).partition(".")
        if name.startswith(prefix) and position in parts:
            renamed[name] = f"{parts[position]}.{rest}"
    return renamed


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
