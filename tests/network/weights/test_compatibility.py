import pytest
import torch
import torchvision

from resnet_lab.network import zoo
from resnet_lab.network.builder import assemble
from resnet_lab.network.spec import ModelSpec
from resnet_lab.network.weights.compatibility import Anatomy, anatomy, anatomy_of, relatives

PUBLISHED = [name for name in zoo.names() if name in torchvision.models.list_models()]


def of_torchvision(name: str) -> Anatomy:
    with torch.device("meta"):
        return anatomy_of(torchvision.models.get_model(name).state_dict())


def test_there_are_ten_published_networks() -> None:
    assert len(PUBLISHED) == 10


@pytest.mark.parametrize("name", PUBLISHED)
def test_tensors_of_torchvision_have_the_anatomy_of_the_zoo(name: str) -> None:
    assert of_torchvision(name) == anatomy(zoo.get(name))


@pytest.mark.parametrize("one", ["resnet18", "resnet34", "resnet50", "resnet101", "wide_resnet50_2"])
@pytest.mark.parametrize("another", ["resnet18", "resnet34", "resnet50", "resnet152", "wide_resnet101_2", "resnet20"])
def test_published_networks_are_kin_of_themselves_alone(one: str, another: str) -> None:
    assert of_torchvision(one).is_compatible(anatomy(zoo.get(another))) == (one == another)


@pytest.mark.parametrize(
    "changes",
    [
        {"act": "gelu", "conv": "depthwise", "attn": "cbam", "norm": "group", "name": "mine"},
        {"conv": "separable", "shortcut": "zero_pad"},
        {"shortcut": "pooled_projection", "in_channels": 1, "num_classes": 3},
        {"block": "bottleneck(stride_on=conv1)"},
        {"block": "bottleneck(groups=4)"},
    ],
    ids=str,
)
def test_changes_of_components_leave_the_anatomy(changes: dict[str, object]) -> None:
    spec = zoo.get("resnet50").modified(**changes)
    tensors = assemble(spec, device="meta").model.state_dict()
    assert anatomy_of(tensors)[:3] == anatomy(zoo.get("resnet50"))[:3]
    assert relatives(spec, PUBLISHED) == ["resnet50"]


def test_blocks_of_two_convolutions_for_one_keep_their_width() -> None:
    spec = zoo.get("resnet18").modified(conv="depthwise")
    tensors = assemble(spec, device="meta").model.state_dict()
    assert anatomy_of(tensors)[:3] == (("basic",) * 4, (2, 2, 2, 2), (64, 128, 256, 512))


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_network_is_its_own_nearest_relative(name: str) -> None:
    spec = zoo.get(name).modified(name="mine", num_classes=2)
    assert relatives(spec, PUBLISHED)[0] == name


def test_deep_stems_and_older_strides_are_changes() -> None:
    assert relatives(zoo.get("resnet50d"), PUBLISHED) == ["resnet50"]
    assert relatives(zoo.get("resnet34_v1"), PUBLISHED) == ["resnet34"]


def test_networks_are_distinguished_by_groups_before_names() -> None:
    """No published network has 8 groups, and both of these have its blocks, depths and channels."""
    for name in ("wide_resnet50_2", "resnext50_32x4d"):
        spec = zoo.get(name).modified(block="bottleneck(groups=8)")
        assert relatives(spec, PUBLISHED)[0] == name


def test_networks_of_other_channels_have_no_relatives() -> None:
    assert relatives(zoo.get("resnet20"), PUBLISHED) == []
    assert relatives(zoo.get("resnet50").modified(block="basic"), PUBLISHED) == []


def test_a_stage_less_or_one_of_another_width_is_a_change() -> None:
    spec = zoo.get("resnet18")
    shorter = spec.model_copy(update={"stages": spec.stages[:3]})
    wider = (*spec.stages[:3], spec.stages[3].model_copy(update={"width": 600, "out_channels": 600}))
    theirs = of_torchvision("resnet18")
    assert theirs.is_compatible(anatomy(shorter))
    assert theirs.is_compatible(anatomy(spec.model_copy(update={"stages": wider})))


def test_blocks_of_another_kind_are_compared_by_depth_alone() -> None:
    other = anatomy(zoo.get("resnet18").modified(block="mine"))
    assert other.blocks == ("",) * 4
    assert of_torchvision("resnet18").is_compatible(other)
    assert not of_torchvision("resnet34").is_compatible(other)


def test_names_of_another_scheme_have_no_stages_and_are_left_to_what_fits() -> None:
    theirs = anatomy_of({"features.0.weight": torch.empty(64, 3, 3, 3)})
    assert theirs == ((), (), (), 1)
    assert theirs.is_compatible(anatomy(zoo.get("resnet18")))


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (zoo.get("resnet101"), "3+4+23+3 bottleneck blocks of width 64 (resnet101)"),
        (zoo.get("resnext50_32x4d"), "3+4+6+3 bottleneck blocks of width 128 (resnext50_32x4d)"),
        (zoo.get("resnet20").modified(block="mine"), "3+3+3 blocks of width 16"),
    ],
)
def test_the_words_for_it(spec: ModelSpec, text: str) -> None:
    assert str(anatomy(spec)) == text


def test_unknown_widths_are_left_out() -> None:
    assert str(anatomy_of({"layer1.0.norm.weight": torch.empty(3)})) == "1 blocks"
