"""Searching over components and recipe values with Optuna, by the trials of studies: for exploring, not for a verdict.

A search folder has `search.json` (the space), `optuna.db` (what was tried, by Optuna), `trials/` and `resolved.json` as
a study folder has them, `search.lock` (held by the process that searches) and `confirm.toml` (a study of what was
found).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os.path import isfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from resnet_lab.core.errors import ConfigError, PluginError, SpecError
from resnet_lab.core.files import make_folder, refuse_other, refuse_ways_out, write_atomically
from resnet_lab.core.locks import claimed
from resnet_lab.network.cost import measure
from resnet_lab.network.plugins import Registry
from resnet_lab.study.confirmation import confirming
from resnet_lab.study.design import Arm, Study
from resnet_lab.study.design_files import FORMAT, read_noted
from resnet_lab.study.plan import MAX_TRIALS
from resnet_lab.study.running import resolve
from resnet_lab.study.space import Space, Values, check_space, space_from
from resnet_lab.study.trials import StudyFolder, Trial, carry_out
from resnet_lab.train.progress import TrainingWatcher

if TYPE_CHECKING:
    import optuna

NOTED = "search.json"

CANNOT_BE = (SpecError, PluginError, ConfigError)
"""Errors of one try, where the baseline had none; others would come in every try."""


@dataclass(frozen=True)
class Tried:
    """One try.

    Attributes:
        number: Optuna's; None of the baseline.
        validation: macro-averaged accuracy of the best epoch on the validation part; None where it failed.
        problem: why it failed; None where it did not.
        seconds: that its epochs took.
        trial: name of its run folder; None where it cannot be built.
    """

    number: int | None
    values: Values
    validation: float | None
    loss: float | None
    problem: str | None
    seconds: float
    trial: str | None


@dataclass(frozen=True)
class Found:
    """State of a search.

    Attributes:
        tried: the best first, those that failed last.
        importances: share of the differences that each value explains, by Optuna; empty where unknown.
        confirm: a study file of the best against the baseline; None where nothing was better.
    """

    space: Space
    baseline: Tried
    tried: tuple[Tried, ...]
    importances: Mapping[str, float]
    confirm: Path | None


class SearchWatcher(Protocol):
    """Interface through which a search reports its progress."""

    def tried(self, row: Tried, done: int, total: int) -> None:
        """A try has finished; for the baseline `done` is 0."""

    def training(self, values: Values) -> TrainingWatcher:
        """The watcher of the next training."""


def noted(folder: Path) -> Space:
    """The space of a started search; raises `ConfigError` where there is none."""
    return space_from(_content(folder)["tables"], str(folder / NOTED))


def plugin_files(folder: Path) -> list[dict[str, str]]:
    """Files that are plugins, as the search noted them; raises `ConfigError` where there is none."""
    return list(_content(folder).get("plugin_files", ()))


def _content(folder: Path) -> dict[str, Any]:
    refuse_ways_out(folder)
    if not isfile(folder / NOTED):
        raise ConfigError(
            f"{folder} is not a search folder: it holds no {NOTED}; name one that `resnet-lab study search` made"
        )
    return read_noted(folder / NOTED, ConfigError)


def search(space: Space, folder: Path, trials: int, registry: Registry, watcher: SearchWatcher) -> Found:
    """Try until so many tries have finished, including those of earlier calls on the folder.

    What Optuna proposes depends on the space and on what was tried before alone, so that a search that was stopped
    proposes what it would have. A failed try is reported to Optuna as pruned, so that it searches elsewhere.

    Raises:
        ConfigError: optuna is not installed, or the folder has another search.
        ResNetLabError: what would fail in every try.
        Interrupted: SIGINT or SIGTERM came; called again, it resumes within the same try.
    """
    if trials > MAX_TRIALS:
        raise ConfigError(f"{trials:,} tries, and a search has at most {MAX_TRIALS:,}; give fewer with --trials")
    classes = check_space(space, registry)
    with _opened(space, folder, registry) as study:
        work = _Search(space, StudyFolder(folder), study, registry, watcher, classes)
        baseline = work.outcome(None, space.baseline)
        if baseline.problem is not None:
            raise ConfigError(f"{space.where}: the baseline failed: {baseline.problem}")
        watcher.tried(baseline, 0, trials)
        work.carry_out(trials)
        return work.found(baseline)


@contextmanager
def _opened(space: Space, folder: Path, registry: Registry) -> Iterator["optuna.Study"]:
    try:
        import optuna
    except ImportError:
        raise ConfigError('a search needs the package optuna: pip install "resnet-lab[optuna]"') from None
    refuse_other(folder, NOTED)
    make_folder(folder / "trials")
    content = {"format": FORMAT, "tables": space.tables, "plugin_files": registry.files()}
    file = folder / NOTED
    if file.exists() and noted(folder).tables != json.loads(json.dumps(space.tables)):
        raise ConfigError(f"{folder} has a search of another space; choose another folder with --out")
    with claimed(folder / "search.lock") as is_mine:
        if not is_mine:
            raise ConfigError(f"{folder}: another process searches in this folder; wait for it, or stop it first")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        write_atomically(file, json.dumps(content, indent=1).encode())
        storage = optuna.storages.RDBStorage(f"sqlite:///{(folder / 'optuna.db').resolve()}")
        try:
            yield optuna.create_study(storage=storage, study_name="search", direction="maximize", load_if_exists=True)
        finally:
            storage.remove_session()
            storage.engine.dispose()


class _Search:
    """One go at the tries."""

    def __init__(
        self,
        space: Space,
        folder: StudyFolder,
        study: "optuna.Study",
        registry: Registry,
        watcher: SearchWatcher,
        classes: int,
    ) -> None:
        self.space, self.folder, self.study = space, folder, study
        self.registry, self.watcher, self.classes = registry, watcher, classes
        self.arms: dict[tuple[tuple[str, str | int | float | bool], ...], Arm] = {}

    def carry_out(self, trials: int) -> None:
        from optuna.trial import TrialState

        while (done := len(self._over())) < trials:
            number, values = self._begun() or self._next()
            row = self.outcome(number, values)
            if row.validation is None:
                self.study.tell(number, state=TrialState.PRUNED)
            else:
                self.study.tell(number, row.validation)
            self.watcher.tried(row, done + 1, trials)

    def found(self, baseline: Tried) -> Found:
        """All tries by merit; finished ones are not trained again."""
        rows = [self.outcome(each.number, self._values(each.params)) for each in self._over()]
        rows.sort(key=_merit, reverse=True)
        confirm = None
        if rows and _merit(rows[0])[0] > _merit(baseline)[0]:
            confirm = self.folder.folder / "confirm.toml"
            text = confirming(self.space.tables, self.space.base, self.space.plan, baseline.values, rows[0].values)
            write_atomically(confirm, text.encode())
        return Found(self.space, baseline, tuple(rows), self._importances(rows), confirm)

    def outcome(self, number: int | None, values: Values) -> Tried:
        """Outcome of one try: trained, resumed, or read where an equal one is finished."""
        try:
            arm = self._arm(values)
        except CANNOT_BE as error:
            return Tried(number, values, None, None, str(error), 0.0, None)
        trial = Trial(arm, self.space.plan.first_seed)
        study = Study(self.space.plan, (arm,), self.space.tables)
        try:
            outcome = carry_out(study, trial, self.folder, self.registry, self.watcher.training(values))
        except CANNOT_BE as error:
            if number is None:
                raise
            return Tried(number, values, None, None, str(error), 0.0, None)
        if outcome is None:
            raise ConfigError(f"{self.folder.folder}: another process works on {trial.name}; stop it first")
        accuracy, loss = outcome.validation or (None, None)
        return Tried(number, values, accuracy, loss, outcome.problem, outcome.seconds, trial.name)

    def _arm(self, values: Values) -> Arm:
        """Built on paper, and with its epochs; what was built once is not built again."""
        key = tuple(sorted(values.items()))
        if key not in self.arms:
            arm = self.space.arm(values)
            measure(arm.spec.modified(num_classes=self.classes), self.registry)
            alone = Study(self.space.plan, (arm,), self.space.tables)
            self.arms[key] = resolve(alone, self.folder, self.registry).of(alone).arms[0]
        return self.arms[key]

    def _over(self) -> Sequence["optuna.trial.FrozenTrial"]:
        from optuna.trial import TrialState

        return self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))

    def _begun(self) -> tuple[int, Values] | None:
        """A try that was stopped; one that has not all its values yet is given up."""
        from optuna.trial import TrialState

        for each in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if each.params.keys() == self._distributions().keys():
                return each.number, self._values(each.params)
            self.study.tell(each.number, state=TrialState.FAIL)
        return None

    def _next(self) -> tuple[int, Values]:
        from optuna.samplers import TPESampler

        seed = self.space.plan.first_seed + len(self.study.get_trials(deepcopy=False))
        self.study.sampler = TPESampler(seed=seed)
        trial = self.study.ask(self._distributions())
        return trial.number, self._values(trial.params)

    def _values(self, params: Mapping[str, Any]) -> Values:
        """Complete values: with factors of one level, and numbers rounded to six digits as settings write them."""
        rounded = {name: float(f"{value:g}") if isinstance(value, float) else value for name, value in params.items()}
        return {**self.space.baseline, **rounded}

    def _distributions(self) -> dict[str, Any]:
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        found: dict[str, Any] = {
            name: CategoricalDistribution(levels) for name, levels in self.space.plan.factors.items() if len(levels) > 1
        }
        for name, each in self.space.plan.search.items():
            if isinstance(each.low, int) and isinstance(each.high, int):
                found[name] = IntDistribution(each.low, each.high, log=each.log)
            else:
                found[name] = FloatDistribution(each.low, each.high, log=each.log)
        return found

    def _importances(self, rows: Sequence[Tried]) -> dict[str, float]:
        from optuna.importance import FanovaImportanceEvaluator, get_param_importances

        if len({row.validation for row in rows if row.validation is not None}) < 2:
            return {}
        return get_param_importances(self.study, evaluator=FanovaImportanceEvaluator(seed=0))


def _merit(row: Tried) -> tuple[float, float]:
    """Accuracy, and of equal ones the lower loss."""
    return (-1.0, 0.0) if row.validation is None or row.loss is None else (row.validation, -row.loss)
