from typing import Any

import pytest

from resnet_lab.core.errors import ConfigError, ResNetLabError
from resnet_lab.network import zoo
from resnet_lab.network.plugins import load
from resnet_lab.study.design import study_from
from resnet_lab.study.space import check_space, space_from

REGISTRY = load(only=[])


def tables(**study: Any) -> dict[str, Any]:
    return {"study": study, "model": {"model": "resnet20", "input_size": 8}, "data": {"source": "digits"}}


def test_values_make_an_arm() -> None:
    space = space_from(
        tables(factors={"act": ["relu", "gelu"]}, search={"train.lr": {"low": 1e-4, "high": 0.1, "log": True}}),
        "s.toml",
    )
    assert space.baseline == {"act": "relu"}
    arm = space.arm({"act": "gelu", "train.lr": 0.01})
    assert arm.spec == zoo.get("resnet20").modified(act="gelu", input_size=8)
    assert arm.train.lr == 0.01
    assert arm.hash == space.arm({"train.lr": 0.01, "act": "gelu"}).hash != space.arm(space.baseline).hash


@pytest.mark.parametrize(
    ("study", "message"),
    [
        ({}, "there is nothing to search; give a factor two levels, or [study.search] a range"),
        ({"factors": {"act": ["relu"]}}, "there is nothing to search; give a factor two levels, or [study.search] a"),
        ({"search": {"train.lr": {"low": 0.1, "high": 0.1}}}, "study.search: train.lr: low must be less than high"),
        (
            {"search": {"train.lr": {"low": 0.1, "high": 0.01}}},
            "study.search: train.lr: low must be less than high, got 0.1 and 0.01",
        ),
        (
            {"search": {"train.weight_decay": {"low": 0.0, "high": 0.1, "log": True}}},
            "study.search: train.weight_decay: a range by log must begin above 0, got 0",
        ),
        ({"search": {"train.lr": {"low": 1e-3}}}, "study: search.train.lr.high: field required"),
        (
            {"search": {"train.lr": {"low": 1e-3, "high": 1e-2, "step": 2}}},
            "study: search.train.lr.step: extra inputs are not permitted, got 2 (unknown key; check its spelling, ",
        ),
        ({"search": {"lr": {"low": 1e-3, "high": 1e-2}}}, "arm 'arm': unknown key 'lr'; write one of model, depth, "),
        (
            {"search": {"train.lrr": {"low": 1e-3, "high": 1e-2}}},
            "arm 'arm': setting 'train.lrr=0.001': unknown key 'lrr' of train; did you mean 'lr'",
        ),
        (
            {"search": {"train.label_smoothing": {"low": 0.5, "high": 1.5}}},
            "arm 'arm': label_smoothing: input should be less than 1, got 1.5",
        ),
        (
            {"factors": {"train.lr": [0.1, 0.2]}, "search": {"train.lr": {"low": 1e-3, "high": 1e-2}}},
            "study.search: train.lr is a factor too; leave one of them",
        ),
        ({"factors": {"act": ["relu", "relu"]}}, "factor act needs different levels, got ['relu', 'relu']"),
        (
            {"arms": {"a": {}, "b": {"act": "gelu"}}},
            "a search has factors and ranges, not arms; give [study.factors] or [study.search]",
        ),
        (
            {"factors": {"act": ["relu", "gelu"]}, "tune_lr": [0.1, 0.2]},
            "tune_lr has no place in a search; give train.lr a range in [study.search]",
        ),
        (
            {"factors": {"act": ["relu", "gelu"]}, "budget": {"seconds": 3.0}},
            "a search has a budget of epochs, steps or macs, which is the same each time",
        ),
    ],
)  # fmt: skip
def test_spaces_that_cannot_be(study: dict[str, Any], message: str) -> None:
    with pytest.raises(ResNetLabError) as failure:
        space_from(tables(**study), "s.toml")
    assert str(failure.value).startswith(f"s.toml: {message}")


def test_a_study_that_is_run_has_no_ranges() -> None:
    with pytest.raises(ConfigError) as failure:
        study_from(
            tables(factors={"act": ["relu", "gelu"]}, search={"train.lr": {"low": 1e-3, "high": 1e-2}}), "s.toml"
        )
    assert str(failure.value) == (
        "s.toml: [study.search] is for `resnet-lab study search`; a study that is run has none"
    )


def test_levels_that_no_combination_lets_build_are_named() -> None:
    """Groups of 32 do not divide the channels of a narrow network, and do those of a wide one."""
    assert check_space(space_from(tables(factors={"attn": ["none", "se"]}), "s.toml"), REGISTRY) == 10
    with pytest.raises(ResNetLabError) as failure:
        check_space(space_from(tables(factors={"attn": ["none", "ecaa"]}), "s.toml"), REGISTRY)
    assert (
        str(failure.value) == "attn 'ecaa': stage 1: unknown attention 'ecaa'; did you mean 'eca' or 'ela' or 'cbam'?"
    )
    groups = {"norm": ["batch", "group(groups=32)"], "model": ["resnet20", "resnet18"]}
    assert check_space(space_from(tables(factors=groups), "s.toml"), REGISTRY) == 10
    with pytest.raises(ResNetLabError) as failure:
        check_space(space_from(tables(factors={"norm": groups["norm"]}), "s.toml"), REGISTRY)
    assert str(failure.value).startswith("norm 'group(groups=32)': ")
