import json
import random
import string
import tomllib
from typing import Any

import pytest
from pydantic import ValidationError

from resnet_lab.core.errors import SpecError
from resnet_lab.network import zoo
from resnet_lab.network.spec import BlockSpec, Component, HeadSpec, ModelSpec, StageSpec, parse_assignment

SPEC = zoo.get("resnet50")


@pytest.mark.parametrize(
    ("text", "name", "parameters"),
    [
        ("gelu", "gelu", {}),
        (" cbam ( reduction = 8 ) ", "cbam", {"reduction": 8}),
        ("cbam(norm=true, position=output)", "cbam", {"norm": True, "position": "output"}),
        ("x(a=False,b=-1,c=2.5e-3,d='3x3')", "x", {"a": False, "b": -1, "c": 0.0025, "d": "3x3"}),
        ("x()", "x", {}),
    ],
)
def test_components_are_parsed(text: str, name: str, parameters: dict[str, Any]) -> None:
    component = Component.parse(text)
    assert (component.name, dict(component.parameters)) == (name, parameters)
    assert all(type(value) is type(parameters[key]) for key, value in component.parameters)


def test_what_is_printed_is_parsed_back() -> None:
    draw = random.Random(0)

    def value() -> bool | int | float | str:
        letters = "".join(draw.choices(string.ascii_letters, k=4))
        return draw.choice([True, False, draw.randint(-99, 99), draw.uniform(-9, 9), letters, "true", "3 x 3", "it's"])

    for _ in range(500):
        parameters = tuple(sorted({draw.choice(string.ascii_lowercase): value() for _ in range(3)}.items()))
        component = Component(name="x", parameters=parameters)
        again = Component.parse(str(component))
        assert again == component
        assert [type(new) for _, new in again.parameters] == [type(old) for _, old in parameters]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3x",
        "a(",
        "a(1)",
        "a(b=[1])",
        "a(**b)",
        "a(b=1, b=2)",
        "a(b=1e999)",
        "a.b",
        "a(b=None)",
        "a b",
        "a(b=c(d=1))",
    ],
)
def test_text_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(SpecError) as failure:
        Component.parse(text)
    assert str(failure.value) == f"component {text!r} is not of the form name or name(key=value, ...)"


def test_names_are_lower_case() -> None:
    with pytest.raises(SpecError) as failure:
        Component.parse("CBAM")
    assert str(failure.value) == "component name 'CBAM' must be lower case letters, digits and underscores"


@pytest.mark.parametrize(
    ("text", "component", "stages"),
    [
        ("se", "se", None),
        ("se@3,4", "se", (3, 4)),
        ("gelu(approximate=tanh)@stem, 2", "gelu(approximate=tanh)", (0, 2)),
    ],
)
def test_stages_are_named_after_at(text: str, component: str, stages: tuple[int, ...] | None) -> None:
    parsed, targets = parse_assignment(text)
    assert (str(parsed), targets) == (component, stages)


@pytest.mark.parametrize(
    ("text", "first", "second"),
    [
        ("cbam@3,eca@4", "cbam@3", "eca@4"),
        ("cbam,eca", "cbam", "eca"),
        ("cbam(reduction=8)@3,4,se@stem", "cbam(reduction=8)@3,4", "se@stem"),
    ],
)
def test_several_components_in_one_text_are_told_how_to_be_written(text: str, first: str, second: str) -> None:
    with pytest.raises(SpecError) as failure:
        zoo.get("resnet50").modified(attn=text)
    assert str(failure.value) == (
        f"{text!r} has 2 components where one belongs; give each by itself, as {first!r} and {second!r}: an option is "
        "repeated, and a file or a call has a list"
    )
    assert zoo.get("resnet50").modified(attn=["cbam@3", "eca@4"]).stages[3].block.attn.name == "eca"


@pytest.mark.parametrize("stage", ["0", "-1", "x", "", "1.5", "²"])
def test_other_stages_are_refused(stage: str) -> None:
    with pytest.raises(SpecError) as failure:
        parse_assignment(f"se@{stage}")
    assert str(failure.value) == (
        f"'se@{stage}': after @ come stage numbers from 1, or stem, separated by commas; got {stage!r}"
    )


def slots(spec: ModelSpec, slot: str) -> list[str]:
    stem = [str(getattr(spec.stem, slot))] if hasattr(spec.stem, slot) else []
    return [*stem, *(str(getattr(stage.block, slot)) for stage in spec.stages)]


@pytest.mark.parametrize(
    ("slot", "choice", "expected"),
    [
        ("act", "gelu", ["gelu"] * 5),
        ("act", "gelu@3,4", ["relu", "relu", "relu", "gelu", "gelu"]),
        ("act", "gelu@stem", ["gelu", "relu", "relu", "relu", "relu"]),
        ("act", ["gelu", "mish@2"], ["gelu", "gelu", "mish", "gelu", "gelu"]),
        ("attn", "se@4", ["none", "none", "none", "se"]),
        ("attn", Component(name="se"), ["se"] * 4),
        ("norm", "group(groups=16)", ["group(groups=16)"] * 5),
        ("conv", "depthwise@1", ["depthwise", "dense", "dense", "dense"]),
    ],
)
def test_modified_replaces_what_is_named(slot: str, choice: Any, expected: list[str]) -> None:
    changed = SPEC.modified(**{slot: choice})
    assert slots(changed, slot) == expected
    untouched = {"act", "attn", "norm", "conv", "kind"} - {slot}
    assert all(slots(changed, other) == slots(SPEC, other) for other in untouched)


def test_modified_sets_the_rest() -> None:
    changed = SPEC.modified(
        block="basic@1", shortcut="zero_pad", dropout=0.1, head_dropout=0.2, num_classes=5, in_channels=1,
        input_size=64, name="mine",
    )  # fmt: skip
    assert [str(stage.block.kind) for stage in changed.stages] == ["basic"] + ["bottleneck"] * 3
    assert {(str(stage.block.shortcut), stage.block.dropout) for stage in changed.stages} == {("zero_pad", 0.1)}
    assert changed.head == HeadSpec(num_classes=5, dropout=0.2)
    assert (changed.in_channels, changed.input_size, changed.name) == (1, 64, "mine")
    assert SPEC.modified() == SPEC == zoo.get("resnet50")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attn": "se@5"}, "se: resnet50 has no such part in stage 5; it can go to stages 1 to 4"),
        ({"attn": "se@stem"}, "se: resnet50 has no such part in the stem; it can go to stages 1 to 4"),
        ({"act": "gelu@9"}, "gelu: resnet50 has no such part in stage 9; it can go to stages 1 to 4 and stem"),
        ({"act": 3}, "act must be a component, written as text, or a list of them, got 3"),
        ({"num_classes": 0}, "resnet50: head.num_classes: input should be greater than or equal to 1, got 0"),
        ({"num_classes": 2.5}, "resnet50: head.num_classes: input should be a valid integer, got 2.5"),
        ({"input_size": -1}, "resnet50: input_size: input should be greater than or equal to 1, got -1"),
        ({"dropout": 1.0}, "resnet50: stages.0.block.dropout: input should be less than 1, got 1.0"),
        ({"head_dropout": -0.1}, "resnet50: head.dropout: input should be greater than or equal to 0, got -0.1"),
    ],
)
def test_impossible_changes_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as failure:
        SPEC.modified(**changes)
    assert str(failure.value) == message


@pytest.mark.parametrize("row", zoo.ROWS, ids=lambda row: row.name)
def test_json_comes_back_equal(row: zoo.Row) -> None:
    for spec in (
        row.spec,
        row.spec.modified(act="gelu(approximate=tanh)", attn=["se", "cbam(norm=true)@2"], dropout=0.1),
    ):
        again = ModelSpec.from_json(spec.to_json())
        assert again == spec
        assert hash(again) == hash(spec)
        assert json.loads(spec.to_json())["format"] == 1


def test_toml_says_the_same() -> None:
    text = """
        name = "tiny"
        input_size = 8
        [stem]
        max_pool = false
        convs = [{ out_channels = 4, kernel_size = 3, stride = 1 }]
        [[stages]]
        depth = 1
        width = 4
        out_channels = 4
        stride = 1
        block = { kind = "basic", attn = "cbam(reduction=2)" }
        [head]
        num_classes = 2
    """
    spec = ModelSpec.from_dict(tomllib.loads(text))
    assert spec.stages[0].block.attn == Component(name="cbam", parameters=(("reduction", 2),))
    assert ModelSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "here: spec format 2 is newer than this resnet-lab reads (1); upgrade resnet-lab"),
        ({"format": 0}, "here: format: input should be 1, got 0"),
        ({"colour": 1}, "here: colour: extra inputs are not permitted, got 1 (unknown key; check its spelling, or"),
        ({"stages": []}, "here: stages: list should have at least 1 item, got []"),
        ({"in_channels": "3"}, "here: in_channels: input should be a valid integer, got '3'"),
        ({"head": {}}, "here: head.num_classes: field required"),
        (
            {"stem": {"convs": [{"out_channels": 0, "kernel_size": 1, "stride": 1}]}},
            "here: stem.convs.0.out_channels: ",
        ),
    ],
)
def test_a_spec_of_another_form_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as failure:
        ModelSpec.from_dict({**SPEC.model_dump(mode="json"), **change}, "here")
    assert str(failure.value).startswith(message)


@pytest.mark.parametrize(
    ("key", "value", "most"),
    [
        ("input_size", 10**9, 8192),
        ("in_channels", 10**6, 1024),
        ("stages.0.width", 2**40, 2**16),
        ("stages.0.out_channels", 2**16 + 1, 2**16),
        ("stages.0.depth", 10**9, 1024),
        ("stages.0.stride", 65, 64),
        ("stem.convs.0.kernel_size", 10**6, 255),
        ("stem.convs.0.out_channels", 2**63, 2**16),
        ("head.num_classes", 10**9, 10**6),
    ],
)
def test_sizes_are_bounded(key: str, value: int, most: int) -> None:
    data = table = SPEC.model_dump(mode="json")
    *place, last = (int(part) if part.isdigit() else part for part in key.split("."))
    for part in place:
        table = table[part]
    table[last] = value
    with pytest.raises(SpecError) as failure:
        ModelSpec.from_dict(data, "here")
    assert str(failure.value) == f"here: {key}: input should be less than or equal to {most}, got {value}"


def test_blocks_are_bounded_in_all_stages_together() -> None:
    data = SPEC.model_dump(mode="json")
    for stage in data["stages"]:
        stage["depth"] = 500
    with pytest.raises(SpecError, match="here: the stages should have at most 1024 blocks in all, not 2000, got"):
        ModelSpec.from_dict(data, "here")


@pytest.mark.parametrize("text", ["cbam(reduction=" + "-" * 900 + "1)", "(" * 900, "cbam(x=" + "[" * 500, "a" * 10**6])
def test_a_component_that_python_cannot_parse(text: str) -> None:
    with pytest.raises(SpecError) as failure:
        Component.parse(text)
    assert str(failure.value).startswith("component '")
    assert len(str(failure.value)) < 200


def test_a_component_inside_a_spec_is_checked() -> None:
    data = SPEC.model_dump(mode="json")
    data["stages"][0]["block"]["attn"] = "se("
    with pytest.raises(SpecError, match=r"component 'se\(' is not of the form"):
        ModelSpec.from_dict(data)


def test_text_that_is_no_json() -> None:
    with pytest.raises(SpecError) as failure:
        ModelSpec.from_json("nope", "net.json")
    assert str(failure.value) == "net.json: not JSON: Expecting value: line 1 column 1 (char 0)"


@pytest.mark.parametrize("counts", [{"depth": 0}, {"width": -1}, {"out_channels": 0}, {"stride": 0}, {"depth": True}])
def test_counts_are_positive_whole_numbers(counts: dict[str, int]) -> None:
    good = {
        "depth": 1,
        "width": 1,
        "out_channels": 1,
        "stride": 1,
        "block": BlockSpec.model_validate({"kind": "basic"}),
    }
    StageSpec.model_validate(good)
    with pytest.raises(ValidationError):
        StageSpec.model_validate({**good, **counts})


def test_specs_are_frozen_and_can_be_keys() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        SPEC.name = "other"  # type: ignore[misc]
    assert {SPEC: 1}[zoo.get("resnet50")] == 1


def test_the_hash_is_that_of_the_architecture() -> None:
    """The name is a label; anything else counts."""
    assert SPEC.modified(name="mine").hash == SPEC.hash
    changes = (
        {"act": "gelu"}, {"conv": "depthwise@4"}, {"attn": "se"}, {"attn": "se(reduction=8)"}, {"norm": "layer"},
        {"num_classes": 10}, {"input_size": 96}, {"dropout": 0.1}, {"head_dropout": 0.1}, {"shortcut": "zero_pad"},
    )  # fmt: skip
    hashes = {SPEC.hash, *(SPEC.modified(**change).hash for change in changes), *(row.spec.hash for row in zoo.ROWS)}
    same_as_others = {"resnet50", "resnet18_v1", "resnet34_v1"}  # basic blocks have no 1x1 to put the stride in
    assert len(hashes) == 1 + len(changes) + len(zoo.ROWS) - len(same_as_others)
