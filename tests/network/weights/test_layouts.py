"""Weights that others published, held against their authors' network written out. Legend: N C H W."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_lab.core.errors import CheckpointError
from resnet_lab.network import zoo
from resnet_lab.network.builder import assemble, build
from resnet_lab.network.spec import ModelSpec
from resnet_lab.network.weights import Coverage, load_weights, open_weights
from tests.network.weights.conftest import trained

BESIDE = Path(__file__).parents[4] / "shared" / "data" / "cifar-resnets"
PUBLIC = Path(os.environ.get("RESNET_LAB_CIFAR_RESNETS", BESIDE))


class Block(nn.Module):
    """Block of pytorch_resnet_cifar10, option A: a quarter of the new channels on each side."""

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


def adopted(spec: ModelSpec, path: Path) -> tuple[nn.Module, ModelSpec, Coverage]:
    """The network of `spec` with the weights of a file, as `train` makes it."""
    weights = open_weights(str(path), spec)
    spec = weights.network(spec)
    model = build(spec, seed=1).eval()
    return model, spec, load_weights(model, spec, weights)


@pytest.fixture
def option_a(tmp_path: Path) -> tuple[Path, nn.Module]:
    torch.manual_seed(3)
    network = trained(Public())
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
        "the weights are those under 'state_dict'",
        "names and shapes of the weights are those of pytorch_resnet_cifar10, whose shortcut is zero_pad(zeros=both)",
    )


def test_a_chosen_side_is_kept_and_reported_as_differing(option_a: tuple[Path, nn.Module], x: Tensor) -> None:
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
    network = trained(Public(project=True))
    torch.save(network.state_dict(), tmp_path / "w.pth")
    model, _, coverage = adopted(zoo.get("resnet20_b"), tmp_path / "w.pth")
    torch.testing.assert_close(model(x), network(x))
    assert coverage.total("loaded").parameters == 272_474
    assert coverage.notes == ()


def test_unseen_parts_of_a_foreign_file_are_reported(tmp_path: Path) -> None:
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


# ------------------------------------------------------------------------------ names


SMALL = zoo.get("resnet20").modified(num_classes=3, input_size=8)


def state_of(spec: ModelSpec = SMALL, seed: int = 7) -> dict[str, Tensor]:
    return build(spec, seed=seed).state_dict()


def written(path: Path, content: object) -> str:
    torch.save(content, path)
    return str(path)


@pytest.mark.parametrize("classifier", ["linear", "head", "head.fc", "classifier", "last_linear"])
def test_a_classifier_by_any_usual_name_is_the_classifier(classifier: str, tmp_path: Path) -> None:
    spec = zoo.get("resnet20_b").modified(num_classes=3)
    state = state_of(spec)
    renamed = {name.replace("fc.", f"{classifier}."): tensor for name, tensor in state.items()}
    model, _, coverage = adopted(spec, Path(written(tmp_path / "w.pth", renamed)))
    assert coverage.total("unused").names == coverage.total("new").names == ()
    torch.testing.assert_close(model.state_dict(), state, rtol=0, atol=0)


def test_a_second_classifier_is_left_out(tmp_path: Path) -> None:
    state = {**state_of(), "head.weight": torch.zeros(3, 64), "head.bias": torch.zeros(3)}
    model, _, coverage = adopted(SMALL, Path(written(tmp_path / "w.pth", state)))
    assert coverage.total("unused").names == ("head.bias", "head.weight")
    torch.testing.assert_close(model.state_dict(), state_of(), rtol=0, atol=0)


@pytest.mark.parametrize(
    "prefix",
    ["model.", "backbone.", "encoder.", "module.encoder_q.", "_orig_mod.module.", "module._orig_mod.net.model."],
)
def test_prefixes_in_any_order(prefix: str, tmp_path: Path) -> None:
    path = written(tmp_path / "w.pth", {f"{prefix}{name}": tensor for name, tensor in state_of().items()})
    model, _, coverage = adopted(SMALL, Path(path))
    torch.testing.assert_close(model.state_dict(), state_of(), rtol=0, atol=0)
    assert coverage.total("unused").names == ()


@pytest.mark.parametrize("key", ["state_dict", "model", "net", "model_state_dict", "state_dict_ema", "model_ema"])
def test_the_selected_key_is_reported(key: str, tmp_path: Path) -> None:
    model, _, coverage = adopted(SMALL, Path(written(tmp_path / "w.pth", {"epoch": 3, key: state_of()})))
    torch.testing.assert_close(model.state_dict(), state_of(), rtol=0, atol=0)
    assert coverage.notes == (f"the weights are those under {key!r}",)


def test_of_several_keys_the_average_is_taken_or_what_is_chosen(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    written(path, {"state_dict": state_of(seed=1), "state_dict_ema": state_of(seed=2), "teacher": state_of(seed=3)})
    for key, seed, note in (
        ("", 2, "'state_dict_ema'; the file has state_dict too, and --weights FILE:KEY takes another"),
        (":state_dict", 1, "'state_dict'; the file has state_dict_ema too, and --weights FILE:KEY takes another"),
        (":teacher", 3, "'teacher'; the file has state_dict_ema, state_dict too, and --weights FILE:KEY takes another"),
    ):
        model, _, coverage = adopted(SMALL, Path(f"{path}{key}"))
        torch.testing.assert_close(model.state_dict(), state_of(seed=seed), rtol=0, atol=0)
        assert coverage.notes == (f"the weights are those under {note}",)
        assert coverage.source == f"{path}{key}"


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_key_may_be_what_names_begin_with(suffix: str, tmp_path: Path) -> None:
    """Momentum contrast keeps a network and its average in one state dict."""
    both = {f"module.{key}.{n}": t for key, seed in (("net", 1), ("e", 2)) for n, t in state_of(seed=seed).items()}
    path = tmp_path / f"w{suffix}"
    save_file(both, path) if suffix == ".safetensors" else written(path, {"state_dict": both})
    for key, seed in (("", 1), (":net", 1), (":e", 2), (":module.e", 2)):
        model, _, _ = adopted(SMALL, Path(f"{path}{key}"))
        torch.testing.assert_close(model.state_dict(), state_of(seed=seed), rtol=0, atol=0)


def refusal(source: object) -> str:
    with pytest.raises(CheckpointError) as failure:
        open_weights(str(source), SMALL)
    assert "\n" not in str(failure.value)
    return str(failure.value)


def test_a_key_that_is_not_there(tmp_path: Path) -> None:
    path = written(tmp_path / "w.pth", {"state_dict": {"module.conv1.weight": torch.zeros(1)}, "best": {}})
    assert refusal(f"{path}:ema") == f"{path}:ema: nothing in the file is under 'ema'; it has state_dict, best, module"


def test_two_tensors_for_one_place(tmp_path: Path) -> None:
    path = written(tmp_path / "w.pth", {"model.conv1.weight": torch.zeros(1), "net.conv1.weight": torch.ones(1)})
    assert refusal(path) == (
        f"{path}: model.conv1.weight and net.conv1.weight are both conv1.weight of a network; choose one of the two by "
        "what its names begin with, as in --weights FILE:net"
    )
    assert open_weights(f"{path}:net", SMALL).tensors["conv1.weight"] == 1


@pytest.mark.filterwarnings("ignore:.*quantized")
@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (
            lambda: torch.quantize_per_tensor(torch.zeros(2), 0.1, 0, torch.qint8),
            "is quantized (torch.qint8); give the weights as they were before, in floating point",
        ),
        (
            lambda: torch.zeros(2, dtype=torch.int8),
            "is quantized (torch.int8); give the weights as they were before, in floating point",
        ),
        (
            lambda: torch.zeros(2).to(torch.float8_e4m3fn),
            "has 8 bits per value (torch.float8_e4m3fn) and no scales; give the weights in float32, float16 or "
            "bfloat16",
        ),
        (lambda: torch.zeros(2).to_sparse(), "is a sparse tensor (torch.sparse_coo); save it with tensor.to_dense()"),
        (lambda: torch.zeros(2, dtype=torch.complex64), "is complex (torch.complex64); the networks here are real"),
        (
            lambda: torch.zeros(2, device="meta"),
            "has no values (it was saved from the meta device); give trained weights",
        ),
    ],
    ids=["quantized", "integers", "float8", "sparse", "complex", "meta"],
)
def test_tensors_that_are_no_plain_numbers(make: Callable[[], Tensor], problem: str, tmp_path: Path) -> None:
    path = written(tmp_path / "w.pth", {"state_dict": {"module.bn1.weight": make()}})
    assert refusal(path) == f"{path}: module.bn1.weight {problem}"


@pytest.mark.parametrize(("theirs", "ours"), [("se", "se"), ("eca", "eca"), ("cbam", "cbam(norm=true)")])
def test_gates_by_timm_s_names(theirs: str, ours: str, tmp_path: Path, x: Tensor) -> None:
    torch.manual_seed(5)
    network = timm.models.resnet.ResNet(
        timm.models.resnet.Bottleneck, (1, 1, 1, 1), num_classes=7, block_args={"attn_layer": theirs}
    )
    trained(network)
    stages = tuple(stage.model_copy(update={"depth": 1}) for stage in zoo.get("resnet50").stages)
    spec = zoo.get("resnet50").model_copy(update={"stages": stages}).modified(num_classes=7, attn=ours)
    model, _, coverage = adopted(spec, Path(written(tmp_path / "w.pth", network.state_dict())))
    assert coverage.total("unused").names == coverage.total("new").names == ()
    torch.testing.assert_close(model(x), network(x))


def test_gates_without_a_place_keep_their_names(tmp_path: Path) -> None:
    state = {**state_of(), "layer1.0.se.fc1.weight": torch.zeros(1, 16, 1, 1)}
    _, _, coverage = adopted(SMALL, Path(written(tmp_path / "w.pth", state)))
    assert coverage.total("unused").names == ("layer1.0.se.fc1.weight",)


def test_a_deep_stem_of_another_width(tmp_path: Path) -> None:
    """The stem of timm's resnet50t, which has 24, 32 and 64 channels, goes into a resnet50d."""
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in timm.create_model("resnet50t").state_dict().items()}
    spec = zoo.get("resnet50d")
    path = written(tmp_path / "w.pth", {name: torch.zeros(()).expand(shape) for name, shape in shapes.items()})
    coverage = load_weights(assemble(spec, device="meta").model, spec, path)
    assert coverage.notes == (
        "the stem of the weights has other widths: 6 of its tensors keep their initial values, such as conv1.0.weight "
        "is (24, 3, 3, 3) in the weights and (32, 3, 3, 3) in the network",
    )
