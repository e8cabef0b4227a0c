"""Weights that others published, held against their authors' network written out. Legend: N C H W."""

import os
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_lab import zoo
from resnet_lab.builder import assemble, build
from resnet_lab.spec import ModelSpec
from resnet_lab.weights import Coverage, load_weights, open_weights

BESIDE = Path(__file__).parents[3] / "shared" / "data" / "cifar-resnets"
PUBLIC = Path(os.environ.get("RESNET_LAB_CIFAR_RESNETS", BESIDE))


class Block(nn.Module):
    """Of pytorch_resnet_cifar10, option A: a quarter of the new channels on each side."""

    def __init__(self, in_channels: int, channels: int, stride: int, project: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if project and in_channels != channels:
            convolution = nn.Conv2d(in_channels, channels, 1, stride, bias=False)
            self.shortcut = nn.Sequential(convolution, nn.BatchNorm2d(channels))
        self.quarter = 0 if project or in_channels == channels else channels // 4

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        identity = self.shortcut(x)
        if self.quarter:
            identity = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.quarter, self.quarter))
        return F.relu(out + identity)


class Public(nn.Module):
    """ResNet-20 with the names of pytorch_resnet_cifar10."""

    def __init__(self, project: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        for number, (before, channels) in enumerate([(16, 16), (16, 32), (32, 64)], 1):
            first = Block(before, channels, 1 if number == 1 else 2, project)
            rest = (Block(channels, channels, 1, project) for _ in range(2))
            self.add_module(f"layer{number}", nn.Sequential(first, *rest))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Any:
        x = F.relu(self.bn1(self.conv1(x)))
        for number in (1, 2, 3):
            x = self.get_submodule(f"layer{number}")(x)
        return self.linear(x.mean((2, 3)))


def with_statistics(model: nn.Module) -> nn.Module:
    """The model in evaluation mode, with statistics of its batch norms such as training leaves behind."""
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return model.eval()


def adopted(spec: ModelSpec, path: Path) -> tuple[nn.Module, ModelSpec, Coverage]:
    """The network of `spec` with the weights of a file, as `train` makes it."""
    weights = open_weights(str(path), spec)
    spec = weights.network(spec)
    model = build(spec, seed=1).eval()
    return model, spec, load_weights(model, spec, weights)


@pytest.fixture
def option_a(tmp_path: Path) -> tuple[Path, nn.Module]:
    torch.manual_seed(3)
    network = with_statistics(Public())
    path = tmp_path / "resnet20.th"
    state = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"state_dict": state, "best_prec1": 91.7}, path)
    return path, network


def test_public_option_a_networks_get_their_zeros_on_both_sides(option_a: tuple[Path, nn.Module], x: Tensor) -> None:
    path, network = option_a
    model, spec, coverage = adopted(zoo.get("resnet20"), path)
    torch.testing.assert_close(model(x), network(x))
    assert {str(stage.block.shortcut) for stage in spec.stages} == {"zero_pad(zeros=both)"}
    assert (coverage.mean, coverage.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (coverage.differing, coverage.total("loaded").parameters) == ((), 269_722)
    assert coverage.notes == (
        "names and shapes of the weights are those of pytorch_resnet_cifar10, whose shortcut is zero_pad(zeros=both)",
    )


def test_a_side_that_was_chosen_stays_and_is_said_to_differ(option_a: tuple[Path, nn.Module], x: Tensor) -> None:
    path, network = option_a
    chosen = zoo.get("resnet20").modified(shortcut="zero_pad(zeros=end)")
    model, spec, coverage = adopted(chosen, path)
    assert spec == chosen
    assert not torch.allclose(model(x), network(x), rtol=0.01)
    assert coverage.share == 1
    assert coverage.extent == (
        "all parameters outside the classifier loaded, into a network that differs from the weights'"
    )
    assert coverage.differing == ("shortcut zero_pad(zeros=end) for zero_pad(zeros=both) in stages 1 to 3",)


def test_public_option_b_networks_have_shortcuts_by_another_name(tmp_path: Path, x: Tensor) -> None:
    torch.manual_seed(4)
    network = with_statistics(Public(project=True))
    torch.save(network.state_dict(), tmp_path / "w.pth")
    model, _, coverage = adopted(zoo.get("resnet20_b"), tmp_path / "w.pth")
    torch.testing.assert_close(model(x), network(x))
    assert coverage.total("loaded").parameters == 272_474
    assert coverage.notes == ()


def test_what_a_foreign_file_does_not_show_is_said(tmp_path: Path) -> None:
    spec = zoo.get("resnet20").modified(act="gelu@1", block="bottleneck(stride_on=conv1)@3")
    torch.save(build(spec).state_dict(), tmp_path / "w.pth")
    _, _, coverage = adopted(spec, tmp_path / "w.pth")
    assert coverage.extent == (
        "all parameters outside the classifier loaded; parts without parameters cannot be seen in weights"
    )
    assert coverage.unseen == (
        "activation (relu, gelu)",
        "pool after the stem (none)",
        "anti-aliasing where the resolution falls (none)",
        "place of a bottleneck's stride (first 1x1 convolution)",
        "pool or padding of the shortcut (zero_pad)",
    )


@pytest.mark.parametrize("name", ["resnetblur50", "resnetaa50"])
def test_anti_aliased_weights_of_timm_are_not_called_whole(name: str, tmp_path: Path) -> None:
    """All their tensors fit a ResNet-50."""
    with torch.device("meta"):
        shapes = {key: tensor.shape for key, tensor in timm.create_model(name).state_dict().items()}
    torch.save({key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}, tmp_path / "w.pth")
    spec = zoo.get("resnet50")
    coverage = load_weights(assemble(spec, device="meta").model, spec, str(tmp_path / "w.pth"))
    assert coverage.share == 1
    assert "100" not in coverage.extent
    assert "anti-aliasing where the resolution falls (none)" in coverage.unseen


@pytest.mark.skipif(not PUBLIC.is_dir(), reason="the public CIFAR ResNets are not here (RESNET_LAB_CIFAR_RESNETS)")
@pytest.mark.parametrize("depth", [20, 32, 44, 56])
def test_the_published_files_are_recognised(depth: int) -> None:
    [path] = PUBLIC.glob(f"resnet{depth}-*.th")
    _, spec, coverage = adopted(zoo.get(f"resnet{depth}"), path)
    assert {str(stage.block.shortcut) for stage in spec.stages} == {"zero_pad(zeros=both)"}
    assert (coverage.share, coverage.differing) == (1, ())
