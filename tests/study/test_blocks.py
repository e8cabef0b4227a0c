"""Test parts of seeds: folds, or drawn anew."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet_lab.core.errors import ConfigError
from resnet_lab.core.images import ImageSet
from resnet_lab.data.config import DataConfig
from resnet_lab.data.decoding import ImageInfo
from resnet_lab.data.sources import open_images
from resnet_lab.data.split import split
from resnet_lab.network.plugins import default_registry
from resnet_lab.study.blocks import with_blocks
from resnet_lab.study.design import Study, study_from
from resnet_lab.study.remarks import claim
from resnet_lab.study.trials import StudyFolder, carry_out, trials_of, tuning_trials
from resnet_lab.train.progress import TrainingWatcher
from tests.study.small import TRAIN

REGISTRY = default_registry()
DIGITS = open_images("digits", REGISTRY)
EXAMINED = [ImageInfo(digest=sha256(path.encode()).hexdigest()) for path in DIGITS.paths]
GROUPS = np.arange(len(DIGITS))


def study(data: dict[str, Any] | None = None, train: dict[str, Any] | None = None, **plan: Any) -> Study:
    tables = {
        "study": {"factors": {"attn": ["none", "eca"]}, **plan},
        "model": {"model": "resnet20", "input_size": 8},
        "data": {"source": "digits", **(data or {})},
        "train": {**TRAIN, **(train or {})},
    }
    return study_from(tables, "s.toml")


def parts(data: DataConfig, split_seed: int) -> np.ndarray:
    """Part of each image, by the splitting of a training."""
    return split(DIGITS, EXAMINED, GROUPS, split_seed, folds=data.folds, fold=data.fold)


def parts_at(chosen: Study, seed: int) -> np.ndarray:
    arm = chosen.arms[0]
    return parts(chosen.data_at(arm, seed), chosen.at(arm, seed).seed_of("split"))


def of_seeds(chosen: Study) -> list[set[int]]:
    """Images that each seed tests."""
    return [set(np.flatnonzero(parts_at(chosen, seed) == "test").tolist()) for seed in chosen.seeds]


def of_sizes(*sizes: int, own: tuple[str, ...] | None = None) -> ImageSet:
    """Images of so many a class, without their content."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    names = tuple("abcdefgh"[: len(sizes)])
    return ImageSet("made up", names, tuple(map(str, range(len(labels)))), labels, lambda _: b"", parts=own)


def test_ten_seeds_test_each_image_once() -> None:
    chosen = with_blocks(study(seeds=10), DIGITS)
    assert (chosen.plan.blocks, chosen.folds) == ("folds", 10)
    found = of_seeds(chosen)
    assert sum(map(len, found)) == len(DIGITS)
    assert set.union(*found) == set(range(len(DIGITS)))
    of_first = parts_at(chosen, 0)
    assert [np.mean(of_first == part) for part in ("train", "val", "test")] == pytest.approx([0.8, 0.1, 0.1], abs=0.02)


def test_seeds_beyond_the_folds_split_anew() -> None:
    chosen = study({"folds": 4}, seeds=8, blocks="folds")
    found = of_seeds(chosen)
    assert set.union(*found[:4]) == set.union(*found[4:]) == set(range(len(DIGITS)))
    assert not any(one & other for number, one in enumerate(found[:4]) for other in found[:number])
    assert not any(one == other for one in found[:4] for other in found[4:])
    assert "4 seeds at a time test the 4 folds of one split, and what seeds share" in claim(chosen)


def test_a_seed_s_parts_do_not_depend_on_how_many_there_are() -> None:
    few, more = (study({"folds": 10}, seeds=seeds, blocks="folds") for seeds in (3, 12))
    assert all((parts_at(few, seed) == parts_at(more, seed)).all() for seed in few.seeds)


def test_tuning_uses_images_that_no_seed_is_tested_on() -> None:
    chosen = with_blocks(study(seeds=9, tune_lr=[1e-3, 1e-2]), DIGITS)
    assert chosen.folds == 11
    arm = chosen.arms[0]
    held_out = parts(chosen.tuning_data(arm), chosen.at(arm, 0).seed_of("split"))
    looked_at = set(np.flatnonzero(held_out != "train").tolist())
    assert looked_at
    assert not looked_at & set.union(*of_seeds(chosen))


def test_a_search_looks_at_no_image_that_its_confirmation_tests() -> None:
    searched = study(seeds=1)
    held_out = set(np.flatnonzero(parts_at(searched, 0) == "val").tolist())
    confirmed = with_blocks(study(seeds=6, first_seed=1), DIGITS)
    assert held_out
    assert not held_out & set.union(*of_seeds(confirmed))


@pytest.mark.parametrize(
    ("chosen", "images"),
    [
        (study(vary=["init", "order"]), DIGITS),
        (study({"folds": 5, "fold": 2}), DIGITS),
        (study(train={"split_seed": 3}), DIGITS),
        (study({"split_file": "splits.csv"}), DIGITS),
        (study(), of_sizes(20, 20, own=("train",) * 30 + ("test",) * 10)),
        (study(blocks="random"), DIGITS),
    ],
)
def test_where_folds_are_not_the_default(chosen: Study, images: ImageSet) -> None:
    said: list[str] = []
    found = with_blocks(chosen, images, say=said.append)
    assert (found.plan.blocks, found.folds, said) == ("random", None, [])
    assert [found.at(arm, 4) for arm in found.arms] == [chosen.at(arm, 4) for arm in chosen.arms]
    assert [found.data_at(arm, 4) for arm in found.arms] == [arm.data for arm in chosen.arms]


def test_classes_that_are_too_small_for_the_default() -> None:
    said: list[str] = []
    assert with_blocks(study(), of_sizes(30, 9), say=said.append).plan.blocks == "random"
    why = "class 'b' has 9 images, fewer than 10 folds need (--folds takes another number)"
    assert said == [f"each seed draws its own test part, rather than a fold that no other seed tests: {why}"]
    assert with_blocks(study({"folds": 9}), of_sizes(30, 9)).folds == 9
    with pytest.raises(ConfigError) as error:
        with_blocks(study(blocks="folds"), of_sizes(30, 9))
    assert str(error.value) == f"made up: blocks cannot be 'folds': {why}; give --blocks random"


def test_images_with_parts_of_their_own_cannot_be_in_folds() -> None:
    with pytest.raises(ConfigError, match=r"^made up: blocks cannot be 'folds': the source assigns the parts of its"):
        with_blocks(study(blocks="folds"), of_sizes(20, 20, own=("train",) * 40))


@pytest.mark.parametrize(
    ("data", "train", "plan", "problem"),
    [
        ({}, {}, {"vary": ["init"]}, "vary leaves out split"),
        ({}, {"split_seed": 3}, {}, "train.split_seed is given"),
        ({"folds": 5, "fold": 1}, {}, {}, "data.fold is given"),
        ({}, {}, {"factors": {"data.folds": [5, 6]}}, "data.folds differs between arms"),
    ],
)
def test_folds_beside_another_split(data: Any, train: Any, plan: Any, problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        study(data, train, blocks="folds", **plan)
    assert str(error.value) == (
        f's.toml: blocks is "folds", where each seed tests a fold of its own, and {problem}; give blocks = "random", '
        "or leave that out"
    )


def test_a_split_file_beside_folds() -> None:
    with pytest.raises(ConfigError, match="folds and split_file each define the split; give one of them"):
        study({"split_file": "splits.csv"}, blocks="folds")


def test_a_study_with_more_seeds_keeps_its_trials(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "s")
    first = with_blocks(study(seeds=6), DIGITS)
    folder.note(first)
    assert folder.study().folds == 10
    more = with_blocks(study(seeds=14), DIGITS, folder.study())
    assert {each.name for each in trials_of(first)} < {each.name for each in trials_of(more)}
    assert with_blocks(study(seeds=14), DIGITS).folds == 14
    folder.note(more)
    assert (folder.study().folds, folder.study().plan.seeds) == (10, 14)


def test_a_folder_from_before_there_were_blocks(tmp_path: Path) -> None:
    recorded = study(seeds=6)
    assert (recorded.plan.blocks, recorded.folds) == (None, None)
    found = with_blocks(study(seeds=8), DIGITS, recorded)
    assert found.plan.blocks == "random"
    assert [arm.hash for arm in found.arms] == [arm.hash for arm in recorded.arms]


def test_a_trial_is_trained_on_its_fold(tmp_path: Path) -> None:
    chosen = with_blocks(study({"folds": 3}, seeds=4, tune_lr=[1e-2]), DIGITS)
    folder = StudyFolder(tmp_path / "s")
    folder.note(chosen)
    trial = trials_of(replace(chosen, arms=chosen.arms[:1]))[3]
    carry_out(chosen, trial, folder, REGISTRY, TrainingWatcher())
    record = folder.run(trial).read()
    assert (trial.seed, record["data"]["folds"], record["data"]["fold"]) == (3, 3, 0)
    assert record["config"]["split_seed"] == 1
    (tuning,) = tuning_trials(replace(chosen, arms=chosen.arms[:1]))
    carry_out(chosen, tuning, folder, REGISTRY, TrainingWatcher())
    record = folder.run(tuning).read()
    assert (record["data"]["fold"], record["config"]["split_seed"]) == (1, 0)
