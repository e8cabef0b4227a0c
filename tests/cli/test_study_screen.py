import io
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from resnet_lab.cli.study_screen import StudyScreen
from resnet_lab.study.design import Study
from resnet_lab.study.outcome import Outcome
from resnet_lab.study.trials import Trial, trials_of
from tests.study.fabricated import by_chance, design, fabricate

FACTORS = {"act": ["relu", "gelu"], "attn": ["none", "eca"]}
MANY = {**FACTORS, "conv": ["dense", "depthwise"], "train.ema": [0.0, 0.9], "train.lr": [0.001, 0.002]}


def outcome(trial: Trial, problem: str | None = None) -> Outcome:
    scores = {} if problem else {"macro_accuracy": 0.5 + 0.1 * trial.seed}
    return Outcome(trial.name, trial.arm.name, trial.seed, problem, scores, None, 1, 1, 1.0, 0.1, {})


def screen(study: Study, over: Iterable[Outcome], width: int = 100, height: int = 30) -> StudyScreen:
    """While those trials are over."""
    made = StudyScreen(study)
    made.console = Console(file=io.StringIO(), width=width, height=height)
    made.is_live = False
    made.show({trial.name: "waiting" for trial in trials_of(study)}, [])
    made.show({trial.name: "waiting" for trial in trials_of(study)}, list(over))
    return made


def lines(made: StudyScreen) -> list[str]:
    with made.console.capture() as captured:
        made.console.print(made.shown())
    return [line.rstrip() for line in captured.get().splitlines()]


def test_scores_are_in_the_columns_of_their_seeds() -> None:
    study = design(factors=FACTORS, seeds=3)
    trials = trials_of(study)
    made = screen(study, [outcome(trials[0]), outcome(trials[1], "it diverged"), outcome(trials[4])])
    made.training(trials[2])
    printed = lines(made)
    cells = {line[2:11].strip(): line[11:].split() for line in printed[4:8]}
    assert printed[0].startswith("gelu none, seed 0 · ")
    assert printed[0].endswith(" left")
    assert printed[2].split() == ["arm", "0", "1", "2"]
    assert cells == {
        "relu none": ["0.500", "0.600", "."],
        "relu eca": ["failed", ".", "."],
        "gelu none": ["...", ".", "."],
        "gelu eca": [".", ".", "."],
    }


@pytest.mark.parametrize("width", [60, 120])
def test_many_trials_are_marks_and_finished_arms_make_room(width: int) -> None:
    study = design(factors=MANY, seeds=30)
    rows = {arm.name: [trial for trial in trials_of(study) if trial.arm == arm] for arm in study.arms}
    first, second, *_ = rows
    over = [outcome(trial) for trial in rows[first]] + [outcome(rows[second][0]), outcome(rows[second][1], "failed")]
    made = screen(study, over, width, height=24)
    made.training(rows[second][2])
    printed = lines(made)
    assert len(printed) <= 24
    assert max(map(len, printed)) <= width
    assert printed[-1] == "arms not shown: 1 over, 14 not"
    seen = " ".join(printed)
    assert f"{second} " in seen
    assert f"{first} " not in seen
    if width == 120:
        (line,) = (line for line in printed if "#" in line and second in line)
        assert line.split()[-2:] == ["0.500", "#x>" + 27 * "."]


def test_a_line_for_each_trial_where_there_is_no_terminal() -> None:
    study = design(factors=FACTORS, seeds=1)
    trials = trials_of(study)
    made = screen(study, [outcome(trials[0])])
    made.show({trial.name: "waiting" for trial in trials}, [outcome(trials[0]), outcome(trials[1], "it diverged")])
    assert made.console.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "1 of 4: relu none, seed 0: macro accuracy 0.5000 in 1 s",
        "2 of 4: relu eca, seed 0 failed: it diverged",
    ]


@pytest.mark.parametrize(("seeds", "mark"), [(3, "?"), (30, "#")])
def test_a_trial_without_the_study_s_metric(seeds: int, mark: str) -> None:
    study = design(factors=FACTORS, seeds=seeds, metric="top5_accuracy")
    trials = trials_of(study)
    made = screen(study, [outcome(trials[0])])
    (row,) = (line for line in lines(made) if line.startswith("  relu none"))
    assert row.split() == ["relu", "none", *([mark, ".", "."] if seeds == 3 else [mark + 29 * "."])]
    made.show({trial.name: "waiting" for trial in trials}, [outcome(trials[0]), outcome(trials[1])])
    assert (
        made.console.file.getvalue()
        .splitlines()[-1]
        .endswith(  # type: ignore[attr-defined]
            "seed 0: top-5 accuracy is not known in 1 s"
        )
    )


def test_a_trial_of_tuning_keeps_no_predictions_and_has_its_validation_score() -> None:
    study = design(factors=FACTORS, seeds=3, epochs_scored=2)
    trials = trials_of(study)
    made = screen(study, [outcome(trials[0])])
    tried = replace(outcome(trials[1]), validation=(0.75, 0.5))
    made.show({trial.name: "waiting" for trial in trials}, [outcome(trials[0]), tried])
    text = made.console.file.getvalue()  # type: ignore[attr-defined]
    assert text.splitlines()[-1].endswith("seed 0: validation macro accuracy 0.7500 in 1 s")


@pytest.mark.slow
def test_tables_are_printed_with_all_their_columns(cli: Callable, tmp_path: Path) -> None:
    """On a screen of 80 characters, to which long names and reasons do not fit."""
    chosen = design(factors=FACTORS, seeds=4, looks=(3, 4), margin=0.2)
    folder = fabricate(tmp_path / "study", chosen, by_chance({arm.name: 0.7 for arm in chosen.arms}))
    code, out, err = cli("study", "report", folder.folder)
    assert code == 0, err
    headings = [line.split()[-1] for line in out.splitlines() if line.split()[-2:-1] == ["n"]]
    assert headings == ["verdict"] * 2
    assert "…" not in out
