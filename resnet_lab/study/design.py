"""What a study compares: a base experiment, arms that change it, and seeds."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from itertools import product
from json import dumps
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from resnet_lab.core.errors import ConfigError, ResNetLabError, nearest
from resnet_lab.core.option import DESIGN, option
from resnet_lab.data.config import DataConfig
from resnet_lab.network import zoo
from resnet_lab.network.spec import Count, ModelSpec, Record, validated
from resnet_lab.recipes import TABLES, Tables, read_recipe
from resnet_lab.recipes.settings import apply_settings
from resnet_lab.study.contrasts import Contrast, arm_contrasts, factorial_contrasts
from resnet_lab.train.config import Positive, Seed, TrainConfig, data_config, train_config

_SHIPPED = Path(__file__).parent / "shipped"

Varied = Literal["init", "split", "order"]
SEEDS: dict[Varied, str] = {"init": "init_seed", "split": "split_seed", "order": "order_seed"}
"""The key of a training that each is."""

Metric = Literal[
    "accuracy", "macro_accuracy", "macro_precision", "macro_recall", "macro_f1", "weighted_precision",
    "weighted_recall", "weighted_f1", "top5_accuracy", "log_loss",
]  # fmt: skip
LOWER_IS_BETTER = ("log_loss",)
SHORT = ("model", "depth", "block", "conv", "act", "norm", "attn", "shortcut", "input_size")
"""Keys of the network that factors and arms may name without `model.` before them."""


class Budget(Record):
    """What every arm may spend, of which one is given; by default the epochs of the base experiment.

    Attributes:
        epochs: for each arm.
        steps: of the optimiser; rounded down to whole epochs, one at least.
        macs: multiply-adds of all training images' forward passes, in 10^12; a cheaper arm trains longer.
        seconds: on the device, by a step that is timed before; a faster arm trains longer.
    """

    epochs: Count | None = None
    steps: Count | None = None
    macs: Positive | None = None
    seconds: Positive | None = None


class Range(Record):
    """Values that a search may take: whole numbers where both ends are, else any between them.

    Attributes:
        log: whether each factor of ten is as likely as the next.
    """

    low: int | float
    high: int | float
    log: bool = False


class Plan(Record):
    """The keys of a study file beside the base experiment's tables; each that a line can say is an option.

    Attributes:
        seeds: how many; block s of a study has seed `first_seed` + s.
        factors: levels of each, the first being the baseline's.
        arms: instead of factors, changes by name; the first is the baseline.
        search: ranges of a search beside the factors, by key as factors are; a study that is run has none.
    """

    name: str = option("study", "Name of the study.", DESIGN, shown="by what is varied")
    description: str = option("", "What it asks, in a sentence.", DESIGN, shown="none")
    recipe: str | None = option(
        None, "The experiment that arms change.", DESIGN, metavar="NAME", shown="digits-quick, unless --data is given"
    )
    seeds: Count = option(6, "Seeds of each arm.", DESIGN)
    first_seed: Seed = option(0, "The first seed.", DESIGN)
    metric: Metric = option(
        "macro_accuracy", "Metric that verdicts are about, on the test part.", DESIGN, metavar="NAME"
    )
    margin: Positive | None = option(None, "Equivalence margin, in the metric's unit.", DESIGN)
    vary: Annotated[tuple[Varied, ...], Field(min_length=1)] = option(
        get_args(Varied), "What differs from seed to seed; the rest is that of the first seed throughout.", DESIGN
    )
    fraction: Literal["full", "half"] = option(
        "full",
        "Half a factorial leaves out every arm that differs from the baseline in an odd number of factors.",
        DESIGN,
    )
    factors: dict[str, tuple[str | int | float | bool, ...]] = Field(default_factory=dict)
    arms: dict[str, dict[str, Any]] = Field(default_factory=dict)
    budget: Budget = Budget()
    tune_lr: tuple[Positive, ...] = option(
        (),
        "Learning rates of which every arm takes the one that is best on the validation part, tried at the first seed "
        "alone.",
        DESIGN,
    )
    search: dict[str, Range] = Field(default_factory=dict)


@dataclass(frozen=True)
class Arm:
    """One experiment of a study.

    Attributes:
        levels: of each factor, as text; empty in a study of named arms.
    """

    name: str
    spec: ModelSpec
    data: DataConfig
    train: TrainConfig
    levels: dict[str, str]

    @cached_property
    def hash(self) -> str:
        """First 12 hexadecimal digits of a SHA-256 of all that it is, with those seeds that no block changes."""
        train = self.train.model_dump(mode="json", exclude={"seed"})
        train = {key: value for key, value in train.items() if not (key in SEEDS.values() and value is None)}
        content = {"spec": self.spec.hash, "data": self.data.model_dump(mode="json"), "train": train}
        return sha256(dumps(content, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Study:
    """A whole design.

    Attributes:
        arms: the baseline first.
        tables: that it was read from.
    """

    plan: Plan
    arms: tuple[Arm, ...]
    tables: Mapping[str, Any]

    @property
    def seeds(self) -> range:
        """Of the blocks."""
        return range(self.plan.first_seed, self.plan.first_seed + self.plan.seeds)

    @property
    def families(self) -> list[list[Contrast]]:
        """What is asked: effects of factors and their interactions first, where there are factors; then arms."""
        arms = arm_contrasts([arm.name for arm in self.arms])
        if not self.plan.factors:
            return [arms]
        factors = {name: [_text(level) for level in levels] for name, levels in self.plan.factors.items()}
        return [factorial_contrasts(factors, [arm.levels for arm in self.arms]), arms]

    def at(self, arm: Arm, seed: int, **changes: Any) -> TrainConfig:
        """How an arm is trained in the block of a seed."""
        seeds: dict[str, int] = {"seed": self.plan.first_seed}
        seeds |= {SEEDS[what]: seed for what in self.plan.vary}
        return arm.train.model_copy(update={**seeds, **changes})


def shipped() -> dict[str, Path]:
    """Files of the program's own studies, by name."""
    return {path.stem: path for path in sorted(_SHIPPED.glob("*.toml"))}


def read_tables(path: Path) -> dict[str, Any]:
    """The tables of a TOML file, or of one of the program's own studies by its name.

    Raises:
        ConfigError: the file cannot be read, or is not TOML.
    """
    own = shipped()
    if str(path) in own:
        path = own[str(path)]
    elif path.suffix != ".toml" and not path.exists():
        raise ConfigError(f"{path}: no such file, and no study of that name; {nearest(str(path), own)}")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the study: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None


def read_study(path: Path) -> Study:
    """A design from a TOML file, or one of the program's own by its name.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or says something that cannot be.
        SpecError: an arm whose network cannot be.
    """
    return study_from(read_tables(path), str(path))


def study_from(tables: Mapping[str, Any], where: str) -> Study:
    """A design from the tables `study`, `model`, `data` and `train`; raises like `read_study`."""
    plan, base = plan_and_base(tables, where)
    if plan.search:
        raise ConfigError(f"{where}: [study.search] is for `resnet-lab study search`; a study that is run has none")
    if bool(plan.factors) == bool(plan.arms):
        raise ConfigError(f"{where}: a study has either factors or arms; give [study.factors] or [study.arms.NAME]")
    arms = _factorial(plan, base, where) if plan.factors else _named(plan, base, where)
    arms = [_with_fixed_seeds(arm, plan) for arm in arms]
    _require_comparable(arms, where)
    return Study(plan, tuple(arms), tables)


def _with_fixed_seeds(arm: Arm, plan: Plan) -> Arm:
    """What no block changes has the first block's seed, unless the arm names one of its own."""
    fixed = {
        key: plan.first_seed for what, key in SEEDS.items() if what not in plan.vary and getattr(arm.train, key) is None
    }
    return replace(arm, train=arm.train.model_copy(update=fixed))


def plan_and_base(tables: Mapping[str, Any], where: str) -> tuple[Plan, Tables]:
    """The table `study`, and the experiment that its arms change; raises `ConfigError`."""
    allowed = ("study", *TABLES)
    for key in tables:
        if key not in allowed:
            raise ConfigError(f"{where}: unknown table {key!r}; {nearest(key, allowed)}")
    plan = validated(Plan, _tuples(tables.get("study", {})), f"{where}: study", ConfigError)
    base: Tables = {name: dict(read_recipe(plan.recipe).tables[name]) if plan.recipe else {} for name in TABLES}
    for name in TABLES:
        base[name] |= tables.get(name, {})
    if "source" not in base["data"]:
        base["data"]["source"] = "digits"
    if len([value for value in plan.budget.model_dump().values() if value is not None]) > 1:
        raise ConfigError(f"{where}: budget: give one of epochs, steps, macs and seconds")
    for name, levels in plan.factors.items():
        if len(set(map(_text, levels))) != len(levels) or not levels:
            raise ConfigError(f"{where}: factor {name} needs different levels, got {list(levels)}")
    return plan, base


def _factorial(plan: Plan, base: Tables, where: str) -> list[Arm]:
    arms = []
    varied = {name: levels for name, levels in plan.factors.items() if len(levels) > 1}
    if plan.fraction == "half" and (len(varied) < 3 or any(len(levels) != 2 for levels in varied.values())):
        raise ConfigError(f"{where}: half a factorial needs three factors or more, of two levels each")
    for values in product(*plan.factors.values()):
        chosen = dict(zip(plan.factors, values, strict=True))
        changed = sum(chosen[name] != levels[0] for name, levels in plan.factors.items())
        if plan.fraction == "half" and changed % 2:
            continue
        name = " ".join(_text(chosen[key]) for key in varied) or "baseline"
        arms.append(arm_from(name, chosen, base, where, {key: _text(value) for key, value in chosen.items()}))
    return arms


def _named(plan: Plan, base: Tables, where: str) -> list[Arm]:
    return [arm_from(name, changes, base, where, {}) for name, changes in plan.arms.items()]


def arm_from(name: str, changes: Mapping[str, Any], base: Tables, where: str, levels: dict[str, str]) -> Arm:
    """The experiment with values put in, by the keys of factors; raises `ConfigError`, and `SpecError` of a network."""
    what = f"{where}: arm {name!r}"
    tables: Tables = {key: dict(table) for key, table in base.items()}
    settings = []
    for key, value in changes.items():
        if key == "depth":
            key, value = "model", f"resnet{value}"
        place = key if "." in key else f"model.{key}" if key in SHORT else None
        if place is None:
            raise ConfigError(f"{what}: unknown key {key!r}; write one of {', '.join(SHORT)}, or train.KEY or data.KEY")
        settings.append(f"{place}={_text(value)}")
    try:
        tables = apply_settings(tables, settings)
        model = tables["model"] or {"model": "resnet20"}
        return Arm(
            name,
            zoo.from_choices(model, what),
            data_config(_tuples(tables["data"]), what),
            train_config(_tuples(tables["train"]), what),
            levels,
        )
    except ResNetLabError as error:
        text = str(error)
        raise type(error)(text if text.startswith(where) else f"{what}: {text}") from None


def _require_comparable(arms: Sequence[Arm], where: str) -> None:
    if len(arms) < 2:
        raise ConfigError(f"{where}: there is no arm beside the baseline; give a factor two levels, or name two arms")
    seen: dict[str, str] = {}
    for arm in arms:
        if arm.hash in seen:
            raise ConfigError(f"{where}: the arms {seen[arm.hash]!r} and {arm.name!r} are the same; leave one of them")
        seen[arm.hash] = arm.name
        if arm.data.source != arms[0].data.source:
            raise ConfigError(
                f"{where}: arm {arm.name!r} has other images ({arm.data.source}) than the baseline "
                f"({arms[0].data.source}); test scores are paired by image, so arms share the source"
            )


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(map(_text, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: tuple(value) if isinstance(value, list) else _tuples(value) if isinstance(value, Mapping) else value
        for name, value in values.items()
    }
