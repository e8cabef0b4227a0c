from collections.abc import Iterable, Sequence
from itertools import combinations, product
from typing import Any

import pytest
import torch
from torch import nn

import resnet_lab
from resnet_lab.core.errors import SpecError
from resnet_lab.network import builder, zoo
from resnet_lab.network.builder import assemble, build, plugins_needed, resolve
from resnet_lab.network.builtin.attentions import CBAM, SqueezeExcitation
from resnet_lab.network.model import Bottleneck, DropPath
from resnet_lab.network.plugins import OWN, Entry, Owner, Registry, load
from resnet_lab.network.spec import Component, ModelSpec

STRANGER = Owner("lab-stranger", "1.0")


class OwnWay(nn.Module):
    """A block with a convolution, norm and activation of its own, which asks for an attention alone."""

    def __init__(self, in_channels: int, width: int, out_channels: int, stride: int, parts: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 5, stride, padding=2)
        self.attn = parts.attn(out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.attn(self.conv(x)))


@pytest.fixture
def registry() -> Registry:
    found = load(only=[])
    found.add([Entry("block", "own_way", OwnWay, STRANGER)])
    return found


def test_the_public_way_is_the_same() -> None:
    from resnet_lab import ModelSpec

    spec = resnet_lab.network.zoo.get("resnet20").modified(act="gelu", num_classes=4)
    assert isinstance(spec, ModelSpec)
    assert "resnet50" in resnet_lab.network.zoo.names()
    by_name = resnet_lab.build("resnet20", act="gelu", num_classes=4, seed=2).state_dict()
    by_spec = resnet_lab.build(spec, seed=2).state_dict()
    assert all(torch.equal(by_name[key], by_spec[key]) for key in by_spec)
    assert resolve("resnet20", act="gelu", num_classes=4) == spec


def test_components_are_placed_where_chosen() -> None:
    model = build("resnet50", act="gelu", conv="depthwise", attn=["se", "cbam(reduction=8)@3,4"])
    assert isinstance(model.act1, nn.GELU)
    blocks: list[Any] = [module for module in model.modules() if isinstance(module, Bottleneck)]
    assert [type(block.attn) for block in blocks] == [SqueezeExcitation] * 7 + [CBAM] * 9
    assert blocks[-1].attn.fc1.out_channels == 2048 // 8
    for block in blocks:
        assert block.conv2.groups == block.conv2.in_channels == block.conv2.out_channels
        assert {type(block.act1), type(block.act2), type(block.act3)} == {nn.GELU}


def test_the_position_of_an_attention() -> None:
    for position, on_branch in (("branch", True), ("output", False)):
        block: Any = build("resnet20", attn=f"cbam(position={position})").get_submodule("layer1.0")
        assert isinstance(block.attn, CBAM) == on_branch
        assert isinstance(block.output_attn, CBAM) != on_branch
    block.eval()
    x = torch.rand(2, 16, 6, 6)
    branch = block.bn2(block.conv2(block.act1(block.bn1(block.conv1(x)))))
    torch.testing.assert_close(block(x), block.output_attn((branch + x).relu()))


@pytest.mark.parametrize("model", ["resnet18", "resnet20"])
def test_depthwise_without_a_1x1_gets_one_with_a_remark(model: str) -> None:
    built = assemble(resolve(model, conv="depthwise"))
    assert built.notes == [
        "depthwise in block basic: each is followed by a 1x1 convolution, or nothing would mix the channels"
    ]
    conv: Any = built.model.get_submodule("layer2.0.conv1")
    assert [(part.kernel_size, part.groups, part.stride) for part in conv] == [
        ((3, 3), conv[0].in_channels, (2, 2)),
        ((1, 1), 1, (1, 1)),
    ]
    assert assemble(resolve("resnet50", conv="depthwise")).notes == []


def test_norm_none_gives_convolutions_a_bias() -> None:
    for norm, has_bias in (("none", True), ("batch", False), ("layer", False)):
        model = build("resnet18d", norm=norm, conv="separable@2")
        convolutions = {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
        inner = {name for name in convolutions if name.startswith("layer2") and name.endswith(".0") and ".conv" in name}
        assert all((conv.bias is not None) == has_bias for name, conv in convolutions.items() if name not in inner)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attn": "cbm@3"}, "stage 3: unknown attention 'cbm'; did you mean 'cbam' or 'bam'?"),
        ({"attn": "cbam(reduction=0)"}, "stage 1: attention cbam(reduction=0): the reduction must be at least 1"),
        (
            {"attn": "se(reduction=true)"},
            "stage 1: attention se: parameter 'reduction': input should be a valid integer, got True",
        ),
        ({"act": "relu(slope=0.1)"}, "stage 1: activation relu has no parameter 'slope'; known: none"),
        ({"act": "rleu@stem"}, "stem: unknown activation 'rleu'; did you mean 'relu'"),
        (
            {"norm": "group(groups=48)@2"},
            "stage 2: norm group(groups=48) does not divide 128 channels; choose a divisor of them",
        ),
        ({"block": "bottleneck(groups=7)"}, "stage 1: block bottleneck(groups=7): 7 groups do not divide 64 channels"),
        ({"block": "bottleneck(groups=0)"}, "stage 1: block bottleneck(groups=0): groups must be at least 1, got 0"),
        (
            {"block": "bottleneck(groups=32)", "conv": "separable@2"},
            "stage 2: convolution separable cannot be put in 32 groups as block bottleneck(groups=32) asks; "
            "choose block bottleneck without groups, or convolution dense",
        ),
        ({"block": "own_way", "conv": "depthwise"}, "stage 1: block own_way has no 3x3 convolution, so depth"),
        ({"block": "own_way", "norm": "layer@1"}, "stage 1: block own_way has no norm, so layer cannot go there"),
        (
            {"block": "own_way", "act": "gelu@2"},
            "stage 2: block own_way has no activation, so gelu cannot go there; leave it at relu, or name other stages "
            "with gelu@...",
        ),
    ],
)  # fmt: skip
def test_impossible_networks_are_refused(registry: Registry, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as failure:
        build("resnet18", registry=registry, **changes)
    assert str(failure.value).startswith(message)


def test_a_zero_pad_shortcut_cannot_drop_channels() -> None:
    data = zoo.get("resnet20").model_dump(mode="json")
    data["stages"][1].update(out_channels=8, width=8)
    with pytest.raises(SpecError) as failure:
        build(resnet_lab.ModelSpec.from_dict(data))
    assert str(failure.value) == "stage 2: a zero_pad shortcut cannot lead from 16 to 8 channels"


def test_a_third_party_block_gets_the_parts_it_requests(registry: Registry) -> None:
    spec = resolve("resnet20", block="own_way", attn="se")
    built = assemble(spec, registry)
    assert isinstance(built.model.get_submodule("layer3.2.attn"), SqueezeExcitation)
    assert built.model(torch.randn(2, 3, 16, 16)).shape == (2, 10)
    assert plugins_needed(spec, registry) == {"lab-stranger": "1.0"}
    assert plugins_needed(resolve("resnet20", attn="cbam"), registry) == {}


def test_on_the_meta_device_nothing_is_allocated() -> None:
    model = assemble(zoo.get("wide_resnet101_2"), device="meta").model
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


KINDS = {"block": "block", "act": "activation", "conv": "convolution", "norm": "norm", "attn": "attention"}
CHOICES = [
    ["group(groups=8)" if name == "group" else name for name in load(only=[], files=[]).names(kind)]
    for kind in KINDS.values()
]


def require_that_all_learn(choices: Iterable[tuple[str, ...]]) -> None:
    """Forward and backward: no parameter is left out. Selective kernels refuse convolutions that cannot be dilated."""
    registry = load(only=[], files=[])
    data = zoo.get("resnet20").model_dump(mode="json")
    for stage in data["stages"]:
        stage["depth"] = 1
    tiny = resnet_lab.ModelSpec.from_dict(data).modified(input_size=8, shortcut="projection")
    x = torch.randn(2, 3, 8, 8)
    for choice in choices:
        parts = dict(zip(KINDS, choice, strict=True))
        if parts["block"].startswith("sk_") and parts["conv"] in ("ghost", "partial"):
            with pytest.raises(SpecError, match="cannot be dilated"):
                build(tiny, registry=registry, **parts)
            continue
        model = build(tiny, registry=registry, **parts)
        model(x).square().sum().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, (choice, name)
            assert parameter.grad.isfinite().all(), (choice, name)


def together(choice: tuple[str, ...], number: int) -> set[frozenset[tuple[int, str]]]:
    return {frozenset(parts) for parts in combinations(enumerate(choice), number)}


def covering(choices: Sequence[Sequence[str]], number: int) -> list[tuple[str, ...]]:
    """Few of all combinations, in which any so many parts stand together at least once; found greedily."""
    left, chosen = {choice: together(choice, number) for choice in product(*choices)}, []
    missing = set().union(*left.values())
    while missing:
        best = max(left, key=lambda choice: len(left[choice] & missing))
        chosen.append(best)
        missing -= left.pop(best)
    return chosen


@pytest.mark.slow
def test_any_two_parts_learn_together() -> None:
    chosen = covering(CHOICES, 2)
    wanted = {
        frozenset({(first, a), (second, b)})
        for first, second in combinations(range(len(CHOICES)), 2)
        for a in CHOICES[first]
        for b in CHOICES[second]
    }
    assert set().union(*(together(choice, 2) for choice in chosen)) == wanted
    require_that_all_learn(chosen)


@pytest.mark.long
def test_every_combination_learns() -> None:
    require_that_all_learn(product(*CHOICES))


@pytest.mark.parametrize("name", ["resnet18", "resnet56_b"])
def test_dropout_in_every_block_and_before_the_classifier(name: str) -> None:
    model = build(name, dropout=0.1, head_dropout=0.3)
    rates = [module.p for module in model.modules() if isinstance(module, nn.Dropout)]
    assert rates == [0.1] * sum(stage.depth for stage in zoo.get(name).stages) + [0.3]


def test_stochastic_depth_is_linear_over_the_blocks() -> None:
    """Eight blocks; the first has none. The rest of the network is what it is without."""
    model, plain = build("resnet18", drop_path=0.7), build("resnet18")
    rates = [module.probability for module in model.modules() if isinstance(module, DropPath)]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    assert model.state_dict().keys() == plain.state_dict().keys()
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(model.eval()(x), plain.eval()(x))
    assert ModelSpec.from_json(resolve("resnet18", drop_path=0.7).to_json()) == resolve("resnet18", drop_path=0.7)


def test_stages_with_a_dilation_for_their_stride_have_larger_maps() -> None:
    spec = resolve("resnet18", dilate=[3, 4])
    assert [(stage.stride, stage.dilation) for stage in spec.stages] == [(1, 1), (2, 1), (1, 2), (1, 4)]
    model = build(spec)
    assert model.layer4[0].conv1.dilation == (2, 2)
    assert {model.layer4[0].conv2.dilation, model.layer4[1].conv1.dilation} == {(4, 4)}
    assert model.features(torch.zeros(1, 3, 64, 64)).shape == (1, 512, 8, 8)
    assert ModelSpec.from_json(spec.to_json()) == spec


def test_a_wider_network_has_as_many_more_channels() -> None:
    """Parameters by hand: 3x3 convolutions, a scale and a shift for each channel, and the classifier."""
    spec = resolve("resnet20", widen=2.5)
    assert [conv.out_channels for conv in spec.stem.convs] == [40]
    assert [(stage.width, stage.out_channels) for stage in spec.stages] == [(40, 40), (80, 80), (160, 160)]
    convolutions = 9 * (3 * 40 + 6 * 40 * 40 + 40 * 80 + 5 * 80 * 80 + 80 * 160 + 5 * 160 * 160)
    norms = 2 * (7 * 40 + 6 * 80 + 6 * 160)
    assert sum(parameter.numel() for parameter in build(spec).parameters()) == convolutions + norms + 161 * 10
    assert resolve("resnet20", widen=1) == zoo.get("resnet20")
    narrow = resolve("resnet50", widen=0.001, stem="patchify")
    assert (narrow.stem.out_channels, narrow.stages[3].width, narrow.stages[3].out_channels) == (1, 1, 2)
    assert ModelSpec.from_json(narrow.to_json()) == narrow


def test_a_spec_without_stochastic_depth_and_dilation_has_no_trace_of_them() -> None:
    text = zoo.get("resnet18").modified(drop_path=0.0, dilate=[]).to_json()
    assert "drop_path" not in text
    assert "dilation" not in text


class WithoutPlaces(nn.Module):
    """A block that asks for nothing but convolutions."""

    def __init__(self, in_channels, width, out_channels, stride, parts):
        super().__init__()
        self.conv = parts.conv(in_channels, out_channels, stride)

    def forward(self, x):
        return self.conv(x)


def test_a_block_without_a_place_for_what_was_chosen_is_refused() -> None:
    registry = load(only=[])
    registry.add([Entry("block", "bare", WithoutPlaces, Owner("bare", "1"))])
    for changes, message in (
        ({"drop_path": 0.1}, "stage 1: block bare has no place for stochastic depth; leave it at 0"),
        (
            {"attn": "se(position=inner)"},
            "stage 1: block bare has no place for an attention, so se(position=inner) cannot go there; leave it at "
            "none, or name other stages with se(position=inner)@...",
        ),
    ):
        with pytest.raises(SpecError) as failure:
            build("resnet18", block="bare", norm="batch", registry=registry, **changes)
        assert str(failure.value) == message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dilate": [5]}, "dilate must be a list of stages of resnet18, from 1 to 4, got [5]"),
        ({"dilate": "3"}, "dilate must be a list of stages of resnet18, from 1 to 4, got '3'"),
        ({"widen": "2x"}, "widen must be a number above 0 and below 65536, such as 2 or 0.5, got '2x'"),
        ({"widen": True}, "widen must be a number above 0 and below 65536, such as 2 or 0.5, got True"),
        ({"widen": float("nan")}, "widen must be a number above 0 and below 65536, such as 2 or 0.5, got nan"),
        ({"dilate": [True]}, "dilate must be a list of stages of resnet18, from 1 to 4, got [True]"),
        (
            {"block": "sk_basic", "conv": "fixed"},
            "stage 1: convolution fixed cannot be dilated by 2, which the stage or block sk_basic asks for; choose one "
            "with a parameter dilation, such as dense",
        ),
        ({"conv": "dense(dilation=0)"}, "stage 1: convolution dense(dilation=0): the dilation must be at least 1"),
        (
            {"shortcut": "projection(kernel_size=2)"},
            "stage 2: shortcut projection(kernel_size=2): the kernel size must be 1 or 3",
        ),
    ],
)
def test_refused_dilations_and_kernels(changes: dict[str, Any], message: str) -> None:
    def fixed(in_channels, out_channels, stride, groups, bias):
        return nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=bias)

    registry = load(only=[])
    registry.add([Entry("convolution", "fixed", fixed, Owner("fixed", "1"))])
    with pytest.raises(SpecError) as failure:
        build("resnet18", registry=registry, **changes)
    assert str(failure.value) == message


def test_one_owner_is_the_program() -> None:
    assert {entry.owner for entry in load(only=[]).entries.values()} == {OWN}
    assert Component.parse("gelu") == zoo.get("resnet18").modified(act="gelu").stem.act


def test_zero_init_residual_without_a_last_norm_is_reported() -> None:
    spec = resolve("resnet20", norm="none")
    assert assemble(spec).notes == assemble(resolve("resnet20"), zero_init_residual=True).notes == []
    assert assemble(spec, zero_init_residual=True).notes == [
        f"zero_init_residual has no effect on layer{number}: its basic blocks end in no norm" for number in (1, 2, 3)
    ]


def test_a_network_beyond_the_memory_is_refused_before_it_is_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    """ResNet-20 with 10 classes has 272,474 parameters, 1,392 running statistics and 21 counts of batches."""
    spec = zoo.get("resnet20")
    model = build(spec)
    stored = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    needed = stored + 4 * 3 * 32 * 32
    monkeypatch.setattr(builder, "total_memory", lambda: needed)
    assert build(spec)
    monkeypatch.setattr(builder, "total_memory", lambda: needed - 1)
    with pytest.raises(SpecError) as failure:
        build(spec)
    assert str(failure.value) == (
        "resnet20: its tensors and one image of 32 x 32 pixels take 0.0 GiB, and this machine has 0.0; take fewer "
        "channels, blocks, classes or pixels"
    )
    monkeypatch.undo()
    wide = spec.model_dump(mode="json")
    for stage in wide["stages"]:
        stage["width"] = stage["out_channels"] = 2**16
    with pytest.raises(SpecError, match=r"resnet20: its tensors and one image .* take [\d,]+\.\d GiB, and"):
        build(ModelSpec.from_dict(wide))
    assert assemble(ModelSpec.from_dict(wide), device="meta").model


@pytest.mark.parametrize("name", ["resnet18", "resnet20", "resnet101"])
@pytest.mark.parametrize("attn", ["none", "cbam@2"])
def test_the_memory_of_a_network_is_that_of_all_its_blocks(name: str, attn: str) -> None:
    spec = resolve(name, attn=attn)
    whole = assemble(spec, device="meta").model.state_dict().values()
    needed = builder._tensor_bytes(spec, load(only=[]))
    assert needed == sum(tensor.numel() * tensor.element_size() for tensor in whole)


def test_a_network_that_is_built_again_is_not_counted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting it makes two blocks per stage."""
    devices: list[tuple[int, str | None]] = []
    assembled = builder._assembled

    def recorded(spec: ModelSpec, *arguments: Any) -> builder.Built:
        devices.append((spec.stages[0].depth, arguments[-1]))
        return assembled(spec, *arguments)

    monkeypatch.setattr(builder, "_assembled", recorded)
    spec = resolve("resnet20", num_classes=7, name="counted_once")
    build(spec)
    build(spec, seed=1)
    assert devices == [(2, "meta"), (3, None), (3, None)]


@pytest.mark.parametrize("attn", ["cbam(kernel_size=1000001)", "eca(kernel_size=1000001)", "eca(gamma=1e-300)"])
def test_kernels_of_attentions_are_bounded(attn: str) -> None:
    if "gamma" in attn:
        assert build("resnet20", attn=attn).layer1[0].attn.conv.kernel_size == (255,)  # the largest
        return
    with pytest.raises(SpecError, match=r"it must be odd, from 1 to 255"):
        build("resnet20", attn=attn)
