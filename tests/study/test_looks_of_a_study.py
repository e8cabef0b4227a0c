"""Looks of a whole study: its design, its trials, its report."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from resnet_lab.cli.study_screen import print_findings
from resnet_lab.core.errors import ConfigError
from resnet_lab.network.plugins import Registry, load
from resnet_lab.report.study_building import make_study_report
from resnet_lab.study import executing
from resnet_lab.study.design import Study, study_from
from resnet_lab.study.executing import StudyWatcher, in_processes
from resnet_lab.study.report_contents import gather_study
from resnet_lab.study.resolution import ResolvedArm
from resnet_lab.study.results import findings
from resnet_lab.study.running import run_study
from resnet_lab.study.tables import as_csv, make_tables
from resnet_lab.study.trial_results import progress_of
from resnet_lab.study.trials import StudyFolder, Trial, trials_of
from resnet_lab.study.writing import as_json, as_markdown, in_words, method
from tests.study.fabricated import REGISTRY, design, fabricate_trial
from tests.study.recorded_children import recorded
from tests.study.small import Listening, study, table

ARMS = {"plain": {}, "gated": {"attn": "eca"}, "smooth": {"act": "gelu"}}
LOOKS = [3, 4, 6]


def rights(arm: str, seed: int, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The gated arm is far better at every seed; the smooth one is better and worse by turns."""
    right = {"plain": 180 + seed % 3, "gated": 270 + 2 * seed % 5, "smooth": 180 + (9 if seed % 2 else -9)}[arm]
    return np.arange(len(labels)) < right


class Fabricating:
    """Executor that leaves the files of trials which nobody trained."""

    def __init__(self, most: int = 1000) -> None:
        self.stages: list[list[str]] = []
        self.left = most

    def __call__(
        self, study: Study, trials: Sequence[Trial], folder: StudyFolder, registry: Registry, watcher: StudyWatcher
    ) -> None:
        self.stages.append([f"{trial.arm.name} {trial.seed}" for trial in trials if folder.outcome(trial) is None])
        for trial in trials:
            if folder.outcome(trial) is None:
                if not self.left:
                    raise KeyboardInterrupt
                self.left -= 1
                fabricate_trial(folder, trial, rights, n=300)


def run(folder: StudyFolder, chosen: Study, most: int = 1000) -> tuple[Fabricating, Listening]:
    execute, watcher = Fabricating(most), Listening()
    folder.note(chosen)
    run_study(chosen, folder, REGISTRY, watcher, execute=execute, decide=decide)
    return execute, watcher


def decide(chosen: Study, registry: Registry, say: object) -> list[ResolvedArm]:
    """As the design says, without timing anything."""
    return [
        ResolvedArm(name=arm.name, epochs=arm.train.epochs, lr=arm.train.lr, batch_size=32, compile="off")
        for arm in chosen.arms
    ]


def test_trials_run_from_look_to_look_and_arms_stop(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    execute, watcher = run(folder, design(arms=ARMS, looks=LOOKS, seeds=6))
    first = [f"{arm} {seed}" for seed in range(3) for arm in ARMS]
    assert execute.stages[0] == first
    assert [stage for stage in execute.stages[1:] if any("gated" in trial for trial in stage)] == []
    assert watcher.notes[:2] == [
        "looks at 3, 4, 6 seeds, at each of which the study may end",
        "look 1 of 3 (3 seeds): gated better; smooth open: 2 arms run on to 4 seeds",
    ]
    assert watcher.notes[-1].endswith(": the study is over")
    again, heard = run(folder, design(arms=ARMS, looks=LOOKS, seeds=6))
    assert again.stages == []
    assert heard.notes == watcher.notes[-1:]


def test_an_interrupted_study_decides_as_an_undisturbed_one(tmp_path: Path) -> None:
    """Stopped between looks and in the midst of them."""
    chosen, quiet = design(arms=ARMS, looks=LOOKS, seeds=6), StudyFolder(tmp_path / "quiet")
    run(quiet, chosen)
    expected = findings(chosen, quiet, REGISTRY)
    for most in range(2, len(table(quiet.folder)), 3):
        folder = StudyFolder(tmp_path / str(most))
        with pytest.raises(KeyboardInterrupt):
            run(folder, chosen, most)
        run(folder, folder.study())
        assert sorted(table(folder.folder)) == sorted(table(quiet.folder))
        assert findings(folder.study(), folder, REGISTRY).families == expected.families


def test_trials_beyond_a_look_do_not_change_it(tmp_path: Path) -> None:
    chosen, folder = design(arms=ARMS, looks=LOOKS, seeds=6), StudyFolder(tmp_path)
    run(folder, chosen)
    before = progress_of(chosen, folder).families
    for trial in trials_of(chosen):
        if folder.outcome(trial) is None:
            fabricate_trial(folder, trial, rights, n=300)
    assert progress_of(chosen, folder).families == before


def test_reports_say_why_it_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen, folder = design(arms=ARMS, looks=LOOKS, seeds=6), StudyFolder(tmp_path)
    run(folder, chosen)
    found = findings(chosen, folder, REGISTRY)
    gated, smooth = found.families[-1]
    assert (gated.n, gated.verdict, str(gated.standing)) == (3, "better", "at look 1 of 3 (3 seeds)")
    assert smooth.standing is not None
    assert smooth.standing.state in ("futile", "ended")
    assert found.missing == []
    assert [row.stopped for row in found.arms] == [smooth.standing.look, 1, smooth.standing.look]
    assert in_words(gated, "accuracy", None).endswith(", 3 seeds; at look 1 of 3 (3 seeds): better")
    print_findings(found)
    page = make_study_report(gather_study(found, folder, REGISTRY)).html
    screen, written = capsys.readouterr().out, as_markdown(found)
    assert f"; {smooth.standing}: undecided" in screen
    assert "| better at look 1 of 3 (3 seeds) |" in written
    assert f"| undecided, {smooth.standing} |" in written
    for text in (screen, written):
        assert "3, stopped after look 1" in text
        assert "looks after 3, 4, 6 seeds: adjusted p-values and intervals allow for all of them" in text
    for text in (
        "at look 1 of 3 (3 seeds)",
        str(smooth.standing),
        "stopped after look 1",
        "looks after 3, 4, 6 blocks",
    ):
        assert text in page
    assert "The study is not finished" not in page
    assert "in up to" in method(found)
    rows = list(csv.DictReader(io.StringIO(as_csv(make_tables(found, folder)["effects"]).decode())))
    assert (rows[0]["look"], rows[0]["looks"], rows[0]["state"]) == ("1", "3", "decided")
    content = json.loads(json.dumps(as_json(found)))
    assert content["arms"][1]["standing"] == {"look": 1, "looks": 3, "seeds": 3, "state": "decided"}
    assert content["arms"][1]["stopped"] == 1


def test_an_unfinished_study_counts_what_its_look_asks_for(tmp_path: Path) -> None:
    chosen, folder = design(arms=ARMS, looks=LOOKS, seeds=6), StudyFolder(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run(folder, chosen, most=10)
    found = findings(chosen, folder, REGISTRY)
    assert [name.split("-")[0] for name in found.missing] == ["smooth"]
    page = make_study_report(gather_study(found, folder, REGISTRY)).html
    assert "The study is not finished: 1 of 11 trials is missing" in page
    other = StudyFolder(tmp_path / "other")
    with pytest.raises(KeyboardInterrupt):
        run(other, chosen, most=7)
    early = findings(chosen, other, REGISTRY)
    assert {effect.verdict for effect in early.families[-1]} == {"exploratory"}


def of(**plan: Any) -> Study:
    return study_from({"study": {"arms": ARMS, **plan}, "model": {"model": "resnet20"}}, "a")


def test_looks_of_a_design() -> None:
    assert (of(looks=LOOKS).plan.looks, of(looks=LOOKS).plan.seeds) == ((3, 4, 6), 6)
    assert of(looks=LOOKS, seeds=6).plan.looks == (3, 4, 6)
    assert of(adaptive=True).plan.looks == (4, 6, 8, 10, 14, 20)
    assert of(adaptive=True, seeds=12).plan.looks == (4, 6, 8, 10, 12)
    assert of(adaptive=True, seeds=4).plan.looks == (4,)
    assert not of(adaptive=True).plan.adaptive
    assert of().plan.looks == ()


def test_looks_are_kept_with_the_study(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    folder.note(of(adaptive=True, seeds=8))
    kept = json.loads(folder.design.read_text())["tables"]["study"]
    assert (kept["looks"], kept["seeds"], "adaptive" in kept) == ([4, 6, 8], 8, False)
    assert folder.study().plan.looks == (4, 6, 8)


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        ({"looks": [2, 6]}, "the first look is at 2 seeds, and a verdict needs 3 at least; give looks of 3 or more"),
        (
            {"adaptive": True, "seeds": 2},
            "the first look is at 2 seeds, and a verdict needs 3 at least; give looks of 3 or more",
        ),
        ({"looks": [4, 6, 6]}, "looks must increase, got 4, 6, 6; give each number of seeds once, in order"),
        (
            {"looks": [4, 6], "seeds": 8},
            "the last look is at 6 seeds, and seeds is 8; give looks that end there, or leave seeds out",
        ),
        (
            {"looks": [4, 6], "more_seeds": True},
            "more_seeds is for seeds that are not planned, and looks are; give one of them",
        ),
        ({"looks": [4, 6], "adaptive": True}, "adaptive chooses the looks; give looks or adaptive"),
        (
            {"adaptive": True, "search": {"train.lr": {"low": 1e-3, "high": 1e-1}}},
            "a search gives no verdict, so it has no looks; leave looks and adaptive out",
        ),
    ],
)  # fmt: skip
def test_looks_that_cannot_be(plan: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as failure:
        of(**plan)
    assert str(failure.value) == f"a: {told}"


def test_a_continued_study_is_exploratory(tmp_path: Path) -> None:
    """Seeds or looks that were changed after the first trial; not before it, and not back to what was declared."""
    few, more = design(arms=ARMS, seeds=3), design(arms=ARMS, seeds=4)
    folder = StudyFolder(tmp_path)
    folder.note(more)
    run(folder, few)
    assert findings(few, folder, REGISTRY).families[-1][0].verdict == "better"
    run(folder, more)
    found = findings(more, folder, REGISTRY)
    assert {effect.verdict for effect in found.families[-1]} == {"exploratory"}
    assert found.remarks[0] == (
        "a continued study: 3 seeds were planned before the first trial, and it has 4 seeds; seeds that are added or "
        "left out once results are known make false verdicts likelier, so this is exploratory"
    )
    folder.note(few)
    assert findings(few, folder, REGISTRY).families[-1][0].verdict == "better"
    looks = design(arms=ARMS, seeds=4, looks=[3, 4])
    run(folder, looks)
    assert "and it has looks at 3, 4 seeds;" in findings(looks, folder, REGISTRY).remarks[0]
    noted = json.loads(folder.design.read_text())
    del noted["declared"]
    folder.design.write_text(json.dumps(noted))
    declared = {"seeds": 4, "looks": [3, 4], "more_seeds": False}
    assert folder.declared() | declared == folder.declared()
    assert StudyFolder(tmp_path / "none").declared() == {}


def test_processes_are_told_how_far_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Sequence[str], Mapping[str, str]]] = []
    monkeypatch.setattr(executing, "Child", recorded(calls))
    monkeypatch.setattr(executing, "allowed_cores", lambda: 2)
    chosen, folder = design(arms=ARMS, looks=LOOKS, seeds=6, first_seed=10), StudyFolder(tmp_path)
    folder.note(chosen)
    in_processes(2)(chosen, trials_of(chosen.first(4)), folder, REGISTRY, Listening())
    assert [command[-2:] for command, _ in calls] == [["--until", "4"]] * 2


def test_a_process_does_not_run_beyond_what_it_is_told(tmp_path: Path) -> None:
    chosen, folder, execute = design(arms=ARMS, looks=LOOKS, seeds=6), StudyFolder(tmp_path), Fabricating()
    folder.note(chosen)
    run_study(chosen, folder, REGISTRY, Listening(), execute=execute, decide=decide, until=3)
    assert len(table(tmp_path)) == 9
    run_study(chosen, folder, REGISTRY, Listening(), execute=execute, decide=decide, until=3)
    assert len(table(tmp_path)) == 9
    fixed, other = design(arms=ARMS, seeds=4), StudyFolder(tmp_path / "fixed")
    other.note(fixed)
    run_study(fixed, other, REGISTRY, Listening(), execute=execute, decide=decide, until=1)
    assert table(other.folder) == {}


@pytest.mark.long
def test_several_processes_take_the_same_looks(tmp_path: Path) -> None:
    """Real trainings: the same trials, and each decision as when the trials run one by one."""
    arms = {"plain": {}, "slow": {"train.lr": 1e-6}, "same": {"train.save_minutes": 20.0}}
    chosen = study(train={"lr": 1e-2, "batch_size": 64}, factors={}, arms=arms, looks=[3, 4, 5], seeds=5)
    shared, alone = StudyFolder(tmp_path / "shared"), StudyFolder(tmp_path / "alone")
    shared.note(chosen)
    run_study(chosen, shared, load(only=[]), Listening(), execute=in_processes(2))
    run_study(chosen, alone, load(only=[]), Listening())
    assert sorted(table(shared.folder)) == sorted(table(alone.folder))
    assert len(table(alone.folder)) < 15
    slow, same = progress_of(chosen, shared).families[0]
    assert (slow.verdict, slow.n) == ("worse", 3)
    assert same.standing is not None
    assert same.standing.state == "futile"
