"""Search space: factors as choices, and ranges."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, product
from typing import Any

from resnet_lab.core.errors import ConfigError, ResNetLabError
from resnet_lab.data.sources import open_images
from resnet_lab.network.cost import measure
from resnet_lab.network.plugins import Registry
from resnet_lab.recipes.recipe import Tables
from resnet_lab.study.design import Arm, arm_from, plan_and_base
from resnet_lab.study.plan import Plan, Range

COMBINATIONS = 32
"""Most combinations with other factors that are tried, until one lets a level be built."""

Values = Mapping[str, str | int | float | bool]
"""Values by the keys of factors."""


@dataclass(frozen=True)
class Space:
    """Search space.

    Attributes:
        base: the experiment that values are put into.
        tables: that it was read from.
    """

    plan: Plan
    base: Tables
    tables: Mapping[str, Any]
    where: str

    def arm(self, values: Values) -> Arm:
        """The experiment with these values; equal ones make the same. Raises `ConfigError` and `SpecError`."""
        return arm_from("arm", values, self.base, self.where, {})

    @property
    def baseline(self) -> Values:
        """The first level of each factor; what has a range stays as the base experiment has it."""
        return {name: levels[0] for name, levels in self.plan.factors.items()}

    def combinations(self, name: str, level: str | int | float | bool) -> Iterator[Values]:
        """Combinations of a level with those of all other factors, the baseline's first."""
        levels = {**self.plan.factors, name: (level,)}
        for values in product(*levels.values()):
            yield dict(zip(levels, values, strict=True))


def space_from(tables: Mapping[str, Any], where: str) -> Space:
    """A space from the tables of a study file, whose factors are choices and whose `search` has ranges.

    Raises:
        ConfigError: nothing to search, an unknown key, or a range or value that cannot be.
    """
    plan, base = plan_and_base(tables, where)
    if plan.arms:
        raise ConfigError(f"{where}: a search has factors and ranges, not arms; give [study.factors] or [study.search]")
    if plan.tune_lr:
        raise ConfigError(f"{where}: tune_lr has no place in a search; give train.lr a range in [study.search]")
    if plan.budget.seconds is not None:
        raise ConfigError(f"{where}: a search has a budget of epochs, steps or macs, which is the same each time")
    if not plan.search and all(len(levels) < 2 for levels in plan.factors.values()):
        raise ConfigError(f"{where}: there is nothing to search; give a factor two levels, or [study.search] a range")
    space = Space(plan, base, tables, where)
    for key, each in plan.search.items():
        _require_range(key, each, space)
    space.arm(space.baseline)
    return space


def _require_range(key: str, each: Range, space: Space) -> None:
    what = f"{space.where}: study.search: {key}"
    if key in space.plan.factors:
        raise ConfigError(f"{what} is a factor too; leave one of them")
    if each.low >= each.high:
        raise ConfigError(f"{what}: low must be less than high, got {each.low:g} and {each.high:g}")
    if each.log and each.low <= 0:
        raise ConfigError(f"{what}: a range by log must begin above 0, got {each.low:g}")
    for end in (each.low, each.high):
        space.arm({**space.baseline, key: end})


def check_space(space: Space, registry: Registry) -> int:
    """Open the images and build every level in some combination; gives the number of classes.

    Raises:
        ResNetLabError: what cannot be, with the level's name.
    """
    classes = len(open_images(space.base["data"]["source"], registry).classes)

    def problem(values: Values) -> ResNetLabError | None:
        try:
            measure(space.arm(values).spec.modified(num_classes=classes), registry)
        except ResNetLabError as error:
            return error
        return None

    for name, levels in space.plan.factors.items():
        for level in levels:
            first = problem({**space.baseline, name: level})
            others = islice(space.combinations(name, level), COMBINATIONS)
            if first is not None and all(problem(values) is not None for values in others):
                raise type(first)(f"{name} {level!r}: {first}")
    return classes
