import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from resnet_lab.core.errors import ConfigError, ResNetLabError, RunError
from resnet_lab.evaluation.opened_run import Sources
from resnet_lab.network.plugins import load
from resnet_lab.study import executing, running, trials
from resnet_lab.study.executing import in_processes, local
from resnet_lab.study.outcome import Outcome
from resnet_lab.study.results import findings
from resnet_lab.study.running import as_run, check_arms, known, run_study, tuned
from resnet_lab.study.trials import StudyFolder, Trial, trials_of, tuning_trials
from resnet_lab.study.writing import in_words
from resnet_lab.train.training import train
from tests.study.resuming import resume, resumed, resuming
from tests.study.small import Listening, study, table
from tests.train.killed import CONTEXT

REGISTRY = load(only=[])


@pytest.mark.slow
def test_every_trial_is_run_and_none_again(tmp_path: Path) -> None:
    watcher, folder = Listening(), StudyFolder(tmp_path)
    run_study(study(), folder, REGISTRY, watcher)
    assert watcher.trained == [trial.name for trial in trials_of(study())]
    assert len(watcher.outcomes) == 4
    again = Listening()
    run_study(study(seeds=3), folder, REGISTRY, again)
    assert again.trained == [trial.name for trial in trials_of(study(seeds=3))[4:]]
    assert len(again.outcomes) == 6


@pytest.mark.slow
def test_a_study_is_the_same_in_several_processes(tmp_path: Path) -> None:
    alone, shared = StudyFolder(tmp_path / "alone"), StudyFolder(tmp_path / "shared")
    for folder in (alone, shared):
        folder.note(study())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as two processes on two processors have
    try:
        run_study(study(), alone, REGISTRY, Listening())
    finally:
        torch.set_num_threads(threads)
    run_study(study(), shared, REGISTRY, Listening(), **vars(local(max(2, os.cpu_count() or 1))))
    assert table(shared.folder) == table(alone.folder)


def test_the_learning_rate_is_the_best_on_the_validation_part(tmp_path: Path) -> None:
    """Each arm has its own; of equal accuracies the lower loss."""
    folder, tuning = StudyFolder(tmp_path), study(tune_lr=[0.01, 0.1, 1.0])
    merits = {
        ("none", 0.01): (0.5, 1.0), ("none", 0.1): (0.7, 1.0), ("none", 1.0): None,
        ("eca", 0.01): (0.6, 0.9), ("eca", 0.1): (0.6, 1.1), ("eca", 1.0): (0.2, 1.0),
    }  # fmt: skip
    folder.trials.mkdir()
    with pytest.raises(ConfigError) as failure:
        as_run(tuning, folder)
    assert str(failure.value) == (f"{tmp_path}: the learning rate of arm 'none' is not found yet; run the study")
    for (name, lr), merit in merits.items():
        arm = next(arm for arm in tuning.arms if arm.name == name)
        trial = Trial(arm, 0, lr)
        folder.keep(trial, Outcome(trial.name, name, 0, None if merit else "diverged", {}, merit, 1, 1, 1.0, lr, {}))
    found = as_run(tuning, folder)
    assert [arm.train.lr for arm in found.arms] == [0.1, 0.01]


def test_an_arm_that_fails_with_every_learning_rate_is_trained_with_the_lowest(tmp_path: Path) -> None:
    folder, tuning, notes = StudyFolder(tmp_path), study(tune_lr=[0.1, 0.01]), []
    folder.trials.mkdir()
    for trial in tuning_trials(tuning):
        fails = trial.arm.name == "eca"
        folder.keep(
            trial,
            Outcome(
                trial.name, trial.arm.name, 0, "it diverged" if fails else None, {},
                None if fails else (0.5, trial.lr or 0.0), 1, 1, 1.0, trial.lr or 0.0, {}, fails,
            ),
        )  # fmt: skip
    resolved = tuned(tuning, folder, known(tuning, folder), notes.append)
    assert [arm.train.lr for arm in resolved.of(tuning).arms] == [0.01, 0.01]
    assert notes == ["eca failed with every learning rate that was tried, and is trained with the lowest of them"]


@pytest.mark.slow
def test_a_diverged_arm_is_an_outcome_and_the_study_continues(tmp_path: Path) -> None:
    """All in small batches, so that an epoch has steps after the one that overflows."""
    arms = {"plain": {}, "wild": {"train.lr": 1e30, "train.optimizer": "sgd"}}
    chosen, folder = study(factors={}, arms=arms, seeds=2), StudyFolder(tmp_path)
    for _ in range(2):  # the second finds all of it done
        run_study(chosen, folder, REGISTRY, Listening())
    judged = findings(chosen, folder, REGISTRY)
    assert [(row.n, row.diverged) for row in judged.arms] == [(2, ()), (0, (0, 1))]
    assert re.match(r"epoch 1, step \d+ of \d+: the .* is (nan|inf) at learning rate", judged.arms[1].problems[1])
    assert in_words(judged.families[-1][0], "accuracy", None) == (
        "wild: no seed in which all its trials finished (arm wild diverged at seeds 0, 1): exploratory"
    )


def test_an_arm_that_cannot_be_built_is_named_before_anything_runs() -> None:
    broken = study(factors={"attn": ["none", "ecaa"]})
    with pytest.raises(ResNetLabError) as failure:
        check_arms(broken, Sources(REGISTRY))
    assert str(failure.value) == "arm 'ecaa': stage 1: unknown attention 'ecaa'; did you mean 'eca' or 'ela' or 'cbam'?"


def test_a_defect_of_the_program_stays_one_when_arms_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """And keeps its traceback, which leads to it."""

    def measure(*_: object) -> None:
        raise KeyError("a defect")

    monkeypatch.setattr(running, "measure", measure)
    with pytest.raises(KeyError) as failure:
        check_arms(study(), Sources(REGISTRY))
    assert failure.value.args == ("a defect",)
    assert failure.traceback[-1].name == "measure"


def test_a_defect_in_a_process_of_the_study_stays_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def command(code: str) -> None:
        monkeypatch.setattr(executing, "python_module", lambda *_: [sys.executable, "-c", code])

    folder = StudyFolder(tmp_path)
    folder.note(study())
    command("def broken(): raise KeyError('a defect')\nbroken()")
    with pytest.raises(RuntimeError) as failure:
        run_study(study(), folder, REGISTRY, Listening(), execute=in_processes(2))
    assert not isinstance(failure.value, ResNetLabError)
    assert str(failure.value).startswith("a process of the study failed:\nTraceback (most recent call last):\n")
    assert str(failure.value).endswith("in broken\nKeyError: 'a defect'\n")
    command("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(RunError) as killed:
        run_study(study(), folder, REGISTRY, Listening(), execute=in_processes(2))
    assert str(killed.value) == (
        "a process of the study was killed by SIGKILL; what was saved is whole: resume with `study run --resume`"
    )
    command("import sys; sys.exit('a sentence')")  # as a process that ends by itself with another code
    monkeypatch.setattr(executing.Child, "ended", lambda child: (143, "stopped by SIGTERM"))
    with pytest.raises(RunError, match="a process of the study ended with exit code 143: stopped by SIGTERM; what was"):
        run_study(study(), folder, REGISTRY, Listening(), execute=in_processes(2))


def test_a_failed_process_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = StudyFolder(tmp_path)
    folder.note(study())
    (folder.trials / f"{trials_of(study())[0].name}.json").write_text("{")
    with pytest.raises(ResNetLabError, match="damaged"):
        run_study(study(), folder, REGISTRY, Listening(), execute=in_processes(2))


@pytest.mark.long
def test_several_processes_that_are_stopped_save_their_states(tmp_path: Path) -> None:
    """One SIGTERM to the first; the trials are resumed, to the bits of an uninterrupted study."""
    long = study(train={"epochs": 5}, seeds=1)
    folder, alone = StudyFolder(tmp_path / "study"), StudyFolder(tmp_path / "alone")
    for each in (folder, alone):
        each.note(long)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "resnet_lab", "study", "run", "--quiet", "--no-bench", "--resume"]
    several = [*command, str(folder.folder), "--processes", "2"]
    with subprocess.Popen(several, env=environment, stderr=subprocess.PIPE, text=True) as first:
        while len(list(folder.trials.glob("*/state.safetensors"))) < 2:
            assert first.poll() is None
            time.sleep(0.1)
        first.send_signal(signal.SIGTERM)
        stderr = first.communicate()[1]
    assert first.returncode == 143
    assert stderr == f"resnet-lab: stopped by SIGTERM; resume with `resnet-lab study run --resume {folder.folder}`\n"
    assert {folder.run(trial).read()["status"] for trial in trials_of(long)} == {"stopped by SIGTERM"}
    assert resumed(folder, alone) == [0, 0]
    assert table(folder.folder) == table(alone.folder)


def resume_with_notes(folder: Path, begun: Path) -> None:
    """Resume, and write down what this process begins to train."""

    def noted(*arguments: Any, folder: Path, **options: Any) -> Any:
        with begun.open("a") as file:
            file.write(f"{folder.name} {os.getpid()}\n")
        return train(*arguments, folder=folder, **options)

    trials.train = noted
    resume(folder)


@pytest.mark.slow
def test_two_processes_on_a_folder_never_run_a_trial_twice(tmp_path: Path) -> None:
    """Started at once, each writes down what it begins to train: every trial stands there once."""
    folder, begun = StudyFolder(tmp_path / "study"), tmp_path / "begun"
    folder.note(study(seeds=3))
    processes = [CONTEXT.Process(target=resume_with_notes, args=(folder.folder, begun)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    lines = [line.split() for line in begun.read_text().splitlines()]
    names = sorted(trial.name for trial in trials_of(study(seeds=3)))
    assert sorted(name for name, _ in lines) == names
    assert {int(process) for _, process in lines} == {process.pid for process in processes}  # both had a part
    assert sorted(table(folder.folder)) == names
    assert {len(folder.run(trial).seconds()) for trial in trials_of(study(seeds=3))} == {1}


def require_the_same_table_after_kills(tmp_path: Path, kills: int, seed: int, seeds: int) -> None:
    """Require that a study killed by SIGKILL at random moments ends with the same bits as an undisturbed one."""
    small = study(train={"epochs": 2, "save_minutes": 1e-6}, seeds=seeds)
    quiet, killed = StudyFolder(tmp_path / "quiet"), StudyFolder(tmp_path / "killed")
    for folder in (quiet, killed):
        folder.note(small)
    resumed(StudyFolder(tmp_path / "none"))  # later ones are forked from a server that has the imports
    start = time.monotonic()
    undisturbed = resuming(quiet)
    while not list(quiet.trials.glob("*/run.json")):
        time.sleep(0.01)
    begun = time.monotonic() - start
    undisturbed.join()
    assert undisturbed.exitcode == 0
    trial = (time.monotonic() - start - begun) / (2 * seeds)
    draw = random.Random(seed)

    def written() -> int:
        return max((path.stat().st_mtime_ns for path in killed.trials.glob("*/run.json")), default=0)

    for kill in range(kills):  # by turns while it starts, in the midst of a trial, and just after one
        before, over = written(), len(table(killed.folder))
        process = resuming(killed)
        if kill % 3 == 0:
            time.sleep(draw.uniform(0.3, 1) * begun)
        elif kill % 3 == 1:
            while written() == before and process.is_alive():
                time.sleep(0.02)
            time.sleep(draw.uniform(0, trial))
        else:
            while len(table(killed.folder)) == over and process.is_alive():
                time.sleep(0.02)
            time.sleep(draw.uniform(0, 0.1))
        assert process.is_alive(), f"it was over before kill {kill}"
        process.kill()
        process.join()
    assert table(killed.folder)  # some trials were over by then
    assert resumed(killed) == [0]
    assert table(killed.folder) == table(quiet.folder)


@pytest.mark.slow
def test_three_kills_leave_the_same_table(tmp_path: Path) -> None:
    require_the_same_table_after_kills(tmp_path, kills=3, seed=0, seeds=3)


@pytest.mark.long
@pytest.mark.parametrize("seed", [0, 1])
def test_ten_kills_leave_the_same_table(tmp_path: Path, seed: int) -> None:
    require_the_same_table_after_kills(tmp_path, kills=10, seed=seed, seeds=4)
