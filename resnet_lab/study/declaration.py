"""Declaration of a study before its first trial, and later changes to it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from resnet_lab.core.errors import ConfigError, RunError
from resnet_lab.core.records import validated
from resnet_lab.study.design import Arm, Study, require_scorable, study_from
from resnet_lab.study.design_files import read_noted
from resnet_lab.study.plan import Plan

NOT_DECLARED = frozenset({"name", "description", "recipe", "factors", "arms", "search"})
"""Keys of a plan that say nothing of themselves: what they make of the arms does."""

OF_SEEDS = frozenset({"seeds", "looks", "adaptive", "more_seeds"})
"""Keys of which `planned_looks.continued` reports a change."""

REMEDY = "restore the file"


@dataclass(frozen=True)
class DesignChange:
    """One key of a design that is no longer as it was declared."""

    name: str
    declared: Any
    judged: Any

    def __str__(self) -> str:
        if self.name == "arms":
            return f"{_arms(self.declared, self.judged)} after the first trial: what they show is exploratory"
        return (
            f"the declared {self.name} was {_text(self.declared)}, and here it is {_text(self.judged)}: this is "
            "exploratory"
        )


def declared(study: Study) -> dict[str, Any]:
    """Everything that verdicts depend on, as JSON: keys of the plan, and the hash of each arm's design by name."""
    plan = study.plan.model_dump(mode="json", exclude=set(NOT_DECLARED))
    return {**plan, "arms": {arm.name: _as_designed(arm).hash for arm in study.arms}}


def design_hash(values: Mapping[str, Any]) -> str:
    """SHA-256 of what was declared."""
    return sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def changes(before: Mapping[str, Any], study: Study) -> list[DesignChange]:
    """Keys that are not as they were declared; those that the version of then did not know are left out."""
    now = declared(study)
    judged = [name for name in now if name not in OF_SEEDS]
    known = [name for name in judged if before.get(name) is not None or (name in before and name != "population")]
    return [DesignChange(name, before[name], now[name]) for name in known if before[name] != now[name]]


def judged_by(study: Study, values: Mapping[str, Any], where: str) -> Study:
    """The study with other values of its plan; its arms stay as they were trained.

    Raises:
        ConfigError: a value that a plan cannot have.
    """
    plan = validated(Plan, {**study.plan.model_dump(), **values}, where, ConfigError)
    require_scorable(plan, where)
    return replace(study, plan=plan)


def require_fixed(before: Mapping[str, Any], study: Study, folder: Path) -> None:
    """Raise `ConfigError` where failures are to be judged otherwise than declared: that is refused, not reported."""
    for each in changes(before, study):
        if each.name == "failures":
            raise ConfigError(
                f"{folder}: failures is {each.judged!r}, and was {each.declared!r} when its trials ran; what failures "
                f"count as is declared before the first trial: give --failures {each.declared} or another --out"
            )


def read_declared(path: Path) -> dict[str, Any]:
    """Read what a study.json declares; of an earlier version by its tables, with a population of None if it has none.

    Raises:
        RunError: it is damaged, or its declaration is not the one that was hashed.
    """
    noted = read_noted(path, RunError)
    if (found := noted.get("declared")) is None:
        found = declared(study_from(noted["tables"], str(path)))
        return {**found, "population": noted["tables"].get("study", {}).get("population")}
    if design_hash(found) != noted.get("design_hash"):
        raise RunError(f"{path}: damaged: the declared design is not the one that was hashed; {REMEDY}")
    return dict(found)


def _as_designed(arm: Arm) -> Arm:
    return arm if arm.design is None else replace(arm, train=arm.design, design=None)


def _arms(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    changes = {
        "added": [name for name in now if name not in before],
        "left out": [name for name in before if name not in now],
        "changed": [name for name in now if name in before and before[name] != now[name]],
    }
    return "arms were " + ", ".join(f"{what} ({', '.join(names)})" for what, names in changes.items() if names)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {each}" for key, each in value.items() if each is not None) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
