"""A study is resolved once: whatever the clock says later, its trials stay its own."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from resnet_lab.core.errors import RunError
from resnet_lab.network.plugins import load
from resnet_lab.study import deciding, trials
from resnet_lab.study.design import Study, study_from
from resnet_lab.study.executing import in_processes
from resnet_lab.study.outcome import Outcome
from resnet_lab.study.resolution import ResolvedArm, read_resolution, recovered
from resnet_lab.study.results import findings
from resnet_lab.study.running import as_run, known, resolve, run_study
from resnet_lab.study.trials import StudyFolder, orphaned, trials_of, tuning_trials
from tests.run_records import run_record
from tests.study.fabricated import by_chance, design, fabricate
from tests.study.small import Listening, study

REGISTRY = load(only=[])


@pytest.fixture
def slowed(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets how many seconds a training step takes by the clock; the second call is of another day, or machine."""

    def set_clock(seconds: float) -> None:
        monkeypatch.setattr(deciding, "seconds_of_step", lambda *_: seconds)

    return set_clock


def refuse(*_: object, **__: object) -> Any:
    raise AssertionError("decided or trained again")


SECONDS = {"budget": {"seconds": 12.5}}  # six steps per epoch: two epochs at 1 s a step


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    """A study of a seconds budget that is over; two epochs each, of steps that took a second."""
    folder = StudyFolder(tmp_path_factory.mktemp("resolution") / "study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deciding, "seconds_of_step", lambda *_: 1.0)
        done = resolve(study(**SECONDS), folder, REGISTRY).of(study(**SECONDS))
    assert epochs(done) == [2, 2]
    fabricate(folder.folder, done, by_chance({"none": 0.7, "eca": 0.7}))
    for trial in trials_of(done):
        config = done.at(trial.arm, trial.seed).model_dump(mode="json")
        device = run_record()["device"] | {"compiled": False, "threads": done.arms[0].train.threads}
        data = run_record()["data"] | {"classes": ["class 0", "class 1", "class 2"]}
        folder.run(trial).write(run_record(status="finished", config=config, device=device, data=data))
    return folder


def copied(ended: StudyFolder, tmp_path: Path) -> StudyFolder:
    shutil.copytree(ended.folder, tmp_path / "copy")
    return StudyFolder(tmp_path / "copy")


@pytest.mark.parametrize("is_of_earlier_version", [False, True])
def test_a_slowed_machine_keeps_the_trials_of_a_budget(
    ended: StudyFolder,
    tmp_path: Path,
    slowed: Callable[[float], None],
    monkeypatch: pytest.MonkeyPatch,
    is_of_earlier_version: bool,
) -> None:
    """Also where the folder is of an earlier version, which left no `resolved.json`; and no trial becomes another's."""
    folder = copied(ended, tmp_path)
    if is_of_earlier_version:
        folder.resolution.unlink()
    names = sorted(path.name for path in folder.trials.iterdir())
    slowed(2.0)
    monkeypatch.setattr(trials, "train", refuse)
    monkeypatch.setattr(trials, "resume", refuse)
    chosen = folder.study()
    again = run_study(chosen, folder, REGISTRY, Listening())
    assert [arm.train.epochs for arm in again.arms] == [2, 2]
    assert sorted(path.name for path in folder.trials.iterdir()) == names
    assert orphaned(again, folder) == []
    judged = findings(as_run(chosen, folder), folder, REGISTRY)
    assert [row.n for row in judged.arms] == [2, 2]
    assert not any("than this design" in remark for remark in judged.remarks)
    assert read_resolution(folder) == read_resolution(ended)


def test_a_report_of_an_earlier_version_s_folder_writes_nothing(ended: StudyFolder, tmp_path: Path) -> None:
    folder = copied(ended, tmp_path)
    folder.resolution.unlink()
    shutil.rmtree(folder.run(trials_of(as_run(folder.study(), ended))[0]).folder)  # its outcome is left, and says it
    assert [row.n for row in findings(as_run(folder.study(), folder), folder, REGISTRY).arms] == [2, 2]
    assert not folder.resolution.exists()


@pytest.mark.long
def test_processes_read_what_is_resolved(tmp_path: Path, slowed: Callable[[float], None]) -> None:
    """Their own clocks, which are not slowed, would make hundreds of epochs of the budget."""
    folder, chosen = StudyFolder(tmp_path), study(**SECONDS)
    folder.note(chosen)
    slowed(1.0)
    done = run_study(chosen, folder, REGISTRY, Listening(), execute=in_processes(2))
    assert {len(folder.run(trial).seconds()) for trial in trials_of(done)} == {2}
    trial = trials_of(done)[3]
    before = folder.outcome(trial)
    (folder.trials / f"{trial.name}.json").unlink()  # as where it was killed before its last word
    folder.resolution.unlink()  # as an earlier version leaves it
    slowed(0.001)
    assert run_study(chosen, folder, REGISTRY, Listening(), execute=in_processes(2)) == done
    assert folder.outcome(trial) == before
    assert orphaned(as_run(chosen, folder), folder) == []


def test_what_is_decided_is_kept_by_what_was_asked(tmp_path: Path, slowed: Callable[[float], None]) -> None:
    """An arm that is added is decided alone; another budget asks anew, and the first has its answer when it is back."""
    folder, three = StudyFolder(tmp_path), {"factors": {"attn": ["none", "eca", "se"]}}
    slowed(1.0)
    assert epochs(resolve(study(**SECONDS), folder, REGISTRY).of(study(**SECONDS))) == [2, 2]
    slowed(0.5)
    more = study(**SECONDS, **three, seeds=9)
    assert epochs(resolve(more, folder, REGISTRY).of(more)) == [2, 2, 4]
    other = study(budget={"seconds": 25.0})
    assert epochs(resolve(other, folder, REGISTRY).of(other)) == [8, 8]
    assert epochs(resolve(study(**SECONDS), folder, REGISTRY, decide=refuse).of(study(**SECONDS))) == [2, 2]


def epochs(chosen: Study) -> list[int]:
    return [arm.train.epochs for arm in chosen.arms]


def test_what_the_device_decides_is_no_other_experiment(tmp_path: Path) -> None:
    """Names of trials are those of the design that leaves it open; what is trained is what was decided."""
    chosen, folder = study(train={"batch_size": "auto", "compile": "auto"}), StudyFolder(tmp_path)

    def decide(asked: Study, *_: object) -> list[ResolvedArm]:
        return [ResolvedArm(name=arm.name, epochs=1, lr=3e-3, batch_size=64, compile="on") for arm in asked.arms]

    done = resolve(chosen, folder, REGISTRY, decide=decide).of(chosen)
    assert [trial.name for trial in trials_of(done)] == [trial.name for trial in trials_of(chosen)]
    config = done.at(done.arms[0], 5)
    assert (config.batch_size, config.compile, config.seed_of("init")) == (64, "on", 5)
    timed = done.arms[0].for_bench(10)
    assert (timed.batch, timed.compile, timed.precision, timed.channels_last) == (64, "on", "fp32", None)
    assert timed.spec.head.num_classes == 10
    left_open = chosen.arms[0].for_bench()
    assert (left_open.batch, left_open.compile) == (32, "off")
    explicit = study(train={"batch_size": 64, "compile": "on"})
    assert explicit.arms[0].hash != done.arms[0].hash


def keep_tuning(chosen: Study, folder: StudyFolder, best: float) -> None:
    """Outcomes of the trials that try learning rates."""
    for trial in tuning_trials(chosen):
        merit = (0.9 if trial.lr == best else 0.5, 1.0)
        values = (trial.name, trial.arm.name, 0, None, {}, merit, 1, 1, 1.0, trial.lr or 0.0, {})
        folder.keep(trial, Outcome(*values))


def test_a_rate_is_tuned_once_and_its_trials_are_no_orphans(tmp_path: Path) -> None:
    chosen, folder = study(tune_lr=[0.01, 0.1]), StudyFolder(tmp_path)
    folder.note(chosen)
    keep_tuning(chosen, folder, 0.1)
    executed: list[str] = []

    def execute(_: Study, todo: Any, *__: object) -> None:
        executed.extend(trial.name for trial in todo)

    done = run_study(chosen, folder, REGISTRY, Listening(), execute=execute)
    assert [arm.train.lr for arm in done.arms] == [0.1, 0.1]
    assert orphaned(done, folder) == []
    assert executed == [trial.name for trial in (*tuning_trials(chosen), *trials_of(done))]
    keep_tuning(chosen, folder, 0.01)  # another day, another winner
    executed.clear()
    assert run_study(chosen, folder, REGISTRY, Listening(), execute=execute) == done == as_run(chosen, folder)
    assert executed == [trial.name for trial in trials_of(done)]


def test_of_two_timings_the_one_with_the_most_trials_is_taken_up(ended: StudyFolder, tmp_path: Path) -> None:
    """Earlier versions, which timed the budget at each resume, left them so."""
    folder = copied(ended, tmp_path)
    folder.resolution.unlink()
    chosen = folder.study()
    arms = tuple(replace(arm, train=arm.train.model_copy(update={"epochs": 5})) for arm in chosen.arms)
    (stray,) = [trial for trial in trials_of(replace(chosen, arms=arms)) if (trial.arm.name, trial.seed) == ("eca", 0)]
    folder.keep(stray, Outcome(stray.name, "eca", 0, None, {}, (0.5, 1.0), 1, 5, 1.0, 0.1, {}))
    assert epochs(recovered(chosen, folder).of(chosen)) == [2, 2]
    assert orphaned(as_run(chosen, folder), folder) == [stray.name]


@pytest.mark.parametrize(("compiled", "expected"), [((True, True, False), "on"), ((True, False, False), "off")])
def test_batch_and_compilation_are_taken_up_from_records(
    tmp_path: Path, compiled: tuple[bool, ...], expected: str
) -> None:
    """The configuration of most trials of an arm is taken."""
    base = design(seeds=3, arms={"plain": {}, "new": {"act": "gelu"}})
    chosen = study_from({**base.tables, "train": {"epochs": 3, "batch_size": "auto"}}, "made up")
    folder = fabricate(tmp_path, chosen, by_chance({"plain": 0.7, "new": 0.7}))
    assert known(chosen, folder).arms == {}  # no record has the batch size
    for trial in trials_of(chosen):
        record = {"config": {"epochs": 3, "batch_size": 64}, "device": {"compiled": compiled[trial.seed]}}
        folder.run(trial).record.write_text(json.dumps(record))
    done = known(chosen, folder).of(chosen)
    assert [(arm.train.batch_size, arm.train.compile) for arm in done.arms] == [(64, expected)] * 2
    assert [trial.name for trial in trials_of(done)] == [trial.name for trial in trials_of(chosen)]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", r"damaged: not JSON: .*"),
        ("[]", r"damaged: input should be a .*"),
        ('{"format": 2, "epochs": 1}', r"format 2 is newer than this resnet-lab reads \(1\); upgrade"),
        ('{"format": 1, "arms": {"a": {"epochs": 0}}}', r"damaged: arms\.a\.name: field required"),
        ('{"format": 1, "arms": {"a": ARM, "b": 1}}', r"damaged: arms\.b: input should be .*"),
        (
            '{"format": 1, "arms": {"a": ARM}, "run": "rm"}',
            r"damaged: run: extra inputs are not permitted, got .rm. \(unknown key; .*\)",
        ),
    ],
)
def test_a_damaged_resolution(tmp_path: Path, content: str, problem: str) -> None:
    folder = StudyFolder(tmp_path)
    arm = {"name": "a", "epochs": 1, "lr": None, "batch_size": 1, "compile": "off"}
    folder.resolution.write_text(content.replace("ARM", json.dumps(arm)))
    with pytest.raises(RunError) as failure:
        as_run(study(), folder)
    remedy = "; remove it, and what the finished trials were trained with is taken up again"
    assert re.fullmatch(f"{re.escape(str(folder.resolution))}: {problem}({remedy})?", str(failure.value))
    assert ("; upgrade" in str(failure.value)) != (remedy in str(failure.value))


@pytest.mark.parametrize("change", [{"epochs": 0}, {"epochs": 2 * 10**6}, {"lr": -1.0}, {"compile": "auto"}])
def test_values_out_of_bounds_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    folder = StudyFolder(tmp_path)
    arm = {"name": "a", "epochs": 1, "lr": None, "batch_size": 1, "compile": "off", **change}
    folder.resolution.write_text(json.dumps({"format": 1, "arms": {"a": arm}}))
    with pytest.raises(RunError, match=rf"damaged: arms\.a\.{next(iter(change))}: input should be "):
        read_resolution(folder)


def test_a_resolution_round_trips(tmp_path: Path) -> None:
    folder, chosen = StudyFolder(tmp_path), study(train={"lr": 0.1 + 0.2})
    resolved = resolve(chosen, folder, REGISTRY)
    assert read_resolution(folder) == resolved
    assert resolved.of(chosen).arms[0].train.lr == 0.1 + 0.2
    content = json.loads(folder.resolution.read_text())
    assert [each["name"] for each in content["arms"].values()] == ["none", "eca"]
