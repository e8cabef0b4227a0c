"""Design of a study: a base experiment, arms that change it, and seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from itertools import product
from json import dumps
from math import prod
from pathlib import Path
from typing import Any

from resnet_lab.bench.arms import BenchArm
from resnet_lab.core.errors import ConfigError, ResNetLabError, nearest, printable
from resnet_lab.core.records import (
    repr_of,
    shortened,
    validated,
)
from resnet_lab.data.config import DataConfig
from resnet_lab.network import zoo
from resnet_lab.network.spec import ModelSpec
from resnet_lab.recipes.recipe import TABLES, Tables, read_recipe
from resnet_lab.recipes.settings import apply_settings
from resnet_lab.study.contrasts import Contrast, arm_contrasts, factorial_contrasts
from resnet_lab.study.design_files import read_tables
from resnet_lab.study.plan import LOWER_IS_BETTER, MAX_ARMS, MAX_LEVELS, MAX_TRIALS, SEEDS, SHORT, Plan
from resnet_lab.study.planned_looks import with_looks
from resnet_lab.train.config import TrainConfig, data_config, train_config

TIMED_BATCH = 32
"""Images at a time where an arm that is not resolved is timed, and leaves the number to the device."""


@dataclass(frozen=True)
class Arm:
    """One experiment of a study.

    Attributes:
        train: how it is trained, as far as that is resolved.
        levels: of each factor, as text; empty in a study of named arms.
        design: `train` as the design has it, of an arm that is resolved.
    """

    name: str
    spec: ModelSpec
    data: DataConfig
    train: TrainConfig
    levels: dict[str, str]
    design: TrainConfig | None = None

    @cached_property
    def hash(self) -> str:
        """First 12 hexadecimal digits of a SHA-256 of all that it is, with those seeds that no block changes.

        What a design leaves to the device counts as left to it: another device makes no other experiment.
        """
        train = self.train.model_dump(mode="json", exclude={"seed"})
        if self.design is not None:
            train |= {name: getattr(self.design, name) for name in ("batch_size", "compile", "threads")}
        train = {key: value for key, value in train.items() if not (key in SEEDS.values() and value is None)}
        if train["init_gain"] == "activation":  # as in all studies before there was a choice
            del train["init_gain"]
        if train["repeats"] == 1:
            del train["repeats"]
        if train["loss"] == "cross_entropy":
            del train["loss"]
        for key in ("average_last", "checkpoint_activations", "keep_predictions", "progressive_size", "threads"):
            if not train[key]:
                del train[key]
        data = self.data.model_dump(mode="json", exclude={"near_copies"} if self.data.near_copies == "on" else set())
        content = {"spec": self.spec.hash, "data": data, "train": train}
        return sha256(dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def untuned(self) -> "Arm":
        """The arm with the learning rate of its design."""
        if self.design is None:
            return self
        return replace(self, train=self.train.model_copy(update={"lr": self.design.lr}))

    def for_bench(self, num_classes: int | None = None) -> BenchArm:
        """The arm to be timed as it is trained: batch, precision, layout, compilation; eager where that is open.

        Args:
            num_classes: of its images; the spec's own where they are not known.
        """
        train = self.train
        return BenchArm(
            self.name,
            self.spec if num_classes is None else self.spec.modified(num_classes=num_classes),
            TIMED_BATCH if train.batch_size == "auto" else train.batch_size,
            precision=train.precision,
            compile="off" if train.compile == "auto" else train.compile,
            channels_last=train.channels_last,
            recomputes=train.checkpoint_activations,
        )


@dataclass(frozen=True)
class Study:
    """A whole design.

    Attributes:
        arms: the baseline first.
        tables: that it was read from.
        reached: seeds that a sequential study has come to; None for all that are planned.
    """

    plan: Plan
    arms: tuple[Arm, ...]
    tables: Mapping[str, Any]
    reached: int | None = None

    @property
    def seeds(self) -> range:
        """Seeds of the blocks."""
        number = self.plan.seeds if self.reached is None else self.reached
        return range(self.plan.first_seed, self.plan.first_seed + number)

    def first(self, seeds: int) -> "Study":
        """The same study at so many of its seeds."""
        return replace(self, reached=seeds)

    @property
    def families(self) -> list[list[Contrast]]:
        """Families of contrasts: effects of factors and their interactions, where there are factors; then arms."""
        arms = arm_contrasts([arm.name for arm in self.arms])
        if not self.plan.factors:
            return [arms]
        factors = {name: [_text(level) for level in levels] for name, levels in self.plan.factors.items()}
        return [factorial_contrasts(factors, [arm.levels for arm in self.arms]), arms]

    @property
    def folds(self) -> int | None:
        """Number of folds that seeds go through; None where each seed draws a split."""
        return self.arms[0].data.folds if self.plan.blocks == "folds" else None

    def at(self, arm: Arm, seed: int, **changes: Any) -> TrainConfig:
        """Configuration of an arm in the block of a seed; every K seeds go through K folds of one split."""
        seeds: dict[str, int] = {"seed": self.plan.first_seed}
        seeds |= {SEEDS[what]: seed for what in self.plan.vary}
        if self.folds is not None:
            seeds[SEEDS["split"]] = seed // self.folds
        return arm.train.model_copy(update={**seeds, **changes})

    def data_at(self, arm: Arm, seed: int) -> DataConfig:
        """Data of an arm in the block of a seed."""
        return arm.data if self.folds is None else arm.data.model_copy(update={"fold": seed % self.folds})

    def tuning_data(self, arm: Arm) -> DataConfig:
        """Data that learning rates are tuned on: the last two folds, which later blocks need not test."""
        return self.data_at(arm, self.plan.first_seed if self.folds is None else self.folds - 2)


def read_study(path: Path) -> Study:
    """A design from a TOML file, or one of the program's own by its name.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or has invalid values.
        SpecError: an arm whose network cannot be.
    """
    return new_study(read_tables(path), str(path))


def new_study(tables: Mapping[str, Any], where: str) -> Study:
    """Make a study like `study_from`, and check that arms differ in effect; reading a started study skips that check.

    Raises:
        ConfigError: also of learning rates that tuning would replace, epochs that a budget would, or models that
            depths would.
    """
    study = study_from(with_shared_weights(tables, where), where)
    plan = study.plan
    varied = [name for name, levels in plan.factors.items() if len(levels) > 1]
    if "train.lr" in varied and plan.tune_lr:
        raise ConfigError(
            f"{where}: tune_lr sets each arm's learning rate, so train.lr can be no factor; leave one out"
        )
    if "train.epochs" in varied and plan.budget.model_dump(exclude_none=True):
        raise ConfigError(
            f"{where}: the budget sets each arm's epochs, so train.epochs can be no factor; leave one out"
        )
    if any({"model", "depth"} <= set(keys) for keys in (plan.factors, *plan.arms.values())):
        raise ConfigError(f"{where}: model and depth each name networks; give one of them")
    return study


def with_shared_weights(tables: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The tables of a new study, in which activations have no part in initial weights unless the design sets it."""
    _, base = plan_and_base(tables, where)
    given = base["train"].get("init_gain", "fixed")
    return {**tables, "train": {**tables.get("train", {}), "init_gain": given}}


def study_from(tables: Mapping[str, Any], where: str) -> Study:
    """A design from the tables `study`, `model`, `data` and `train`; raises like `read_study`."""
    plan, base = plan_and_base(tables, where)
    if plan.search:
        raise ConfigError(f"{where}: [study.search] is for `resnet-lab study search`; a study that is run has none")
    if bool(plan.factors) == bool(plan.arms):
        raise ConfigError(f"{where}: a study has either factors or arms; give [study.factors] or [study.arms.NAME]")
    require_scorable(plan, where)
    _require_bounded(plan, where)
    if plan.blocks == "folds":
        base["data"].setdefault("folds", plan.default_folds)
    arms = _factorial(plan, base, where) if plan.factors else _named(plan, base, where)
    arms = [_keeping_predictions(_with_fixed_seeds(arm, plan), plan, where) for arm in arms]
    _require_comparable(arms, where)
    if plan.blocks == "folds":
        _require_folds(plan, arms, where)
    return Study(plan, tuple(arms), tables)


def require_scorable(plan: Plan, where: str) -> None:
    """Raise `ConfigError` where failed trials are to be scored 0 in a metric of which that is the best."""
    if plan.failures == "worst" and plan.metric in LOWER_IS_BETTER:
        raise ConfigError(
            f"{where}: failures 'worst' scores a failed trial 0, and lower is better in {plan.metric}; give failures = "
            '"withhold" or another metric'
        )


def _require_bounded(plan: Plan, where: str) -> None:
    """Check bounds before anything is made of it."""
    arms = prod(map(len, plan.factors.values())) if plan.factors else len(plan.arms)
    if arms > MAX_ARMS:
        raise ConfigError(f"{where}: {arms:,} arms, and a study has at most {MAX_ARMS:,}; leave factors or levels out")
    if (trials := arms * plan.seeds) > MAX_TRIALS:
        raise ConfigError(
            f"{where}: {arms:,} arms at {plan.seeds:,} seeds are {trials:,} trials, and a study has at most "
            f"{MAX_TRIALS:,}; give fewer seeds or arms"
        )
    for name in plan.arms:
        if not name.strip() or printable(name) != name:
            raise ConfigError(
                f"{where}: arm {repr_of(name)}: a name has letters, and no line breaks or control characters; rename it"
            )


def _require_folds(plan: Plan, arms: Sequence[Arm], where: str) -> None:
    problem = None
    if "split" not in plan.vary:
        problem = "vary leaves out split"
    elif any(arm.train.split_seed is not None for arm in arms):
        problem = "train.split_seed is given"
    elif any(arm.data.fold for arm in arms):
        problem = "data.fold is given"
    elif len({arm.data.folds for arm in arms}) > 1:
        problem = "data.folds differs between arms"
    if problem is not None:
        raise ConfigError(
            f'{where}: blocks is "folds", where each seed tests a fold of its own, and {problem}; give blocks = '
            '"random", or leave that out'
        )


def _with_fixed_seeds(arm: Arm, plan: Plan) -> Arm:
    """Give what no block changes the first block's seed, unless the arm names one of its own."""
    fixed = {
        key: plan.first_seed for what, key in SEEDS.items() if what not in plan.vary and getattr(arm.train, key) is None
    }
    return replace(arm, train=arm.train.model_copy(update=fixed))


def _keeping_predictions(arm: Arm, plan: Plan, where: str) -> Arm:
    """The arm that keeps predictions of the last epochs that are scored."""
    budget = plan.budget.model_dump(exclude_none=True)
    epochs = budget.get("epochs", plan.last_epochs if budget else arm.train.epochs)
    if epochs < plan.last_epochs:
        raise ConfigError(
            f"{where}: epochs_scored is {plan.last_epochs}, and the arm {arm.name!r} is trained for {epochs} epochs; "
            "give at most as many"
        )
    kept = max(arm.train.keep_predictions, plan.last_epochs)
    return replace(arm, train=arm.train.model_copy(update={"keep_predictions": kept}))


def plan_and_base(tables: Mapping[str, Any], where: str) -> tuple[Plan, Tables]:
    """The table `study`, and the experiment that its arms change; raises `ConfigError`."""
    allowed = ("study", *TABLES)
    for key in tables:
        if key not in allowed:
            raise ConfigError(f"{where}: unknown table {repr_of(key)}; {nearest(key, allowed)}")
        if not isinstance(tables[key], Mapping):
            raise ConfigError(f"{where}: {key} must be a table, got {repr_of(tables[key])}")
    plan = with_looks(validated(Plan, _tuples(tables.get("study", {})), f"{where}: study", ConfigError), where)
    base: Tables = {name: dict(read_recipe(plan.recipe).tables[name]) if plan.recipe else {} for name in TABLES}
    for name in TABLES:
        base[name] |= tables.get(name, {})
    if "source" not in base["data"]:
        base["data"]["source"] = "digits"
    if len([value for value in plan.budget.model_dump().values() if value is not None]) > 1:
        raise ConfigError(f"{where}: budget: give one of epochs, steps, macs and seconds")
    for name, levels in plan.factors.items():
        if len(levels) > MAX_LEVELS:
            raise ConfigError(f"{where}: factor {shortened(name)} has {len(levels):,} levels; at most {MAX_LEVELS:,}")
        if any(printable(_text(level)) != _text(level) for level in levels):
            raise ConfigError(f"{where}: factor {shortened(name)}: a level has no line breaks or control characters")
        if len(set(map(_text, levels))) != len(levels) or not levels:
            raise ConfigError(f"{where}: factor {name} needs different levels, got {repr_of(list(levels))}")
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
    what = f"{where}: arm {repr_of(name)}"
    tables: Tables = {key: dict(table) for key, table in base.items()}
    settings = []
    for key, value in changes.items():
        if key == "depth":
            key, value = "model", f"resnet{value}"
        place = key if "." in key else f"model.{key}" if key in SHORT else None
        if place is None:
            raise ConfigError(
                f"{what}: unknown key {repr_of(key)}; write one of {', '.join(SHORT)}, or train.KEY or data.KEY"
            )
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
        raise ConfigError(
            f"{where}: there is no arm other than the baseline; give a factor two levels, or name two arms"
        )
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
