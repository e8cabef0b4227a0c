"""The program's own studies: that their arms differ in what their questions are about, and in nothing else."""

from pathlib import Path

import pytest

from resnet_lab.core.errors import ConfigError
from resnet_lab.network import zoo
from resnet_lab.network.cost import measure
from resnet_lab.network.differences import differences
from resnet_lab.study.design import Arm, Study, new_study, read_study
from resnet_lab.study.design_files import read_tables, shipped

WEIGHTS = "resnet20.th"


def arms_of(name: str) -> dict[str, Arm]:
    return {arm.name: arm for arm in read_study(Path(name)).arms}


def changed(arm: Arm, base: Arm) -> tuple[list[str], dict[str, object]]:
    """Parts of the network and keys of the training in which an arm differs; data are the same."""
    assert arm.data == base.data
    own, other = arm.train.model_dump(), base.train.model_dump()
    return sorted(differences(arm.spec, base.spec)), {key: value for key, value in own.items() if value != other[key]}


GELU = ["activation gelu for relu in stages 1 to 3", "activation gelu for relu in the stem"]


def gate(text: str, stages: str) -> str:
    return f"attention {text} in {stages}"


DEPTHWISE = "3x3 convolution depthwise for dense in stages 1 to 3"
IN_THEIR_ARMS = {
    "digits-parts-small": {
        "gelu": (GELU, {}),
        "depthwise": ([DEPTHWISE], {}),
        "cbam": ([gate("cbam for none", "stages 1 to 3")], {}),
    },
    "cbam-place": {
        "none": ([gate("none for cbam", "stages 1 to 3")], {}),
        "output": ([gate("cbam(position=output) for cbam", "stages 1 to 3")], {}),
        "stages 2-3": ([gate("none for cbam", "stage 1")], {}),
        "stage 3": ([gate("none for cbam", "stages 1 to 2")], {}),
    },
    "gelu-scale": {
        "gelu": (GELU, {}),
        "gelu-gain": (GELU, {"init_gain": "activation"}),
    },
    "transfer-attention": {
        "none cbam(init=identity)": ([gate("cbam(init=identity) for none", "stages 1 to 3")], {}),
        f"{WEIGHTS} none": ([], {"weights": WEIGHTS}),
        f"{WEIGHTS} cbam(init=identity)": (
            [gate("cbam(init=identity) for none", "stages 1 to 3")], {"weights": WEIGHTS},
        ),
    },
    "cifar-transfer": {
        "modified": (
            [DEPTHWISE, *GELU, gate("cbam for none", "stages 1 to 3")], {},
        ),
        "fine-tuned": ([], {"weights": WEIGHTS}),
        "frozen-1-2": ([], {"weights": WEIGHTS, "freeze": ("stem", "layer1", "layer2")}),
        "frozen-1-3": ([], {"weights": WEIGHTS, "freeze": ("stem", "layer1", "layer2", "layer3")}),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", IN_THEIR_ARMS)
def test_arms_differ_from_the_baseline_as_the_question_says(name: str) -> None:
    baseline, *others = arms_of(name).values()
    assert {arm.name: changed(arm, baseline) for arm in others} == IN_THEIR_ARMS[name]


def test_activations_have_the_same_initial_weights_unless_the_arm_says_otherwise() -> None:
    assert [arm.train.init_gain for arm in arms_of("gelu-scale").values()] == ["fixed", "fixed", "activation"]


@pytest.mark.parametrize("classes", [2, 4, 10])
def test_depthwise_convolutions_are_widened_to_the_multiply_adds_of_dense_ones(classes: int) -> None:
    arms = arms_of("depthwise-equal-macs")
    macs = {name: measure(arm.spec.modified(num_classes=classes)).macs for name, arm in arms.items()}
    assert macs["depthwise-wide"] / macs["dense"] == pytest.approx(1, abs=0.02)
    assert macs["depthwise"] / macs["dense"] == pytest.approx(0.16, abs=0.01)
    assert {stage.block.conv.name for stage in arms["depthwise-wide"].spec.stages} == {"depthwise"}
    assert [stage.width for stage in arms["depthwise"].spec.stages] == [16, 32, 64]


def test_the_counts_by_hand() -> None:
    """A dense 3x3 has 9 C C' multiply-adds per pixel, a depthwise one and its 1x1 9 C + C C'."""
    (side, widths), ratio = (32, (16, 32, 64)), 2.8125
    counted = {"dense": 27 * side**2 * 16, "depthwise-wide": 27 * side**2 * 45}
    for name, factor in {"dense": 1, "depthwise-wide": ratio}.items():
        before = widths[0]
        for stage, width in enumerate(widths):
            pixels = (side >> stage) ** 2
            for channels in (before, *[width] * 5):
                own, out = round(channels * factor), round(width * factor)
                counted[name] += pixels * (9 * own * out if name == "dense" else 9 * own + own * out)
            before = width
        counted[name] += round(widths[-1] * factor) * 10
    arms = arms_of("depthwise-equal-macs")
    assert {name: measure(arms[name].spec).macs for name in counted} == counted


@pytest.mark.parametrize("name", shipped())
def test_every_arm_s_network_can_be_built_and_learning_rates_are_alike(name: str) -> None:
    study: Study = read_study(Path(name))
    assert study.plan.name == name
    assert study.plan.description.endswith(".")
    for arm in study.arms:
        assert measure(arm.spec).parameters > 0
    if not name.startswith("paintings"):  # whose rates are the paintings study's
        assert len({arm.train.lr for arm in study.arms}) == 1


def test_the_zeros_of_shortcuts_are_where_the_public_weights_have_them() -> None:
    for name in ("cifar-transfer", "transfer-attention"):
        for arm in arms_of(name).values():
            assert {str(stage.block.shortcut) for stage in arm.spec.stages} == {"zero_pad(zeros=both)"}


def test_weights_elsewhere_are_those_of_all_arms_that_have_some() -> None:
    tables = read_tables(Path("cifar-transfer"))
    moved = new_study({**tables, "train": {**tables["train"], "weights": "other.th"}}, "here")
    assert [arm.train.weights for arm in moved.arms] == [None, None, "other.th", "other.th", "other.th"]


def test_a_width_is_a_factor_too() -> None:
    wide = new_study({"study": {"factors": {"widen": [1, 2.5]}}, "model": {"model": "resnet20"}}, "here")
    assert [arm.spec for arm in wide.arms] == [zoo.get("resnet20"), zoo.get("resnet20").modified(widen=2.5)]
    with pytest.raises(ConfigError, match=r"arm '1': unknown key 'width'; write one of .*, widen, input_size, or"):
        new_study({"study": {"factors": {"width": [1, 2.5]}}}, "here")
