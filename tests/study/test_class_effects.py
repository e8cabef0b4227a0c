"""Compared with counts by hand and SciPy's t interval."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from resnet_lab.study.class_effects import class_effects
from tests.study.fabricated import NAMED, by_hand, design, found, shares


def test_recalls_of_classes_by_hand(tmp_path: Path) -> None:
    results, _ = found(tmp_path, design(**NAMED), by_hand, n=6)
    (effects,) = class_effects(results)
    assert (effects.name, effects.kind) == ("new", "arm")
    assert [each.name for each in effects.classes] == ["class 0", "class 1", "class 2"]
    assert [each.differences for each in effects.classes] == [(0.0, 0.0), (0.0, 0.0), (0.0, 0.5)]
    assert [each.images for each in effects.classes] == [(2, 2)] * 3
    third = effects.classes[2]
    assert third.difference == 0.25
    expected = stats.t.interval(0.95, 1, loc=0.25, scale=stats.sem([0.0, 0.5]))
    assert third.interval == pytest.approx(expected)


def test_a_class_without_images_and_a_seed_without_a_trial_count_for_nothing(tmp_path: Path) -> None:
    results, _ = found(tmp_path, design(**NAMED), by_hand, n=6, classes=3, waiting=(("new", 1),))
    (effects,) = class_effects(results)
    assert [each.differences for each in effects.classes] == [(0.0,), (0.0,), (0.0,)]
    assert [each.interval for each in effects.classes] == [None] * 3
    first, second = results.predicted.cells
    fewer = tuple(
        None if each is None else replace(each, labels=np.where(each.labels == 2, 0, each.labels)) for each in first
    )
    (effects,) = class_effects(replace(results, predicted=replace(results.predicted, cells=(fewer, second))))
    assert effects.classes[2].differences == ()
    assert effects.classes[2].difference is None


def test_main_effects_on_classes_are_means_over_arms(tmp_path: Path) -> None:
    results, _ = found(tmp_path, design(), shares, n=60)
    effects = {each.name: each for each in class_effects(results)}
    assert list(effects) == ["act gelu", "attn eca", "relu eca", "gelu none", "gelu eca"]
    recall = {
        (arm, seed): np.mean(shares(arm, seed, np.arange(60))[np.arange(60) % 3 == 1])
        for arm in ("relu none", "relu eca", "gelu none", "gelu eca")
        for seed in range(3)
    }
    expected = [
        (recall["gelu none", s] + recall["gelu eca", s]) / 2 - (recall["relu none", s] + recall["relu eca", s]) / 2
        for s in range(3)
    ]
    assert effects["act gelu"].classes[1].differences == pytest.approx(expected)


def test_an_arm_that_is_a_main_effect_is_listed_once(tmp_path: Path) -> None:
    study = design(factors={"attn": ["none", "eca"]}, seeds=2)
    results, _ = found(tmp_path, study, lambda arm, seed, labels: labels == 0, n=6)
    assert [(each.name, each.kind) for each in class_effects(results)] == [("attn eca", "main")]
