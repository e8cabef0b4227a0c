import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from resnet_lab.core.errors import ConfigError, ResNetLabError
from resnet_lab.network import zoo
from resnet_lab.study.design import new_study, read_study, study_from
from resnet_lab.study.remarks import sizes_of_arms

DIGITS = {"source": "digits"}


def of(**study: object):  # type: ignore[no-untyped-def]
    return study_from({"study": study, "model": {"model": "resnet20"}, "data": DIGITS}, "s.toml")


def test_a_full_factorial() -> None:
    found = of(factors={"act": ["relu", "gelu"], "train.lr": [0.01, 0.03]}, seeds=4, first_seed=10)
    assert [arm.name for arm in found.arms] == ["relu 0.01", "relu 0.03", "gelu 0.01", "gelu 0.03"]
    assert found.arms[3].spec == zoo.get("resnet20").modified(act="gelu")
    assert found.arms[3].train.lr == 0.03
    assert found.arms[3].levels == {"act": "gelu", "train.lr": "0.03"}
    assert list(found.seeds) == [10, 11, 12, 13]
    assert [[each.name for each in family] for family in found.families] == [
        ["act gelu", "train.lr 0.03", "act gelu x train.lr 0.03"], ["relu 0.03", "gelu 0.01", "gelu 0.03"],
    ]  # fmt: skip


def test_half_a_factorial() -> None:
    found = of(
        factors={"act": ["relu", "gelu"], "conv": ["dense", "depthwise"], "attn": ["none", "se"]}, fraction="half"
    )
    assert [arm.name for arm in found.arms] == [
        "relu dense none",
        "relu depthwise se",
        "gelu dense se",
        "gelu depthwise none",
    ]


def test_named_arms_and_depths() -> None:
    found = of(
        arms={"plain": {}, "deep": {"depth": 32, "attn": "cbam(reduction=8)", "train.augment": ["flip", "crop"]}}
    )
    deep = found.arms[1]
    assert deep.spec == zoo.get("resnet32").modified(attn="cbam(reduction=8)")
    assert deep.train.augment == ("flip", "crop")
    assert [[each.name for each in family] for family in found.families] == [["deep"]]


def test_a_recipe_is_the_base() -> None:
    found = study_from(
        {"study": {"recipe": "digits-quick", "factors": {"attn": ["none", "se"]}}, "train": {"epochs": 3}}, "s.toml"
    )
    assert (found.arms[0].train.epochs, found.arms[0].train.schedule) == (3, "one_cycle")
    assert found.arms[0].spec.input_size == 16


def test_seeds_of_a_block() -> None:
    """All seeds differ between blocks by default; else those named do, and the rest is the first block's."""
    found = of(factors={"act": ["relu", "gelu"]}, first_seed=5)
    config = found.at(found.arms[0], 7)
    assert [config.seed_of(what) for what in ("init", "split", "order")] == [7, 7, 7]
    found = of(factors={"act": ["relu", "gelu"]}, first_seed=5, vary=["init"])
    config = found.at(found.arms[0], 7)
    assert [config.seed_of(what) for what in ("init", "split", "order")] == [7, 5, 5]


def test_an_arm_is_known_by_what_it_is() -> None:
    one, other = of(factors={"act": ["relu", "gelu"]}).arms
    again = of(factors={"act": ["gelu", "relu"]}, name="another").arms
    assert one.hash == again[1].hash != other.hash == again[0].hash


def test_near_copies_are_in_an_arm_s_hash_only_where_off() -> None:
    """So that trials of older studies are found again; nor is the gain of initial weights that they had."""
    one = of(factors={"act": ["relu", "gelu"]}).arms[0]
    off = replace(one, data=one.data.model_copy(update={"near_copies": "off"}))
    data = {name: value for name, value in one.data.model_dump(mode="json").items() if name != "near_copies"}
    train = one.train.model_dump(mode="json")
    later = (
        "average_last",
        "checkpoint_activations",
        "init_gain",
        "keep_predictions",
        "loss",
        "progressive_size",
        "repeats",
        "threads",
    )
    train = {name: value for name, value in train.items() if not name.endswith("seed") and name not in later}
    content = json.dumps({"spec": one.spec.hash, "data": data, "train": train}, sort_keys=True)
    assert one.hash == hashlib.sha256(content.encode()).hexdigest()[:12] != off.hash


def test_arms_of_smaller_images_are_named() -> None:
    smaller = {"train.progressive_size": [0.57, 1]}
    first = "trained on smaller images in the first epochs (progressive_size 0.57, 1): "
    alike = of(arms={"plain": smaller, "gelu": {**smaller, "act": "gelu"}})
    assert sizes_of_arms(alike) == [f"{first}all arms alike"]
    one = of(arms={"plain": {}, "small first": smaller})
    assert sizes_of_arms(one) == [f"{first}small first"]
    assert one.arms[0].hash != one.arms[1].hash
    late = study_from(
        {
            "study": {"arms": {"plain": {}, "small first": smaller}, "epochs_scored": 2},
            "model": {"model": "resnet20"}, "data": DIGITS, "train": {"epochs": 3},
        },
        "s.toml",
    )  # fmt: skip
    assert sizes_of_arms(late)[1:] == [
        "small first: its last 2 epochs, by which it is scored, take in epochs of smaller images"
    ]
    assert sizes_of_arms(of(arms={"plain": {}, "gelu": {"act": "gelu"}})) == []


def test_an_arm_is_known_by_the_seeds_that_stay() -> None:
    """Other seeds of what no block changes are another training; and an arm may name one of its own."""
    factors = {"act": ["relu", "gelu"]}
    usual = of(factors=factors).arms[0].hash
    assert of(factors=factors, first_seed=5).arms[0].hash == usual
    fixed = {seed: of(factors=factors, first_seed=seed, vary=["init"]).arms[0].hash for seed in (0, 5)}
    assert len({usual, *fixed.values()}) == 3
    own = of(arms={"one": {"train.init_seed": 1}, "two": {"train.init_seed": 2}}, vary=["split", "order"])
    assert [own.at(arm, 7).seed_of("init") for arm in own.arms] == [1, 2]
    assert [own.at(arm, 7).seed_of("split") for arm in own.arms] == [7, 7]


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text('[study]\nseeds = 3\n[study.factors]\nattn = ["none", "cbam@3"]\n[data]\nsource = "digits"\n')
    assert [arm.name for arm in read_study(path).arms] == ["none", "cbam@3"]
    with pytest.raises(ConfigError) as failure:
        read_study(tmp_path / "absent.toml")
    assert str(failure.value) == f"{tmp_path}/absent.toml: cannot be read: No such file or directory"
    path.write_text("[study")
    with pytest.raises(ConfigError, match=r"s\.toml: not TOML: "):
        read_study(path)


@pytest.mark.parametrize(
    ("study", "message"),
    [
        (
            {"factors": {f"train.decay_epochs{n}": list(range(1000)) for n in range(5)}},
            "1,000,000,000,000,000 arms, and a study has at most 1,024; leave factors or levels out",
        ),
        ({"factors": {"train.epochs": list(range(1, 1026))}}, "factor train.epochs has 1,025 levels; at most 1,024"),
        (
            {"factors": {"train.epochs": list(range(1, 501))}, "seeds": 1000},
            "500 arms at 1,000 seeds are 500,000 trials, and a study has at most 100,000; give fewer seeds or arms",
        ),
        (
            {"arms": {"a": {}, "b\nc": {"act": "gelu"}}},
            "arm 'b\\nc': a name has letters, and no line breaks or control characters; rename it",
        ),
        (
            {"arms": {"a": {}, " ": {}}},
            "arm ' ': a name has letters, and no line breaks or control characters; rename it",
        ),
        (
            {"factors": {"act": ["relu", "gelu(x='\x1b[31m')"]}},
            "factor act: a level has no line breaks or control characters",
        ),
        ({}, "a study has either factors or arms; give [study.factors] or [study.arms.NAME]"),
        (
            {"factors": {"act": ["relu"]}},
            "there is no arm other than the baseline; give a factor two levels, or name two arms",
        ),
        ({"factors": {"act": ["relu", "relu"]}}, "factor act needs different levels, got ['relu', 'relu']"),
        ({"arms": {"a": {}, "b": {"act": "relu"}}}, "the arms 'a' and 'b' are the same; leave one of them"),
        (
            {"arms": {"a": {}, "b": {"data.source": "synthetic"}}},
            "arm 'b' has other images (synthetic) than the baseline (digits); test scores are paired by image, so arms "
            "share the source",
        ),
        (
            {"factors": {"act": ["relu", "gelu"], "attn": ["none", "se"]}, "fraction": "half"},
            "half a factorial needs three factors or more, of two levels each",
        ),
        (
            {"arms": {"a": {}, "b": {"lr": 1}}},
            "arm 'b': unknown key 'lr'; write one of model, depth, act, conv, norm, attn, block, shortcut, stem, "
            "downsample, pool, widen, input_size, or train.KEY or data.KEY",
        ),
        (
            {"arms": {"a": {}, "b": {"attn": "cbam"}}, "metric": "log_loss", "failures": "worst"},
            "failures 'worst' scores a failed trial 0, and lower is better in log_loss; give failures = \"withhold\" "
            "or another metric",
        ),
        (
            {"arms": {"a": {}, "b": {"attn": "cbam"}}, "budget": {"epochs": 3, "macs": 1.0}},
            "budget: give one of epochs, steps, macs and seconds",
        ),
    ],
)
def test_designs_that_cannot_be(study: dict[str, object], message: str) -> None:
    with pytest.raises(ResNetLabError) as failure:
        of(**study)
    assert str(failure.value) == f"s.toml: {message}"


@pytest.mark.parametrize(
    ("study", "start"),
    [
        (
            {"factors": {"act": ["relu", "gelu"]}, "seeds": 10**9},
            "s.toml: study: seeds: input should be less than or equal to 10000, got 1000000000",
        ),
        (
            {"factors": {"act": ["relu", "gelu"]}, "first_seed": 2**63},
            "s.toml: study: first_seed: input should be less than or equal to 46",
        ),
        ({"arms": {"a": {}, "b": {"train.lr": -1}}}, "s.toml: arm 'b': lr: input should be greater than 0"),
        ({"arms": {"a": {}, "b": {"model": "resnet21"}}}, "s.toml: arm 'b': unknown network 'resnet21'"),
        ({"arms": {"a": {}, "b": {"train.rate": 1}}}, "s.toml: arm 'b': setting 'train.rate=1': unknown key 'rate'"),
        (
            {"factors": {"act": ["relu", "gelu"]}, "metric": "kappa"},
            "s.toml: study: metric: input should be 'accuracy', ",
        ),
        (
            {"factors": {"act": ["relu", "gelu"]}, "seeds": 0},
            "s.toml: study: seeds: input should be greater than or equal",
        ),
    ],
)
def test_values_that_cannot_be(study: dict[str, object], start: str) -> None:
    with pytest.raises(ResNetLabError) as failure:
        of(**study)
    assert str(failure.value).startswith(start)


def test_an_unknown_table() -> None:
    with pytest.raises(ConfigError) as failure:
        study_from({"studdy": {}}, "s.toml")
    assert str(failure.value) == "s.toml: unknown table 'studdy'; did you mean 'study'?"


def test_arms_of_a_new_study_share_initial_weights(tmp_path: Path) -> None:
    """One that was begun before there was a choice keeps its arms, of which earlier trials are named."""
    tables = {"study": {"factors": {"act": ["relu", "gelu"]}}, "model": {"model": "resnet20"}, "data": DIGITS}
    assert [arm.train.init_gain for arm in new_study(tables, "s.toml").arms] == ["fixed", "fixed"]
    asked = {**tables, "train": {"init_gain": "activation"}}
    assert [arm.train.init_gain for arm in new_study(asked, "s.toml").arms] == ["activation", "activation"]
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[train]\ninit_gain = "activation"\n')
    of_recipe = {**tables, "study": {**tables["study"], "recipe": str(recipe)}}
    assert [arm.train.init_gain for arm in new_study(of_recipe, "s.toml").arms] == ["activation", "activation"]
    factor = {**tables, "study": {"factors": {"train.init_gain": ["fixed", "activation"]}}}
    assert [arm.train.init_gain for arm in new_study(factor, "s.toml").arms] == ["fixed", "activation"]
    begun, new = study_from(tables, "study.json"), new_study(tables, "s.toml")
    assert [arm.hash for arm in begun.arms] == [arm.hash for arm in new_study(asked, "s.toml").arms]
    assert begun.arms[0].hash != new.arms[0].hash


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"factors": {"attn": ["none", "se"], "train.lr": [0.01, 0.1]}, "tune_lr": [0.01]},
            "s.toml: tune_lr sets each arm's learning rate, so train.lr can be no factor; leave one out",
        ),
        (
            {"factors": {"train.epochs": [1, 2]}, "budget": {"steps": 9}},
            "s.toml: the budget sets each arm's epochs, so train.epochs can be no factor; leave one out",
        ),
        (
            {"arms": {"a": {}, "b": {"model": "resnet20", "depth": 32}}},
            "s.toml: model and depth each name networks; give one of them",
        ),
        (
            {"factors": {"model": ["resnet20"], "depth": [20, 32]}},
            "s.toml: model and depth each name networks; give one of them",
        ),
    ],
)
def test_what_would_set_arms_apart_in_name_alone_is_refused(table: dict, message: str) -> None:
    """A folder of an earlier version that was begun so still opens."""
    tables = {"study": table, "model": {"model": "resnet20"}, "data": DIGITS}
    with pytest.raises(ConfigError) as error:
        new_study(tables, "s.toml")
    assert str(error.value) == message
    assert len(study_from(tables, "study.json").arms) > 1
