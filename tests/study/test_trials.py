import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score

from resnet_lab.core.errors import ConfigError, DataError, RunError
from resnet_lab.core.history import Epoch
from resnet_lab.evaluation.predictions import Predictions
from resnet_lab.network.plugins import load
from resnet_lab.study import trials
from resnet_lab.study.trials import StudyFolder, Trial, carry_out, orphaned, trials_of, tuning_trials
from resnet_lab.train.interruption import Interrupted
from resnet_lab.train.progress import TrainingWatcher
from resnet_lab.train.tally import DivergedError
from tests.run_records import run_record
from tests.study.fabricated import by_chance, design, fabricate
from tests.study.small import study

REGISTRY, SILENT = load(only=[]), TrainingWatcher()


def test_whether_costs_are_measured_stays_as_it_was_noted(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    assert folder.measures_costs()
    for noted, expected in ((None, True), (False, False), (None, False), (True, True)):
        folder.note(study(), bench=noted)
        assert folder.measures_costs() is expected
    content = json.loads(folder.design.read_text())
    del content["bench"]  # as of earlier versions
    folder.design.write_text(json.dumps(content))
    assert folder.measures_costs()


def test_trials_go_block_by_block() -> None:
    small = study()
    assert [(trial.arm.name, trial.seed) for trial in trials_of(small)] == [
        ("none", 0), ("eca", 0), ("none", 1), ("eca", 1),
    ]  # fmt: skip
    assert len({trial.name for trial in trials_of(small)}) == 4
    assert tuning_trials(small) == []
    tuned = study(tune_lr=[0.01, 0.1])
    assert [(trial.arm.name, trial.seed, trial.lr) for trial in tuning_trials(tuned)] == [
        ("none", 0, 0.01), ("none", 0, 0.1), ("eca", 0, 0.01), ("eca", 0, 0.1),
    ]  # fmt: skip


def test_a_trial_is_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small, folder = study(), StudyFolder(tmp_path)
    trial = trials_of(small)[1]
    assert folder.state(trial) == "waiting"
    outcome = carry_out(small, trial, folder, REGISTRY, SILENT)
    assert outcome is not None
    assert folder.state(trial) == "finished"
    assert folder.run(trial).metrics.exists()
    assert not folder.run(trial).curves.exists()  # which takes a second, and no report reads it
    predictions = Predictions.read(folder.run(trial).predictions("test"))
    assert outcome.scores["macro_accuracy"] == pytest.approx(
        balanced_accuracy_score(predictions.labels, predictions.predicted)
    )
    record = folder.run(trial).read()
    assert outcome.scores["macro_accuracy"] == pytest.approx(record["test"]["macro_accuracy"])
    assert (outcome.best_epoch, outcome.epochs, outcome.problem) == (1, 1, None)
    assert outcome.validation is not None
    monkeypatch.setattr(trials, "train", None)
    assert carry_out(small, trial, folder, REGISTRY, SILENT) == outcome == folder.outcome(trial)


def test_a_trial_killed_after_training_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small, folder = study(), StudyFolder(tmp_path)
    trial = trials_of(small)[0]
    outcome = carry_out(small, trial, folder, REGISTRY, SILENT)
    (folder.trials / f"{trial.name}.json").unlink()
    monkeypatch.setattr(trials, "train", None)
    monkeypatch.setattr(trials, "resume", None)
    assert carry_out(small, trial, folder, REGISTRY, SILENT) == outcome


class StoppedAfterTheLastStep(TrainingWatcher):
    def epoch(self, epoch: Epoch, best: Epoch) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_after_the_last_step_ends_the_study_with_that_trial(tmp_path: Path) -> None:
    """The trial is brought to its end, and no other is begun."""
    small, folder = study(), StudyFolder(tmp_path)
    trial = trials_of(small)[0]
    with pytest.raises(Interrupted, match="stopped by SIGTERM"):
        carry_out(small, trial, folder, REGISTRY, StoppedAfterTheLastStep())
    outcome = folder.outcome(trial)
    assert outcome is not None
    assert outcome.problem is None
    assert carry_out(small, trial, folder, REGISTRY, SILENT) == outcome


def test_one_that_another_process_works_on_is_left_to_it(tmp_path: Path) -> None:
    small, folder = study(), StudyFolder(tmp_path)
    trial = trials_of(small)[0]
    with folder.claimed(trial) as is_ours:
        assert is_ours
        assert carry_out(small, trial, folder, REGISTRY, SILENT) is None


def test_what_fails_by_itself_is_an_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small, folder = study(), StudyFolder(tmp_path)
    first, second, third, _ = trials_of(small)

    def diverge(*_: object, **__: object) -> None:
        raise DivergedError("the loss is no longer a number")

    monkeypatch.setattr(trials, "train", diverge)
    outcome = carry_out(small, first, folder, REGISTRY, SILENT)
    assert outcome is not None
    assert (outcome.problem, outcome.scores, folder.state(first)) == ("the loss is no longer a number", {}, "failed")
    assert outcome.diverged
    assert folder.outcome(first) == outcome

    def too_large(*_: object, **__: object) -> None:
        raise ConfigError("batch size 256 does not fit") from torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(trials, "train", too_large)
    outcome = carry_out(small, second, folder, REGISTRY, SILENT)
    assert outcome is not None
    assert outcome.problem == "batch size 256 does not fit"
    assert not outcome.diverged

    def no_data(*_: object, **__: object) -> None:
        raise DataError("digits are gone")

    monkeypatch.setattr(trials, "train", no_data)
    with pytest.raises(DataError, match="digits are gone"):
        carry_out(small, third, folder, REGISTRY, SILENT)
    assert folder.outcome(third) is None


def test_a_run_whose_best_epoch_has_no_loss_diverged(tmp_path: Path) -> None:
    """A run whose outputs on the test part were non-finite has no predictions."""
    small, folder = study(), StudyFolder(tmp_path)
    trial = trials_of(small)[0]
    run = folder.run(trial)
    run.folder.mkdir(parents=True)
    run.write(run_record(status="finished", best_epoch=1, config={"epochs": 1}))
    run.metrics.write_text("epoch,val_loss,val_macro_accuracy\n1,nan,0.5\n")
    outcome = carry_out(small, trial, folder, REGISTRY, SILENT)
    assert outcome is not None
    assert (outcome.problem, outcome.diverged, outcome.scores) == ("epoch 1: the validation loss is nan", True, {})


def test_trials_of_another_design_are_kept_and_named(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    carry_out(study(), trials_of(study())[0], folder, REGISTRY, SILENT)
    changed = study(train={"epochs": 2})
    assert orphaned(study(), folder) == []
    assert orphaned(changed, folder) == [trials_of(study())[0].name]
    assert (folder.trials / f"{trials_of(study())[0].name}.json").exists()


def test_a_design_is_noted(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "new")
    with pytest.raises(RunError) as failure:
        folder.study()
    assert str(failure.value) == (
        f"{tmp_path}/new is not a study folder: it holds no study.json; name one that `resnet-lab study run` made"
    )
    folder.note(study(seeds=3))
    noted = folder.study()
    assert (noted.plan, noted.arms) == (study(seeds=3).plan, study(seeds=3).arms)
    assert noted.tables["study"] == {**study(seeds=3).tables["study"], "population": "new", "failures": "withhold"}


def test_failures_are_declared_before_the_first_trial(tmp_path: Path) -> None:
    planned, other = design(arms={"plain": {}, "gated": {"attn": "eca"}}), {"failures": "worst"}
    changed = replace(planned, plan=planned.plan.model_copy(update=other))
    StudyFolder(tmp_path / "empty").note(planned)
    StudyFolder(tmp_path / "empty").note(changed)
    folder = fabricate(tmp_path / "run", planned, by_chance({"plain": 0.7, "gated": 0.7}), n=6)
    folder.note(planned)
    with pytest.raises(ConfigError) as failure:
        folder.note(changed)
    assert str(failure.value) == (
        f"{tmp_path}/run: failures is 'worst', and was 'withhold' when its trials ran; what failures count as is "
        "declared before the first trial: give --failures withhold or another --out"
    )


def test_damaged_outcomes(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    trial = Trial(study().arms[0], 0)
    folder.trials.mkdir()
    path = folder.trials / f"{trial.name}.json"
    path.write_text("{")
    with pytest.raises(RunError) as failure:
        folder.outcome(trial)
    assert str(failure.value).startswith(f"{path}: damaged: not JSON: ")
    assert str(failure.value).endswith("; remove it and its folder to have the trial run again")
    path.write_text(json.dumps({"format": 2}))
    with pytest.raises(RunError) as failure:
        folder.outcome(trial)
    assert str(failure.value) == f"{path}: format 2 is newer than this resnet-lab reads (1); upgrade resnet-lab"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"scores": {"accuracy": []}}, "scores.accuracy: input should be a valid number, got []"),
        ({"seed": []}, "seed: input should be a valid integer, got []"),
        ({"validation": None}, "a trial that finished has a validation"),
        ({"seed": 7}, "it is of the trial {name}"),
        ({"arm": "another"}, "it is of the trial {name}"),
        ({"scores": {"accuracy": 5}}, "scores: accuracy is 5.0, and should be in [0, 1], got {{'accuracy': 5}}"),
        ({"scores": {"macro_f1": -2}}, "scores: macro_f1 is -2.0, and should be in [0, 1], got {{'macro_f1': -2}}"),
        ({"scores": {"brier": 2.5}}, "scores: brier is 2.5, and should be in [0, 2], got {{'brier': 2.5}}"),
        ({"scores": {"log_loss": -1}}, "scores: log_loss is -1.0, and should be at least 0, got {{'log_loss': -1}}"),
        ({"validation": [9, 1]}, "validation.0: input should be less than or equal to 1.000001, got 9"),
        ({"validation": [0.5, -1]}, "validation.1: input should be greater than or equal to 0, got -1"),
        ({"seconds": 0}, "a trial that finished has taken more than 0 seconds"),
        ({"diverged": True}, "a trial that finished has not diverged"),
        ({"best_epoch": 999}, "best_epoch is 999, of 1 epochs"),
        ({"lr": 1e300}, "lr is 1e+300, and 0.003 in the study"),
        ({"problem": "it diverged"}, "a trial that failed has no scores"),
        ({"seconds": 1e300}, "seconds: input should be less than or equal to 10000000000, got 1e+300"),
        ({"format": "x"}, "format should be 1, got 'x'"),
        ({"epochs": 10**9}, "epochs: input should be less than or equal to 1000000, got 1000000000"),
    ],
)  # fmt: skip
def test_an_outcome_of_another_form(tmp_path: Path, changes: dict[str, object], problem: str) -> None:
    folder, trial = StudyFolder(tmp_path), Trial(study().arms[0], 0)
    folder.trials.mkdir()
    sound = trials.Outcome(trial.name, "none", 0, None, {"accuracy": 0.5}, (0.5, 1.0), 1, 1, 1.0, 0.003, {})
    folder.keep(trial, sound)
    assert folder.outcome(trial) == sound
    path = folder.trials / f"{trial.name}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(RunError) as failure:
        folder.outcome(trial)
    assert str(failure.value) == (
        f"{path}: damaged: {problem.format(name=trial.name)}; remove it and its folder to have the trial run again"
    )


@pytest.mark.parametrize(
    ("changes", "other"),
    [
        ({"config": {"lr": 0.5}}, "lr"),
        ({"config": {"seed": 5}}, "seed"),
        ({"config": {"epochs": 1, "batch_size": 2, "compile": "on"}}, ""),
        ({"data": {"fit": "crop"}}, "fit"),
        ({"arm": 1}, "spec"),
    ],
)
def test_a_run_of_another_training_is_not_taken_for_a_trial_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], other: str
) -> None:
    small, folder = study(), StudyFolder(tmp_path)
    trial = trials_of(small)[0]
    run, record = folder.run(trial), run_record(status="interrupted")
    spec = small.arms[changes.get("arm", 0)].spec.modified(num_classes=2)
    run.folder.mkdir(parents=True)
    run.write(
        record
        | {"config": {"epochs": 1} | changes.get("config", {}), "data": record["data"] | changes.get("data", {})}
        | {"spec": spec.model_dump(mode="json"), "spec_hash": spec.hash}
    )

    def resumed(*_: object, **__: object) -> None:
        raise DataError("it is resumed")

    monkeypatch.setattr(trials, "resume", resumed)
    with pytest.raises(DataError if not other else RunError) as failure:
        carry_out(small, trial, folder, REGISTRY, SILENT)
    assert str(failure.value) == (
        f"{run.folder} is of another training than the trial, whose {other} differs; remove the folder to have the "
        "trial run again"
        if other
        else "it is resumed"
    )


def test_an_arm_s_long_name_is_shortened_in_its_files(tmp_path: Path) -> None:
    long = study(factors={"attn": ["none", "eca"], "act": ["relu", "gelu"]})
    arms = [replace(arm, name=f"{'é' * 200} {arm.name}") for arm in long.arms]
    names = {Trial(arm, 10**9, 0.000123456).name for arm in arms}
    assert len(names) == 4
    assert all(len(f".{name}.json.12345678".encode()) < 256 for name in names)
    folder = StudyFolder(tmp_path)
    assert folder.outcome(Trial(arms[0], 0)) is None
