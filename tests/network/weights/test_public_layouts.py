"""Files in the layouts of docs/weights.md, each held against a network of its author's or with its author's structure.

Where a library is installed here, it makes the file. Elsewhere names are written as in the library's source, which the
docstring cites. Legend: N C H W.
"""

import re
from argparse import Namespace
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from timm.models import resnet as timm_resnet
from timm.models import senet as timm_senet
from timm.utils import CheckpointSaver, ModelEmaV3
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from resnet_lab.core.errors import CheckpointError
from resnet_lab.network import zoo
from resnet_lab.network.builder import build
from resnet_lab.network.model import ResNet
from resnet_lab.network.spec import ModelSpec
from resnet_lab.network.weights import Coverage, load_weights, open_weights
from tests.network.weights.conftest import trained
from tests.network.weights.test_layouts import Public

PAGE = Path(__file__).parents[3] / "docs" / "weights.md"
State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Case:
    """A file and what it is of.

    Attributes:
        source: for `open_weights`.
        reference: the network whose weights are in the file.
        spec: the same network here.
        classifier: whether the file has the reference's.
    """

    source: str
    reference: nn.Module
    spec: ModelSpec
    classifier: bool = True


def thin(name: str, **changes: Any) -> ModelSpec:
    """A network of the zoo with one block a stage and 7 classes."""
    spec = zoo.get(name)
    stages = tuple(stage.model_copy(update={"depth": 1}) for stage in spec.stages)
    return spec.model_copy(update={"stages": stages}).modified(**{"num_classes": 7, "input_size": 32, **changes})


@cache
def bottlenecks() -> nn.Module:
    torch.manual_seed(1)
    return trained(torchvision.models.ResNet(torchvision.models.resnet.Bottleneck, [1, 1, 1, 1], num_classes=7))


@cache
def basic_blocks(seed: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    return trained(torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=7))


def of_timm(**arguments: Any) -> nn.Module:
    torch.manual_seed(2)
    return trained(timm_resnet.ResNet(timm_resnet.Bottleneck, (1, 1, 1, 1), num_classes=7, **arguments))


def renamed(state: State, *rules: tuple[str, str | Callable[[re.Match[str]], str]]) -> dict[str, Tensor]:
    """The tensors under the names that the first fitting rule gives."""
    result = {}
    for name, tensor in state.items():
        for pattern, own in rules:
            changed, count = re.subn(pattern, own, name)
            if count:
                name = changed
                break
        result[name] = tensor
    return result


def prefixed(prefix: str, state: State) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def without(part: str, state: State) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.startswith(part)}


def saved(content: object, path: Path) -> str:
    torch.save(content, path)
    return str(path)


def torchvision_weights(folder: Path) -> Case:
    network = bottlenecks()
    return Case(saved(network.state_dict(), folder / "w.pth"), network, thin("resnet50"))


def torchvision_training(folder: Path) -> Case:
    """As `main` of references/classification/train.py (commit 017e9b9) writes it with `--model-ema`."""
    network = basic_blocks()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    content = {
        "model": basic_blocks(seed=5).state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
        "args": Namespace(lr=0.1, model="resnet50"),
        "model_ema": AveragedModel(network).state_dict(),
    }
    return Case(saved(content, folder / "checkpoint.pth"), network, thin("resnet18"))


def timm_weights(folder: Path) -> Case:
    """`resnet50d` in small, as on the hub."""
    network = of_timm(stem_type="deep", stem_width=32, avg_down=True)
    save_file(network.state_dict(), folder / "model.safetensors")
    return Case(str(folder / "model.safetensors"), network, thin("resnet50d"))


def timm_training(folder: Path) -> Case:
    """Written by timm's own saver, as train.py calls it with `--model-ema`."""
    network = of_timm()
    average = ModelEmaV3(deepcopy(network))
    with torch.no_grad():
        network.get_parameter("conv1.weight").add_(1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    arguments = Namespace(model="resnet50", lr=0.1)
    saver = CheckpointSaver(network, optimizer, args=arguments, model_ema=average, checkpoint_dir=str(folder))
    saver.save_checkpoint(0, metric=0.5)
    return Case(str(folder / "last.pth.tar"), average.module, thin("resnet50"))


def lightning(folder: Path) -> Case:
    """As `dump_checkpoint` of lightning 2.6.6 (pytorch/trainer/connectors/checkpoint_connector.py) composes it."""
    network = basic_blocks()
    content = {
        "epoch": 1,
        "global_step": 10,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": {**prefixed("network.", network.state_dict()), "loss.weight": torch.ones(7)},
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_path": "a.ckpt", "best_model_score": None}},
        "optimizer_states": [torch.optim.SGD(network.parameters(), lr=0.1).state_dict()],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"lr": 0.1},
    }
    return Case(f"{saved(content, folder / 'last.ckpt')}:network", network, thin("resnet18"))


def mmpretrain(folder: Path) -> Case:
    """Names of mmpretrain 1.2.0, models/backbones/resnet.py and models/heads/linear_head.py."""
    network = basic_blocks()
    state = renamed(network.state_dict(), (r"^fc\.", "head.fc."), ("^", "backbone."))
    content = {"meta": {"epoch": 100, "dataset_meta": {"classes": ("a", "b")}}, "state_dict": state}
    return Case(saved(content, folder / "w.pth"), network, thin("resnet18"))


def mmpretrain_deep(folder: Path) -> Case:
    """`ResNetV1d` of mmpretrain 1.2.0: three `ConvModule`s as the stem (`_make_stem_layer`)."""
    network = of_timm(stem_type="deep", stem_width=32, avg_down=True)
    state = renamed(
        network.state_dict(),
        (r"^conv1\.([036])\.", lambda m: f"backbone.stem.{int(m[1]) // 3}.conv."),
        (r"^conv1\.([14])\.", lambda m: f"backbone.stem.{int(m[1]) // 3}.bn."),
        (r"^bn1\.", "backbone.stem.2.bn."),
        (r"^fc\.", "head.fc."),
        (r"^", "backbone."),
    )
    return Case(saved({"meta": {}, "state_dict": state}, folder / "w.pth"), network, thin("resnet50d"))


def mmpretrain_se(folder: Path) -> Case:
    """`SEResNet` of mmpretrain 1.2.0: `se_layer` of two `ConvModule`s (models/utils/se_layer.py)."""
    network = of_timm(block_args={"attn_layer": "se"})
    state = renamed(
        network.state_dict(),
        (r"^(layer.+)\.se\.fc([12])\.", r"backbone.\1.se_layer.conv\2.conv."),
        (r"^fc\.", "head.fc."),
        (r"^", "backbone."),
    )
    return Case(saved({"state_dict": state}, folder / "w.pth"), network, thin("resnet50", attn="se"))


def moco(folder: Path) -> Case:
    """MoCo v2 (moco/builder.py and main_moco.py of facebookresearch/moco, commit 4397a04): query, key, queue."""
    network = basic_blocks()
    heads = {"fc.0.weight": torch.zeros(8, 8), "fc.2.weight": torch.zeros(128, 8), "fc.2.bias": torch.zeros(128)}
    state = {
        **prefixed("module.encoder_q.", {**without("fc.", network.state_dict()), **heads}),
        **prefixed("module.encoder_k.", {**without("fc.", basic_blocks(seed=5).state_dict()), **heads}),
        "module.queue": torch.zeros(128, 16),
        "module.queue_ptr": torch.zeros(1, dtype=torch.long),
    }
    content = {"epoch": 200, "arch": "resnet50", "state_dict": state, "optimizer": {}}
    return Case(saved(content, folder / "w.pth.tar"), network, thin("resnet18"), classifier=False)


def moco_v3(folder: Path) -> Case:
    """MoCo v3 (moco/builder.py of facebookresearch/moco-v3, commit 0c5d00a): base and momentum encoder, predictor."""
    network = basic_blocks()
    heads = {"fc.0.weight": torch.zeros(8, 8), "fc.1.running_var": torch.ones(8), "fc.3.weight": torch.zeros(8, 8)}
    state = {
        **prefixed("module.base_encoder.", {**without("fc.", network.state_dict()), **heads}),
        **prefixed("module.momentum_encoder.", {**without("fc.", basic_blocks(seed=5).state_dict()), **heads}),
        "module.predictor.0.weight": torch.zeros(8, 8),
    }
    path = saved({"epoch": 100, "arch": "resnet50", "state_dict": state}, folder / "w.pth.tar")
    return Case(path, network, thin("resnet18"), classifier=False)


def resnet_cifar10(folder: Path) -> Case:
    """akamaster/pytorch_resnet_cifar10; the published files themselves are read in test_layouts.py."""
    torch.manual_seed(3)
    network = trained(Public())
    content = {"state_dict": prefixed("module.", network.state_dict()), "best_prec1": 91.7}
    return Case(saved(content, folder / "resnet20.th"), network, zoo.get("resnet20"))


def cifar(folder: Path) -> Case:
    """kuangliu/pytorch-cifar, models/resnet.py and main.py: a 3x3 stem without pool, `shortcut`, `linear`."""
    torch.manual_seed(4)
    network = torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=7)
    network.conv1, network.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    trained(network)
    state = renamed(network.state_dict(), (r"\.downsample\.", ".shortcut."), (r"^fc\.", "linear."))
    content = {"net": prefixed("module.", state), "acc": 95.0, "epoch": 199}
    return Case(saved(content, folder / "ckpt.pth"), network, thin("resnet18", stem="cifar"))


def ultralytics(folder: Path) -> Case:
    """The state dict of `yolov8-cls-resnet50` (ultralytics 8.4.190, `ResNetLayer` in nn/modules/block.py)."""
    network = bottlenecks()
    state = renamed(
        without("fc.", network.state_dict()),
        (r"^(conv|bn)1\.", r"model.0.layer.0.\1."),
        (r"^layer(\d)\.(\d+)\.(conv|bn)(\d)\.", r"model.\1.layer.\2.cv\4.\3."),
        (r"^layer(\d)\.(\d+)\.downsample\.0\.", r"model.\1.layer.\2.shortcut.0.conv."),
        (r"^layer(\d)\.(\d+)\.downsample\.1\.", r"model.\1.layer.\2.shortcut.0.bn."),
    )
    head = {"model.5.conv.conv.weight": torch.zeros(1280, 2048, 1, 1), "model.5.linear.weight": torch.zeros(7, 1280)}
    return Case(saved({**state, **head}, folder / "w.pt"), network, thin("resnet50"), classifier=False)


def ultralytics_torchvision(folder: Path) -> Case:
    """The state dict of `yolo11-cls-resnet18` (ultralytics 8.4.190, `TorchVision` in nn/modules/block.py)."""
    network = basic_blocks()
    body = nn.Sequential(*list(network.children())[:-2])
    content = {**prefixed("model.0.m.", body.state_dict()), "model.1.linear.weight": torch.zeros(7, 1280)}
    return Case(saved(content, folder / "w.pt"), network, thin("resnet18"), classifier=False)


def transformers(folder: Path) -> Case:
    """Names of transformers 5.24.0, models/resnet/modeling_resnet.py, `ResNetForImageClassification`."""
    network = bottlenecks()
    layers = {"conv": "convolution", "bn": "normalization", "0": "convolution", "1": "normalization"}
    state = renamed(
        network.state_dict(),
        (r"^(conv|bn)1\.", lambda m: f"resnet.embedder.embedder.{layers[m[1]]}."),
        (
            r"^layer(\d)\.(\d+)\.(conv|bn)(\d)\.",
            lambda m: f"resnet.encoder.stages.{int(m[1]) - 1}.layers.{m[2]}.layer.{int(m[4]) - 1}.{layers[m[3]]}.",
        ),
        (
            r"^layer(\d)\.(\d+)\.downsample\.([01])\.",
            lambda m: f"resnet.encoder.stages.{int(m[1]) - 1}.layers.{m[2]}.shortcut.{layers[m[3]]}.",
        ),
        (r"^fc\.", "classifier.1."),
    )
    save_file(state, folder / "model.safetensors")
    return Case(str(folder / "model.safetensors"), network, thin("resnet50"))


def fastai(folder: Path) -> Case:
    """A `vision_learner` saved without optimiser (fastai 2.8.12): a body cut after the stages, then its own head."""
    network = basic_blocks()
    body = nn.Sequential(*list(network.children())[:-2])
    head = nn.Sequential(nn.BatchNorm1d(1024), nn.Linear(1024, 7, bias=False))
    whole = nn.Sequential(body, head)
    return Case(saved(whole.state_dict(), folder / "stage-1.pth"), network, thin("resnet18"), classifier=False)


def sequential(folder: Path) -> Case:
    """`nn.Sequential(*network.children())`, here of a Lightning module's `backbone`, with the classifier."""
    network = basic_blocks()
    whole = nn.Sequential(*network.children())
    path = saved({"state_dict": prefixed("backbone.", whole.state_dict())}, folder / "w.ckpt")
    return Case(path, network, thin("resnet18"))


def senet(folder: Path) -> Case:
    """timm's `legacy_seresnet50` in small, which keeps the names of the SENet authors' PyTorch weights."""
    torch.manual_seed(6)
    network = timm_senet.SENet(
        timm_senet.SEResNetBottleneck,
        (1, 1, 1, 1),
        groups=1,
        reduction=16,
        inplanes=64,
        input_3x3=False,
        downsample_kernel_size=1,
        downsample_padding=0,
        num_classes=7,
    )
    path = saved(trained(network).state_dict(), folder / "w.pth")
    network.pool0 = nn.MaxPool2d(3, 2, 1)  # theirs rounds up, which weights do not show
    return Case(path, network, thin("resnet50", attn="se", block="bottleneck(stride_on=conv1)"))


CASES: dict[str, Callable[[Path], Case]] = {
    "torchvision": torchvision_weights,
    "torchvision, training": torchvision_training,
    "timm": timm_weights,
    "timm, training": timm_training,
    "Lightning": lightning,
    "MMPretrain": mmpretrain,
    "MMPretrain, V1c and V1d": mmpretrain_deep,
    "MMPretrain, SE": mmpretrain_se,
    "MoCo v1, v2": moco,
    "MoCo v3": moco_v3,
    "pytorch_resnet_cifar10": resnet_cifar10,
    "pytorch-cifar": cifar,
    "Ultralytics, own blocks": ultralytics,
    "Ultralytics, torchvision's": ultralytics_torchvision,
    "transformers": transformers,
    "fastai": fastai,
    "nn.Sequential": sequential,
    "SENet": senet,
}
"""By the name that a row of docs/weights.md has."""


def loaded(case: Case) -> tuple[ResNet, Coverage]:
    weights = open_weights(case.source, case.spec)
    spec = weights.network(case.spec)
    model = build(spec, seed=9).eval()
    return model, load_weights(model, spec, weights)


@pytest.mark.parametrize("name", CASES)
def test_a_file_of_each_layout_gives_its_network_s_outputs(name: str, tmp_path: Path, x: Tensor) -> None:
    case = CASES[name](tmp_path)
    model, coverage = loaded(case)
    assert coverage.share == 1
    missing = [tensor for kind in ("new", "replaced", "shape_differs") for tensor in coverage.total(kind).names]
    assert [tensor for tensor in missing if not tensor.startswith("fc.")] == []
    if not case.classifier:
        assert missing == ["fc.bias", "fc.weight"]
        model.fc.load_state_dict(case.reference.get_submodule("fc").state_dict())
    torch.testing.assert_close(model(x), case.reference(x))


def test_names_that_fit_a_scheme_twice_or_not_quite_are_left(tmp_path: Path) -> None:
    """Two tensors for one place, and numbers that are longer than any network."""
    one = torch.zeros(1)
    long = "9" * 5000
    for names in (
        ("2.0.conv1.weight", "0.weight", "conv1.weight"),
        (f"stages.{long}.layers.0.layer.0.convolution.weight", f"{long}.0.conv1.weight"),
        (f"layer{long}.0.conv1.weight",),
    ):
        path = saved(dict.fromkeys(names, one), tmp_path / "w.pth")
        assert set(open_weights(path, thin("resnet18")).tensors) == set(names)
        with pytest.raises(CheckpointError, match="nothing in it fits"):
            load_weights(build(thin("resnet18")), thin("resnet18"), path)


def tables() -> list[list[list[str]]]:
    """The cells of each table of the page, without its head."""
    found: list[list[list[str]]] = []
    for block in re.findall(r"(?:^\|.*\n)+", PAGE.read_text(), flags=re.MULTILINE):
        found.append([line.strip("| ").split(" | ") for line in block.splitlines()[2:]])
    return found


def test_the_page_has_the_layouts_that_are_tested() -> None:
    names, parts, unseen = tables()
    assert [[row[0] for row in table] for table in (names, parts, unseen)] == [list(CASES)] * 3
    assert [{len(row) for row in table} for table in (names, parts, unseen)] == [{4}, {3}, {3}]


def test_each_layout_on_the_page_has_a_source_with_a_version() -> None:
    text = PAGE.read_text()
    sources = dict(re.findall(r"^\[\^([\w-]+)\]: (.+)$", text, flags=re.MULTILINE))
    used = [re.findall(r"\[\^([\w-]+)\]", row[-1]) for row in tables()[2]]
    assert all(used)
    assert {label for labels in used for label in labels} == set(sources)
    for label, source in sources.items():
        assert re.search(r"\d+\.\d+|commit `?[0-9a-f]{7}", source), label
        assert "`" in source, label


def test_normalisation_on_the_page_is_what_is_known(tmp_path: Path) -> None:
    """Only a layout that is recognised brings its mean; all others ask for it."""
    known = [name for name, make in CASES.items() if open_weights((case := make(tmp_path)).source, case.spec).mean]
    assert known == [row[0] for row in tables()[2] if row[1].endswith("(known)")] == ["pytorch_resnet_cifar10"]
