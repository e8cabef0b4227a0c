"""Changes that a study is about, each in words, with its effect and what it costs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from resnet_lab.bench.config import Mode
from resnet_lab.network.kinds import of_networks
from resnet_lab.study.design import Study
from resnet_lab.study.results import StudyFindings
from resnet_lab.study.statistics import Effect
from resnet_lab.study.trials import StudyFolder, trials_of

WORDS = {
    **{kind.slot: kind.words for kind in of_networks()},
    "model": "network",
    "widen": "width factor",
    "lr": "learning rate",
}
"""Keys of factors and arms that are no words."""

SPELLED = 4
"""Changes of a named arm that are spelled out beside its name, at most."""


@dataclass(frozen=True)
class TimeRatio:
    """Time with a change by the time without it.

    Attributes:
        interval: at 95%; None where there is none.
        is_timed: whether both were timed side by side; else it is the ratio of the trials' epochs.
    """

    value: float
    interval: tuple[float, float] | None
    is_timed: bool


@dataclass(frozen=True)
class StudyChange:
    """A main effect of a factor, or an arm of a study without factors.

    Attributes:
        words: such as `attention cbam instead of none`.
        training, inference: of the arm that has this change alone; None where that is unknown.
    """

    words: str
    effect: Effect
    training: TimeRatio | None
    inference: TimeRatio | None


@dataclass(frozen=True)
class StudyImages:
    """Images that a study divides into parts: all of them, and those of one test part."""

    total: int
    test: int


def changes_of(found: StudyFindings) -> list[StudyChange]:
    """Every change, in the order of the effects."""
    study = found.study
    words = _levels_in_words(study) if found.effects else _arms_in_words(study)
    effects = [effect for effect in found.effects or found.families[-1] if effect.kind != "interaction"]
    arms = {effect.name: _arm_of(study, effect) for effect in effects}
    return [
        StudyChange(
            words[effect.name],
            effect,
            _ratio(found, arms[effect.name], "train") or _epochs_ratio(found, effect),
            _ratio(found, arms[effect.name], "infer"),
        )
        for effect in effects
    ]


def images_of(study: Study, folder: StudyFolder) -> StudyImages | None:
    """Images of a study by the record of a trial; None where no trial has recorded them."""
    for trial in trials_of(study):
        if (run := folder.run(trial)).splits.exists():
            by_part = run.images_by_part()
            return StudyImages(sum(by_part.values()), sum(n for (part, _), n in by_part.items() if part == "test"))
    return None


def _levels_in_words(study: Study) -> dict[str, str]:
    """Main effects by name: a level instead of the baseline's."""
    first = study.arms[0].levels
    return {
        f"{name} {level}": f"{_key_in_words(name)} {level} instead of {first[name]}"
        for arm in study.arms
        for name, level in arm.levels.items()
        if level != first[name]
    }


def _arms_in_words(study: Study) -> dict[str, str]:
    """Named arms, with what they change."""
    return {arm.name: f"{arm.name}{_spelled(study.plan.arms[arm.name])}" for arm in study.arms[1:]}


def _spelled(changes: Mapping[str, Any]) -> str:
    if not 0 < len(changes) <= SPELLED:
        return ""
    return f" ({', '.join(f'{_key_in_words(key)} {value}' for key, value in changes.items())})"


def _key_in_words(key: str) -> str:
    last = key.split(".")[-1]
    return WORDS.get(last, last.replace("_", " "))


def _arm_of(study: Study, effect: Effect) -> str | None:
    """Name of the arm that has this change alone; None in a fraction without it."""
    if effect.kind == "arm":
        return effect.name
    first = study.arms[0].levels
    for arm in study.arms:
        changed = [f"{name} {level}" for name, level in arm.levels.items() if level != first[name]]
        if changed == [effect.name]:
            return arm.name
    return None


def _ratio(found: StudyFindings, arm: str | None, mode: Mode) -> TimeRatio | None:
    cost = None if found.costs is None or arm is None else found.costs.of(arm, mode)
    return None if cost is None else TimeRatio(cost.ratio, cost.ratio_interval, is_timed=True)


def _epochs_ratio(found: StudyFindings, effect: Effect) -> TimeRatio | None:
    value = found.time_ratios.get(effect.name)
    return None if value is None else TimeRatio(value, None, is_timed=False)
