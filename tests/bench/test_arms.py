import pytest

from resnet_lab.bench.arms import BenchArm, arms_of
from resnet_lab.core.errors import ConfigError, SpecError
from resnet_lab.network import zoo

R18, R50 = zoo.get("resnet18"), zoo.get("resnet50")


def test_every_combination_the_first_of_each_being_the_baseline() -> None:
    arms = arms_of([R18], {"act": ["relu", "gelu"], "attn": ["none", "cbam"]}, sizes=[64], batches=[4])
    assert [arm.name for arm in arms] == ["relu none", "relu cbam", "gelu none", "gelu cbam"]
    assert arms[3].spec == R18.modified(act="gelu", attn="cbam", input_size=64)
    assert arms[0].spec.hash == R18.modified(input_size=64).hash
    assert {arm.batch for arm in arms} == {4}


def test_how_they_run_is_a_list_too() -> None:
    arms = arms_of(
        [R18, R50], {}, sizes=[64, 96], precisions=["fp32", "bf16"], compiled=["off", "on"], layouts=[True, False]
    )
    assert len(arms) == 32
    assert arms[0].name == "resnet18 64px fp32 eager channels-last"
    assert arms[-1].name == "resnet50 96px bf16 compiled channels-first"
    assert (arms[-1].spec.input_size, arms[-1].precision, arms[-1].compile, arms[-1].channels_last) == (
        96, "bf16", "on", False,
    )  # fmt: skip


def test_peers_follow_each_arm() -> None:
    arms = arms_of([R18], {"act": ["relu", "gelu"]}, peers=["timm", "torchvision"])
    assert [arm.name for arm in arms[:4]] == ["relu", "relu (timm)", "relu (torchvision)", "gelu"]
    assert [arm.maker for arm in arms[:3]] == ["resnet-lab", "timm", "torchvision"]


def test_one_arm_has_the_network_s_name() -> None:
    assert arms_of([R50], {}) == [BenchArm("resnet50", R50, 8)]


def test_the_same_arm_twice_is_refused() -> None:
    with pytest.raises(ConfigError) as failure:
        arms_of([R18], {"act": ["relu", "gelu", "relu"]})
    assert str(failure.value) == "the arms 'relu' and 'relu' are the same network, run alike; name one"


def test_a_component_of_another_form_is_refused_at_once() -> None:
    with pytest.raises(SpecError, match="is not of the form"):
        arms_of([R18], {"act": ["relu", "ge lu"]})


def test_arms_and_batches_are_bounded() -> None:
    with pytest.raises(ConfigError) as failure:
        arms_of([R18] * 100, {"act": ["relu"] * 1000}, batches=range(1, 1001))
    assert str(failure.value) == "100,000,000 arms, and a bench has at most 1,024; name fewer of each"
    with pytest.raises(ConfigError) as failure:
        arms_of([R18], {}, batches=[10**9])
    assert str(failure.value) == "a batch has 1 to 1,000,000 images, got 1000000000"
