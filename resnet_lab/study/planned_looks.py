"""Looks of a sequential study as its design gives them."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from resnet_lab.core.errors import ConfigError
from resnet_lab.study.looks import DEFAULT
from resnet_lab.study.plan import FEWEST, Plan


def with_looks(plan: Plan, where: str) -> Plan:
    """The plan with its looks, and with as many seeds as the last has.

    Raises:
        ConfigError: looks that contradict each other or the seeds, or are a search's.
    """
    if not plan.looks and not plan.adaptive:
        return plan
    if plan.more_seeds:
        raise ConfigError(f"{where}: more_seeds is for seeds that are not planned, and looks are; give one of them")
    if plan.search:
        raise ConfigError(f"{where}: a search gives no verdict, so it has no looks; leave looks and adaptive out")
    if plan.looks and plan.adaptive:
        raise ConfigError(f"{where}: adaptive chooses the looks; give looks or adaptive")
    given = plan.seeds if "seeds" in plan.model_fields_set else None
    looks = plan.looks or _up_to(DEFAULT[-1] if given is None else given)
    if looks[0] < FEWEST:
        raise ConfigError(
            f"{where}: the first look is at {looks[0]} seeds, and a verdict needs {FEWEST} at least; give looks of "
            f"{FEWEST} or more"
        )
    if any(one >= other for one, other in pairwise(looks)):
        raise ConfigError(f"{where}: looks must increase, got {_text(looks)}; give each number of seeds once, in order")
    if given not in (None, looks[-1]):
        raise ConfigError(
            f"{where}: the last look is at {looks[-1]} seeds, and seeds is {given}; give looks that end there, or "
            "leave seeds out"
        )
    changes: dict[str, Any] = {"looks": looks, "adaptive": False, "seeds": looks[-1]}
    return plan.model_copy(update=changes)


def continued(declared: Mapping[str, Any], plan: Plan) -> str | None:
    """Why a study is exploratory whose seeds or looks were changed after its first trial; None where they were not.

    Args:
        declared: before the first trial; empty where that is not known.
    """
    seeds, looks = declared.get("seeds", plan.seeds), tuple(declared.get("looks", plan.looks))
    if (seeds, looks) == (plan.seeds, plan.looks) or (plan.more_seeds and declared.get("more_seeds")):
        return None
    return (
        f"a continued study: {_design(seeds, looks)} were planned before the first trial, and it has "
        f"{_design(plan.seeds, plan.looks)}; seeds that are added or left out once results are known make false "
        "verdicts likelier, so this is exploratory"
    )


def _design(seeds: int, looks: tuple[int, ...]) -> str:
    return f"looks at {_text(looks)} seeds" if looks else f"{seeds} seeds"


def _up_to(seeds: int) -> tuple[int, ...]:
    """The default looks before a last one."""
    return (*(look for look in DEFAULT if look < seeds), seeds)


def _text(looks: tuple[int, ...]) -> str:
    return ", ".join(map(str, looks))
