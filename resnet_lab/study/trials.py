"""Trial: one arm in the block of one seed, trained once, wherever and however often it is started.

A study folder has `study.json` (the design), `resolved.json` (what the design leaves open), and for each trial
`trials/NAME/` (the run folder), `trials/NAME.json` (its outcome, written last) and `trials/NAME.lock` (held by the
process that works on it). `bench.json` has what the arms cost.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from os.path import isfile
from pathlib import Path
from typing import Any, Literal

from resnet_lab.core import locks
from resnet_lab.core.errors import ConfigError, ResNetLabError, RunError
from resnet_lab.core.files import make_folder, refuse_ways_out, write_atomically
from resnet_lab.core.records import (
    SMALL,
    read_json,
    shortened,
    validated,
)
from resnet_lab.core.run_folder import Run
from resnet_lab.data.config import DataConfig
from resnet_lab.device.memory import is_out_of_memory
from resnet_lab.evaluation.metrics.headline import headline
from resnet_lab.evaluation.opened_run import recorded_spec
from resnet_lab.evaluation.scoring import stored, stored_epochs
from resnet_lab.network.plugins import Registry
from resnet_lab.study.declaration import declared, design_hash, read_declared, require_fixed
from resnet_lab.study.design import Arm, Study, study_from
from resnet_lab.study.design_files import FORMAT, read_noted, require_format
from resnet_lab.study.outcome import OUTCOME, Outcome
from resnet_lab.train.config import TrainConfig
from resnet_lab.train.interruption import Interrupted
from resnet_lab.train.progress import TrainingWatcher
from resnet_lab.train.tally import DivergedError
from resnet_lab.train.tracking import UNTRACKED, Track
from resnet_lab.train.training import resume, train

REMEDY = "remove it and its folder to have the trial run again"
LONGEST = 150
"""Bytes of an arm's name in the names of its files, which may have 255 with what stands around it."""


LEFT_OPEN = ("batch_size", "compile", "threads")
"""What a design may leave to the device, so that a run's record may differ in it."""

RECORDED_DATA = {"fit", "strict", "folds", "fold"}
"""What a run's record has of the data as in the design."""

State = Literal["waiting", "running", "finished", "failed"]


@dataclass(frozen=True)
class Trial:
    """An arm in a block.

    Attributes:
        lr: that replaces the arm's own, in tuning; None else.
    """

    arm: Arm
    seed: int
    lr: float | None = None

    @property
    def name(self) -> str:
        """Name of its folder: the arm with its configuration's hash, and the seed."""
        tuned = "" if self.lr is None else f"-lr{self.lr:g}"
        return f"{prefix_of(self.arm)}{tuned}-seed{self.seed}"

    @property
    def rate(self) -> float:
        """Learning rate that it is trained with."""
        return self.arm.train.lr if self.lr is None else self.lr


class NoResultsError(ConfigError):
    """A study has no results.

    Attributes:
        is_final: whether all of its trials are over.
    """

    def __init__(self, text: str, *, is_final: bool = False) -> None:
        super().__init__(text)
        self.is_final = is_final


def _contradiction(outcome: Outcome, trial: Trial) -> str:
    """Why an outcome cannot be that of a trial, empty where it can."""
    if (outcome.trial, outcome.arm, outcome.seed) != (trial.name, trial.arm.name, trial.seed):
        return f"it is of the trial {shortened(outcome.trial)}"
    if outcome.lr != trial.rate:
        return f"lr is {outcome.lr:g}, and {trial.rate:g} in the study"
    if outcome.problem is not None:
        scored = outcome.scores or outcome.last_scores or outcome.validation is not None
        return "a trial that failed has no scores" if scored else ""
    if outcome.validation is None:
        return "a trial that finished has a validation"
    if outcome.diverged:
        return "a trial that finished has not diverged"
    if outcome.epochs and not outcome.seconds:
        return "a trial that finished has taken more than 0 seconds"
    if len({frozenset(each) for each in outcome.last_scores}) > 1 or len(outcome.last_scores) > outcome.epochs:
        return "last_scores are of more epochs than were trained, or of different metrics"
    if outcome.epochs and (outcome.best_epoch or 0) > outcome.epochs:
        return f"best_epoch is {outcome.best_epoch}, of {outcome.epochs} epochs"
    return ""


def prefix_of(arm: Arm) -> str:
    """The beginning of the names of an arm's trials."""
    words = re.sub(r"[^\w.@=+-]+", "-", arm.name).encode()[:LONGEST].decode(errors="ignore").strip("-") or "arm"
    return f"{words}-{arm.hash}"


class StudyFolder:
    """The files of a study, by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.design = folder / "study.json"
        self.resolution = folder / "resolved.json"
        self.bench = folder / "bench.json"
        self.trials = folder / "trials"

    def note(self, study: Study, plugin_files: Sequence[Mapping[str, str]] = (), *, bench: bool | None = None) -> None:
        """Write down the design, and the files that are plugins, as `Registry.files` gives them.

        `bench` says whether the arms' costs are measured after the trials; without it, that stays as it was noted.

        What was declared before the first trial stays on record, whatever is changed later.

        Raises:
            ConfigError: trials have run, and failures were to be judged otherwise.
        """
        make_folder(self.trials)
        has_run = isfile(self.design) and any(self.trials.glob("*.json"))
        before = self.declared() if has_run else declared(study)
        require_fixed(before, study, self.folder)
        plan = study.plan
        about = {**study.tables.get("study", {}), "population": plan.population, "failures": plan.failures}
        if plan.looks:
            about |= {"looks": list(plan.looks), "seeds": plan.seeds}
            about.pop("adaptive", None)
        tables = {**study.tables, "study": about}
        bench = self.measures_costs() if bench is None else bench
        if study.folds is not None:  # the default depends on the number of seeds, which may grow
            tables["data"] = {**study.tables.get("data", {}), "folds": study.folds}
        content = {
            "format": FORMAT,
            "tables": tables,
            "plugin_files": list(plugin_files),
            "bench": bench,
            "declared": before,
            "design_hash": design_hash(before),
        }
        write_atomically(self.design, json.dumps(content, indent=1).encode())

    def measures_costs(self) -> bool:
        """Whether the arms' costs are measured after the trials. Raises `RunError`."""
        return not isfile(self.design) or read_noted(self.design, RunError).get("bench") is not False

    def declared(self) -> dict[str, Any]:
        """Declaration before the first trial; empty where nothing was noted. Raises `RunError`."""
        return read_declared(self.design) if isfile(self.design) else {}

    def plugin_files(self) -> list[dict[str, str]]:
        """Files that are plugins, as they were noted; none where there is no study.

        Raises:
            RunError: something in the folder leads out of it, or study.json is damaged.
        """
        refuse_ways_out(self.folder)
        return list(read_noted(self.design, RunError).get("plugin_files", ())) if isfile(self.design) else []

    def study(self) -> Study:
        """The design that was noted last.

        Raises:
            RunError: it is no study folder, or something in it leads out of it.
            ConfigError, SpecError: the design can no longer be.
        """
        self.require_study()
        return study_from(read_noted(self.design, RunError)["tables"], str(self.design))

    def require_study(self) -> None:
        """Raise `RunError` where it is no study folder, or something in it leads out of it."""
        refuse_ways_out(self.folder)
        if not isfile(self.design):
            raise RunError(
                f"{self.folder} is not a study folder: it holds no study.json; name one that `resnet-lab study run` "
                "made"
            )

    def stamps(self) -> frozenset[tuple[str, int]]:
        """Names and times of change of the files that results are read from: another set, other results."""
        files = [self.design, self.resolution, self.bench, *self.trials.glob("*.json")]
        return frozenset((file.name, file.stat().st_mtime_ns) for file in files if isfile(file))

    def run(self, trial: Trial) -> Run:
        """Its run folder, which need not exist."""
        return Run(self.trials / trial.name)

    def outcome(self, trial: Trial) -> Outcome | None:
        """Outcome; None where it is not finished.

        Raises:
            RunError: the file is damaged, of another trial, or of a newer format.
        """
        path = self._outcome(trial)
        if not path.exists():
            return None
        content = read_json(path, RunError, most=SMALL, remedy=REMEDY)
        require_format(content, path, RunError, REMEDY)
        if isinstance(content, dict):
            content.pop("format", None)
        found = validated(OUTCOME, content, f"{path}: damaged", RunError, REMEDY)
        if problem := _contradiction(found, trial):
            raise RunError(f"{path}: damaged: {problem}; {REMEDY}")
        return found

    def keep(self, trial: Trial, outcome: Outcome) -> None:
        """Write the outcome, the last step of a trial."""
        text = json.dumps({"format": FORMAT, **vars(outcome)}, indent=1)
        write_atomically(self._outcome(trial), text.encode())

    @contextmanager
    def claimed(self, trial: Trial) -> Iterator[bool]:
        """Whether this process may work on it: no other one does while the context lasts."""
        make_folder(self.trials)
        with locks.claimed(self.trials / f"{trial.name}.lock") as is_mine:
            yield is_mine

    def state(self, trial: Trial) -> State:
        """State, as far as the files show it."""
        outcome = self.outcome(trial)
        if outcome is not None:
            return "finished" if outcome.problem is None else "failed"
        return "running" if self.run(trial).record.exists() else "waiting"

    def _outcome(self, trial: Trial) -> Path:
        return self.trials / f"{trial.name}.json"


def trials_of(study: Study, arms: Sequence[Arm] | None = None) -> list[Trial]:
    """Every arm in every block, block by block, so that a study that ends early is balanced as far as it went."""
    return [Trial(arm, seed) for seed in study.seeds for arm in (study.arms if arms is None else arms)]


def carry_out(
    study: Study,
    trial: Trial,
    folder: StudyFolder,
    registry: Registry,
    watcher: TrainingWatcher,
    track: Track = UNTRACKED,
) -> Outcome | None:
    """Train or resume a trial; None where another process works on it.

    A network that diverges or does not fit the memory is an outcome too.

    Args:
        track: trackers, of which each trial has new ones.

    Raises:
        ResNetLabError: what would fail in any other trial as well, such as missing data.
        Interrupted: SIGINT or SIGTERM came; called again, it resumes.
    """
    with folder.claimed(trial) as is_ours:
        if not is_ours:
            return None
        if (done := folder.outcome(trial)) is not None:
            return done
        late_signal = None
        try:
            late_signal = _train(study, trial, folder, registry, watcher, track)
            outcome = _finished(trial, folder)
        except DivergedError as error:
            outcome = _failed(trial, folder, str(error), diverged=True)
        except ResNetLabError as error:
            if not is_out_of_memory(error.__cause__):
                raise
            outcome = _failed(trial, folder, str(error))
        folder.keep(trial, outcome)
        if late_signal is not None:
            raise Interrupted(late_signal)
        return outcome


def _train(
    study: Study, trial: Trial, folder: StudyFolder, registry: Registry, watcher: TrainingWatcher, track: Track
) -> int | None:
    """Bring a trial's training to its end; a signal that came too late to stop it."""
    run, data = folder.run(trial), _data(study, trial)
    for_tuning = {} if trial.lr is None else {"keep_predictions": 0}
    config = study.at(trial.arm, trial.seed, lr=trial.rate, **for_tuning)
    also: dict[str, Any] = {"registry": registry, "watcher": watcher, "curves": False, "track": track}
    if run.record.exists():
        record = run.read()
        _require_of_trial(run, record, trial, config, data)
        if record.get("status") != "finished":
            return resume(run.folder, **also).signal
        return None
    return train(trial.arm.spec, data, config, folder=run.folder, **also).signal


def _data(study: Study, trial: Trial) -> DataConfig:
    return study.data_at(trial.arm, trial.seed) if trial.lr is None else study.tuning_data(trial.arm)


def _require_of_trial(run: Run, record: Mapping[str, Any], trial: Trial, config: TrainConfig, data: DataConfig) -> None:
    """Raise `RunError` where a run in the place of a trial's is of another training."""
    asked = {**data.model_dump(mode="json", include=RECORDED_DATA), **config.model_dump(mode="json")}
    noted = {**{name: record["data"].get(name, asked[name]) for name in RECORDED_DATA}, **record["config"]}
    other = [name for name in noted if name in asked and name not in LEFT_OPEN and noted[name] != asked[name]]
    own = trial.arm.spec.modified(num_classes=len(record["data"]["classes"]))
    if config.weights is None and recorded_spec(run, record) != own:  # weights may ask for other parts
        other.insert(0, "spec")
    if other:
        raise RunError(
            f"{run.folder} is of another training than the trial, whose {other[0]} differs; remove the folder to have "
            "the trial run again"
        )


def _finished(trial: Trial, folder: StudyFolder) -> Outcome:
    run = folder.run(trial)
    record, epochs = run.read(), run.epochs()
    best = {row["epoch"]: row for row in epochs}.get(record.get("best_epoch") or 0, {})
    if not {"val_loss", "val_macro_accuracy"} <= best.keys():
        raise RunError(f"{run.metrics}: damaged: it has no epoch {record.get('best_epoch')}, the best; {REMEDY}")
    if not isfinite(best["val_loss"]):
        raise DivergedError(f"epoch {record['best_epoch']}: the validation loss is {best['val_loss']}")
    predictions, last = stored(run), stored_epochs(run, record["config"].get("keep_predictions", 0))
    if predictions is None or last is None:
        raise RunError(f"{run.folder}: its predictions are gone; remove the folder to have the trial run again")
    return _outcome(
        trial,
        folder,
        problem=None,
        scores=headline(predictions.labels, predictions.probabilities),
        validation=(best["val_macro_accuracy"], best["val_loss"]),
        best_epoch=record["best_epoch"],
        last_scores=tuple(headline(each.labels, each.probabilities) for each in last),
    )


def _failed(trial: Trial, folder: StudyFolder, problem: str, *, diverged: bool = False) -> Outcome:
    return _outcome(trial, folder, problem=problem, scores={}, validation=None, best_epoch=None, diverged=diverged)


def _outcome(trial: Trial, folder: StudyFolder, **known: Any) -> Outcome:
    run = folder.run(trial)
    record = run.read() if run.record.exists() else {}
    times = run.seconds() if run.times.exists() else []
    return Outcome(
        trial=trial.name,
        arm=trial.arm.name,
        seed=trial.seed,
        epochs=len(times),
        seconds=sum(times),
        lr=trial.rate,
        versions=record.get("versions", {}),
        **known,
    )


def orphaned(study: Study, folder: StudyFolder) -> list[str]:
    """Names of finished trials in the folder that are not of this design; they are kept and ignored."""
    own = {trial.name for trial in (*trials_of(study), *tuning_trials(study))}
    return sorted(path.stem for path in folder.trials.glob("*.json") if path.stem not in own)


def tuning_trials(study: Study) -> list[Trial]:
    """Every arm with every learning rate, in the first block alone."""
    return [Trial(arm.untuned, study.plan.first_seed, lr) for arm in study.arms for lr in study.plan.tune_lr]
