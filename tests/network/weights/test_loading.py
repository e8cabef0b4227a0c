import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from timm.models import adapt_input_conv
from torch import Tensor, nn

from resnet_lab.core.errors import CheckpointError
from resnet_lab.network import checkpoint, zoo
from resnet_lab.network.builder import assemble, build
from resnet_lab.network.model import ResNet
from resnet_lab.network.spec import ModelSpec, StemConv, StemSpec
from resnet_lab.network.weights import Coverage, load_weights
from resnet_lab.network.weights.coverage import KINDS

SMALL = zoo.get("resnet20").modified(num_classes=3, input_size=8)


def loaded(spec: ModelSpec, source: object, **options: Any) -> tuple[ResNet, Coverage]:
    """The network in evaluation mode."""
    model = build(spec, seed=1).eval()
    return model, load_weights(model, spec, str(source), **options)


def counts(coverage: Coverage) -> dict[str, tuple[int, int]]:
    """Tensors and parameters of each kind that there is."""
    totals = {kind: coverage.total(kind) for kind in KINDS}
    return {kind: (len(total.names), total.parameters) for kind, total in totals.items() if total.names}


def stage(coverage: Coverage, name: str) -> dict[str, tuple[int, int]]:
    return counts(coverage.model_copy(update={"stages": tuple(s for s in coverage.stages if s.stage == name)}))


def assert_initial(model: ResNet, spec: ModelSpec, names: tuple[str, ...]) -> None:
    initial = build(spec, seed=1).state_dict()
    assert names
    for name in names:
        torch.testing.assert_close(model.state_dict()[name], initial[name], rtol=0, atol=0)


# ------------------------------------------------------------------------------ unmodified networks


@pytest.mark.parametrize("by_name", [False, True], ids=["file", "name"])
def test_an_unmodified_network_gives_torchvisions_outputs(
    by_name: bool, resnet18: nn.Module, resnet18_file: Path, x: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    os.link(resnet18_file, tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth")
    model, coverage = loaded(zoo.get("resnet18"), "DEFAULT" if by_name else resnet18_file)
    torch.testing.assert_close(model(x), resnet18(x))
    # 20 convolutions, 20 norms of weight, bias, mean and variance, and the classifier's two
    assert counts(coverage) == {"loaded": (20 + 4 * 20 + 2, 11_689_512)}
    assert coverage.share == 1
    assert (coverage.mean is not None) == by_name
    assert coverage.differences == coverage.notes == ()


@pytest.mark.parametrize("form", ["safetensors", "wrapped"])
def test_other_forms_of_the_same_tensors(
    form: str, thin: nn.Module, thin_spec: ModelSpec, x: Tensor, tmp_path: Path
) -> None:
    source = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pth")
    if form == "safetensors":
        save_file(thin.state_dict(), source)
    else:
        torch.save({"state_dict": {f"module.{n}": t for n, t in thin.state_dict().items()}, "epoch": 1}, source)
    model, _ = loaded(thin_spec, source)
    torch.testing.assert_close(model(x), thin(x))


def test_bottlenecks_and_their_stride_in_the_first_convolution(
    thin: nn.Module, thin_file: Path, thin_spec: ModelSpec, x: Tensor
) -> None:
    model, coverage = loaded(thin_spec, thin_file)
    torch.testing.assert_close(model(x), thin(x))
    assert coverage.share == 1
    moved, coverage = loaded(thin_spec.modified(block="bottleneck(stride_on=conv1)"), thin_file)
    assert coverage.share == 1
    torch.testing.assert_close(moved.layer2[0].conv1.weight, thin.layer2[0].conv1.weight)


def test_our_own_file_brings_its_normalisation(tmp_path: Path) -> None:
    trained = build(SMALL, seed=7)
    checkpoint.save(tmp_path / "w.safetensors", trained, SMALL, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    model, coverage = loaded(SMALL, tmp_path / "w.safetensors")
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(x), trained.eval()(x), rtol=0, atol=0)
    assert (coverage.mean, coverage.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


# ------------------------------------------------------------------------------ changed components


def test_an_activation_changes_no_tensor(thin_file: Path, thin_spec: ModelSpec, x: Tensor) -> None:
    reference = torchvision.models.ResNet(torchvision.models.resnet.Bottleneck, [1, 1, 1, 1], num_classes=7)
    reference.load_state_dict(torch.load(thin_file))
    for module in reference.modules():
        if hasattr(module, "relu"):
            module.relu = nn.GELU()
    model, coverage = loaded(thin_spec.modified(act="gelu"), thin_file)
    assert coverage.share == 1
    torch.testing.assert_close(model(x), reference.eval()(x))


def test_figures_of_gelu_depthwise_and_cbam_by_hand(thin_file: Path, thin_spec: ModelSpec) -> None:
    """A stage of width w, from c to 4w channels: three 1x1 convolutions and four norms are loaded."""
    spec = thin_spec.modified(act="gelu", conv="depthwise", attn="cbam(reduction=16)", num_classes=5)
    model, coverage = loaded(spec, thin_file)
    body, filled = 0, 0
    for index, (c, w) in enumerate([(64, 64), (256, 128), (512, 256), (1024, 512)], 1):
        ones = c * w + w * 4 * w + c * 4 * w
        norms = 2 * (w + w + 4 * w + 4 * w)
        cbam = 2 * (4 * w) * (4 * w // 16) + 2 * 7 * 7
        assert stage(coverage, f"layer{index}") == {
            "loaded": (3 + 4 * 4, ones + norms),
            "new": (3, cbam),
            "shape_differs": (1, 9 * w),
        }
        filled += ones + norms
        body += ones + norms + cbam + 9 * w
    stem = 64 * 3 * 7 * 7 + 2 * 64
    assert stage(coverage, "stem") == {"loaded": (5, stem)}
    assert stage(coverage, "fc") == {"replaced": (2, 2048 * 5 + 5)}
    assert coverage.share == (filled + stem) / (body + stem)
    assert body + stem + 2048 * 5 + 5 == sum(parameter.numel() for parameter in model.parameters())
    assert [stage.stage for stage in coverage.stages] == ["stem", "layer1", "layer2", "layer3", "layer4", "fc"]
    assert coverage.total("shape_differs").names == tuple(f"layer{n}.0.conv2.weight" for n in (1, 2, 3, 4))
    assert coverage.differences[1].weights == (128, 128, 3, 3)
    assert coverage.differences[1].network == (128, 1, 3, 3)
    assert coverage.notes == (
        "depthwise convolutions where the weights have a dense kernel: 4; they keep their initial values, or take the "
        "kernels' diagonals with depthwise_from_dense",
    )
    kept = [coverage.total(kind).names for kind in ("new", "replaced", "shape_differs")]
    assert_initial(model, spec, tuple(name for names in kept for name in names))


def test_the_diagonal_is_all_of_a_kernel_that_has_nothing_else(
    thin: nn.Module, thin_spec: ModelSpec, x: Tensor, tmp_path: Path
) -> None:
    """The depthwise network computes what the dense one does where no dense 3x3 kernel mixes channels."""
    state = {name: tensor.clone() for name, tensor in thin.state_dict().items()}
    for name in [name for name in state if name.endswith("conv2.weight")]:
        state[name] *= torch.eye(len(state[name]))[:, :, None, None]
    torch.save(state, tmp_path / "w.pth")
    dense = torchvision.models.ResNet(torchvision.models.resnet.Bottleneck, [1, 1, 1, 1], num_classes=7)
    dense.load_state_dict(state)
    model, coverage = loaded(thin_spec.modified(conv="depthwise"), tmp_path / "w.pth", depthwise_from_dense=True)
    torch.testing.assert_close(model(x), dense.eval()(x))
    assert counts(coverage)["diagonal"] == (4, 9 * (64 + 128 + 256 + 512))
    assert coverage.share == 1
    assert coverage.notes == ("depthwise convolutions that took the diagonal of a dense kernel: 4",)


def test_the_diagonal_goes_into_the_first_of_two_convolutions(resnet18: nn.Module, resnet18_file: Path) -> None:
    """A 1x1 follows in a basic block; where channels grow, a kernel has more outputs than the filters."""
    spec = zoo.get("resnet18").modified(conv="depthwise")
    model, coverage = loaded(spec, resnet18_file, depthwise_from_dense=True)
    kernel = resnet18.state_dict()["layer2.0.conv1.weight"].numpy()
    filters = model.state_dict()["layer2.0.conv1.0.weight"].numpy()
    assert (kernel.shape, filters.shape) == ((128, 64, 3, 3), (64, 1, 3, 3))
    for c in range(64):
        np.testing.assert_array_equal(filters[c, 0], kernel[c, c])
    pairs = [(64, 64)] * 4 + [(64, 128)] + [(128, 128)] * 3 + [(128, 256)] + [(256, 256)] * 3 + [(256, 512)]
    pairs += [(512, 512)] * 3
    assert counts(coverage)["diagonal"] == (16, 9 * sum(c for c, _ in pairs))
    assert counts(coverage)["new"] == (16, sum(c * out for c, out in pairs))
    assert_initial(model, spec, coverage.total("new").names)


def test_a_separable_network_takes_its_own_weights_by_name(tmp_path: Path) -> None:
    spec = SMALL.modified(conv="separable")
    checkpoint.save(tmp_path / "w.safetensors", trained := build(spec, seed=7), spec)
    model, coverage = loaded(spec, tmp_path / "w.safetensors", depthwise_from_dense=True)
    assert set(counts(coverage)) == {"loaded"}
    torch.testing.assert_close(model.layer1[0].conv1[0].weight, trained.layer1[0].conv1[0].weight)


def test_group_norms_take_scale_and_shift_and_leave_statistics(thin_file: Path, thin_spec: ModelSpec) -> None:
    _, coverage = loaded(thin_spec.modified(norm="group"), thin_file)
    assert coverage.share == 1
    assert counts(coverage)["unused"] == (2 * 17, 0)
    assert stage(coverage, "stem")["unused"] == (2, 0)


def test_without_norms_convolutions_get_biases_that_are_new(thin_file: Path, thin_spec: ModelSpec) -> None:
    _, coverage = loaded(thin_spec.modified(norm="none"), thin_file)
    channels = 64 + sum(w + w + 4 * w + 4 * w for w in (64, 128, 256, 512))
    assert counts(coverage)["new"] == (17, channels)
    assert counts(coverage)["unused"] == (4 * 17, 2 * channels)


def test_statistics_that_the_weights_lack_are_new(tmp_path: Path) -> None:
    state = {n: t for n, t in build(SMALL, seed=7).state_dict().items() if not n.endswith(("running_mean", "_var"))}
    torch.save(state, tmp_path / "w.pth")
    _, coverage = loaded(SMALL, tmp_path / "w.pth")
    assert coverage.share == 1
    assert counts(coverage)["new"] == (2 * 19, 0)


def test_the_projection_of_a_pooled_shortcut_is_found(
    thin: nn.Module, thin_file: Path, thin_spec: ModelSpec, tmp_path: Path, x: Tensor
) -> None:
    spec = thin_spec.modified(shortcut="pooled_projection")
    model, coverage = loaded(spec, thin_file)
    assert (coverage.share, set(counts(coverage))) == (1, {"loaded"})
    ours, theirs = model.layer2[0].downsample, thin.layer2[0].downsample
    torch.testing.assert_close(ours[1].weight, theirs[0].weight)
    torch.testing.assert_close(ours[2].running_var, theirs[1].running_var)
    checkpoint.save(tmp_path / "pooled.safetensors", model, spec)
    back, coverage = loaded(thin_spec, tmp_path / "pooled.safetensors")
    assert (coverage.share, set(counts(coverage))) == (1, {"loaded"})
    torch.testing.assert_close(back(x), thin(x))


def test_a_shortcut_without_parameters_leaves_the_projection_unused(thin_file: Path, thin_spec: ModelSpec) -> None:
    _, coverage = loaded(thin_spec.modified(shortcut="zero_pad"), thin_file)
    assert coverage.share == 1
    projections = sum(c * 4 * w + 2 * 4 * w for c, w in [(64, 64), (256, 128), (512, 256), (1024, 512)])
    assert counts(coverage)["unused"] == (4 * 5, projections)


def test_parts_without_parameters_may_differ_unseen(thin_file: Path, thin_spec: ModelSpec) -> None:
    """All weights have a place in a network with another pool and blurred branches; a stem of patches has none."""
    _, coverage = loaded(thin_spec.modified(downsample="blur@3", pool="maximum"), thin_file)
    assert (coverage.share, set(counts(coverage))) == (1, {"loaded"})
    assert {
        "anti-aliasing where the resolution falls (strided, blur)", "pool before the classifier (maximum)",
    } <= set(coverage.unseen)  # fmt: skip
    _, coverage = loaded(thin_spec.modified(stem="patchify"), thin_file)
    assert not any(each.startswith("pool after the stem") for each in coverage.unseen)
    assert "loaded" not in stage(coverage, "stem")


def test_a_deep_stem_is_new_behind_a_first_convolution_of_another_shape(thin_file: Path, thin_spec: ModelSpec) -> None:
    spec = thin_spec.model_copy(update={"stem": zoo.get("resnet50d").stem})
    _, coverage = loaded(spec, thin_file)
    assert stage(coverage, "stem") == {
        "loaded": (4, 2 * 64),
        "new": (4 + 1 + 4 + 1, 2 * 32 + 32 * 32 * 9 + 2 * 32 + 32 * 64 * 9),
        "shape_differs": (1, 32 * 3 * 9),
    }
    assert coverage.notes == (
        "other tensors of another shape, which keep their initial values: 1, such as conv1.0.weight is (64, 3, 7, 7) "
        "in the weights and (32, 3, 3, 3) in the network",
    )


@pytest.mark.parametrize("channels", [1, 2, 4, 7])
@pytest.mark.parametrize("stem", ["resnet50", "resnet50d"])
def test_input_channels_are_converted_as_in_timm(
    channels: int, stem: str, thin_spec: ModelSpec, tmp_path: Path
) -> None:
    spec = thin_spec.model_copy(update={"stem": zoo.get(stem).stem})
    state = build(spec, seed=7).state_dict()
    torch.save(state, tmp_path / "w.pth")
    model, coverage = loaded(spec.modified(in_channels=channels), tmp_path / "w.pth")
    name = "conv1.weight" if stem == "resnet50" else "conv1.0.weight"
    torch.testing.assert_close(model.state_dict()[name], adapt_input_conv(channels, state[name]), rtol=0, atol=0)
    assert coverage.total("converted").names == (name,)
    assert coverage.total("converted").parameters == state[name][:, 0].numel() * channels
    assert coverage.share == 1
    done = "summed over the channels" if channels == 1 else "repeated and rescaled"
    assert coverage.notes == (
        f"the weights are for images of 3 channels and the network for {channels}, so {name} is {done}",
    )


def test_an_image_of_equal_channels_gives_the_same_through_a_converted_kernel(tmp_path: Path) -> None:
    """Also where the weights are for greyscale, which timm has no conversion for."""
    grey = build(SMALL.modified(in_channels=1), seed=7).eval()
    torch.save(grey.state_dict(), tmp_path / "w.pth")
    model, coverage = loaded(SMALL, tmp_path / "w.pth")
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(x.expand(-1, 3, -1, -1)), grey(x), rtol=1e-4, atol=1e-5)
    assert coverage.total("converted").names == ("conv1.weight",)


def test_stages_that_were_added_or_left_out(tmp_path: Path) -> None:
    torch.save(build(SMALL, seed=7).state_dict(), tmp_path / "w.pth")
    longer = SMALL.model_copy(update={"stages": (*SMALL.stages, SMALL.stages[-1])})
    shorter = SMALL.model_copy(update={"stages": SMALL.stages[:2]})
    _, coverage = loaded(longer, tmp_path / "w.pth")
    assert set(stage(coverage, "layer4")) == {"new"}
    assert stage(coverage, "fc") == {"loaded": (2, 64 * 3 + 3)}
    _, coverage = loaded(shorter, tmp_path / "w.pth")
    third = 32 * 64 * 9 + 5 * 64 * 64 * 9 + 6 * 2 * 64
    assert stage(coverage, "elsewhere") == {"unused": (6 * 5, third)}
    assert stage(coverage, "fc") == {"replaced": (2, 32 * 3 + 3)}


# ------------------------------------------------------------------------------ the classifier


@pytest.mark.parametrize(
    ("theirs", "ours", "kind"),
    [
        (("a", "b", "c"), ("a", "b", "c"), "loaded"),
        (("a", "b", "c"), ("c", "b", "a"), "replaced"),
        (("a", "b", "c"), ("x", "y", "z"), "replaced"),
        (("a", "b", "c"), (), "loaded"),
        ((), ("a", "b", "c"), "loaded"),
        (("a", "b", "c"), ("a", "b"), "replaced"),
    ],
)
def test_a_classifier_of_other_classes_is_replaced(
    theirs: tuple[str, ...], ours: tuple[str, ...], kind: str, tmp_path: Path
) -> None:
    checkpoint.save(tmp_path / "w.safetensors", trained := build(SMALL, seed=7), SMALL, classes=theirs)
    spec = SMALL.modified(num_classes=len(ours) or 3)
    model, coverage = loaded(spec, tmp_path / "w.safetensors", classes=ours)
    assert set(stage(coverage, "fc")) == {kind}
    assert coverage.share == 1
    if kind == "loaded":
        torch.testing.assert_close(model.fc.weight, trained.fc.weight)
    else:
        assert_initial(model, spec, ("fc.weight", "fc.bias"))


def test_weights_without_a_classifier(tmp_path: Path) -> None:
    torch.save({n: t for n, t in build(SMALL).state_dict().items() if not n.startswith("fc")}, tmp_path / "w.pth")
    _, coverage = loaded(SMALL, tmp_path / "w.pth")
    assert stage(coverage, "fc") == {"new": (2, 64 * 3 + 3)}
    assert coverage.share == 1


# ------------------------------------------------------------------------------ what is refused


def refusal(spec: ModelSpec, path: Path, state: dict[str, Tensor]) -> str:
    """The sentence with which the state dict is refused; the network must be as it was."""
    torch.save(state, path)
    model = build(spec, seed=1)
    with pytest.raises(CheckpointError) as failure:
        load_weights(model, spec, str(path))
    assert_initial(model, spec, tuple(model.state_dict()))
    return str(failure.value)


def refusal_of_network(spec: ModelSpec, theirs: ModelSpec, path: Path) -> str:
    """The same for zeros of another network's shapes; neither network takes any memory."""
    tensors = assemble(theirs, device="meta").model.state_dict()
    torch.save({name: torch.zeros(()).expand(tensor.shape) for name, tensor in tensors.items()}, path)
    with pytest.raises(CheckpointError) as failure:
        load_weights(assemble(spec, device="meta").model, spec, str(path))
    return str(failure.value)


END = "choose weights of a network of the same depth, block and width, or build the weights' network"


@pytest.mark.parametrize(
    ("ours", "theirs", "words_ours", "words_theirs"),
    [
        ("resnet18", "resnet50", "2+2+2+2 basic blocks of width 64", "3+4+6+3 bottleneck blocks of width 64"),
        ("resnet34", "resnet50", "3+4+6+3 basic blocks of width 64", "3+4+6+3 bottleneck blocks of width 64"),
        ("resnet34", "resnet18", "3+4+6+3 basic blocks of width 64", "2+2+2+2 basic blocks of width 64"),
        ("resnet18", "resnext101_32x8d", "2+2+2+2 basic blocks of width 64", "3+4+23+3 bottleneck blocks of width 256"),
        ("resnet20", "resnet110", "3+3+3 basic blocks of width 16", "18+18+18 basic blocks of width 16"),
    ],
)
def test_weights_of_another_network(ours: str, theirs: str, words_ours: str, words_theirs: str, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    assert refusal_of_network(zoo.get(ours), zoo.get(theirs), path) == (
        f"{path}: the weights are of a network with {words_theirs} ({theirs}), and this one has {words_ours} ({ours}); "
        f"{END}"
    )


def test_weights_of_another_depth_are_not_loaded_in_part(thin_spec: ModelSpec, tmp_path: Path) -> None:
    """ResNet-101's weights have every tensor that ResNet-50 needs."""
    path = tmp_path / "w.pth"
    deeper = thin_spec.model_copy(
        update={
            "stages": (*thin_spec.stages[:2], thin_spec.stages[2].model_copy(update={"depth": 2}), thin_spec.stages[3])
        }
    )
    assert refusal_of_network(thin_spec, deeper, path) == (
        f"{path}: the weights are of a network with 1+1+2+1 bottleneck blocks of width 64, and this one has "
        f"1+1+1+1 bottleneck blocks of width 64; {END}"
    )


def test_weights_of_another_width(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    wider = SMALL.model_copy(
        update={"stages": tuple(s.model_copy(update={"width": 8 * s.width}) for s in SMALL.stages)}
    )
    assert refusal_of_network(SMALL, wider, path) == (
        f"{path}: the weights are of a network with 3+3+3 basic blocks of width 128, and this one has "
        f"3+3+3 basic blocks of width 16 (resnet20); {END}"
    )


def test_foreign_names(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    state = {f"features.{number}.weight": torch.zeros(4) for number in range(5)}
    assert refusal(SMALL, path, state) == (
        f"{path}: nothing in it fits resnet20: its tensors are named features.0.weight, features.1.weight, "
        "features.2.weight, and the network's conv1.weight, bn1.weight, bn1.bias; give weights with torchvision's names"
    )


def test_a_classifier_alone_is_nothing(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    state = {name: tensor for name, tensor in build(SMALL).state_dict().items() if name.startswith("fc")}
    assert refusal(SMALL, path, state).startswith(f"{path}: nothing in it fits resnet20: its tensors are named fc")


def test_nothing_of_the_same_shape(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    assert refusal(SMALL, path, {"conv1.weight": torch.zeros(64, 3, 7, 7), "extra": torch.zeros(3)}) == (
        f"{path}: nothing in it fits resnet20: conv1.weight is (64, 3, 7, 7) in the weights and (16, 3, 3, 3) in the "
        "network; give weights of a network of the same channels"
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite(value: float, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    state = build(SMALL, seed=7).state_dict()
    state["layer3.2.bn2.weight"][5] = value
    assert refusal(SMALL, path, state) == (
        f"{path}: layer3.2.bn2.weight has non-finite values, so the training that wrote it "
        "diverged; give weights of an earlier epoch"
    )


def test_half_precision_is_widened(tmp_path: Path) -> None:
    torch.save({name: tensor.half() for name, tensor in build(SMALL, seed=7).state_dict().items()}, tmp_path / "w.pth")
    model, coverage = loaded(SMALL, tmp_path / "w.pth")
    assert coverage.share == 1
    assert model.conv1.weight.dtype == torch.float32
    torch.testing.assert_close(model.conv1.weight, build(SMALL, seed=7).conv1.weight, rtol=1e-3, atol=1e-4)


def test_a_stem_for_small_images_keeps_its_initial_values(resnet18_file: Path) -> None:
    stem = StemSpec(convs=(StemConv(out_channels=64, kernel_size=3, stride=1),), max_pool=False)
    spec = zoo.get("resnet18").model_copy(update={"stem": stem})
    model, coverage = loaded(spec, resnet18_file)
    assert counts(coverage)["shape_differs"] == (1, 64 * 3 * 3 * 3)
    assert_initial(model, spec, ("conv1.weight",))
