"""Endpoints: metrics at the best epoch, at the last, or averaged over the last ones."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, brier_score_loss

from resnet_lab.core.errors import ConfigError, RunError
from resnet_lab.evaluation.predictions import Predictions
from resnet_lab.network.plugins import load
from resnet_lab.report.study_building import make_study_report
from resnet_lab.study.endpoint import endpoint
from resnet_lab.study.estimand import deviations, image_blocks
from resnet_lab.study.remarks import scored_at
from resnet_lab.study.report_contents import gather_study
from resnet_lab.study.results import findings
from resnet_lab.study.statistics import t_interval
from resnet_lab.study.tables import make_tables
from resnet_lab.study.trials import StudyFolder, carry_out, trials_of, tuning_trials
from resnet_lab.study.writing import as_json, as_markdown, method
from resnet_lab.train.progress import TrainingWatcher
from tests.study.fabricated import REGISTRY, by_chance, design, fabricate, found
from tests.study.small import study

ARMS = {"plain": {}, "gated": {"attn": "eca"}}
EVEN = by_chance({"plain": 0.7, "gated": 0.7})


def kept(folder: StudyFolder, name: str, epoch: int) -> Predictions:
    return Predictions.read(folder.trials / name / "predictions" / f"test-epoch{epoch}.safetensors")


@pytest.mark.parametrize(
    ("asked", "last", "words"),
    [
        ("best", 0, "log loss (nats) at the epoch that is best on the validation part"),
        ("last", 1, "log loss (nats) at the last epoch"),
        (1, 1, "log loss (nats) at the last epoch"),
        (3, 3, "log loss (nats), mean of the last 3 epochs"),
    ],
)
def test_epochs_that_count(asked: str | int, last: int, words: str) -> None:
    made = design(arms=ARMS, metric="log_loss", epochs_scored=asked)
    assert (made.plan.last_epochs, endpoint(made.plan)) == (last, words)
    assert [arm.train.keep_predictions for arm in made.arms] == [last, last]


@pytest.mark.parametrize(("plan", "kept_epochs"), [({}, 2), ({"epochs_scored": "last"}, 2), ({"epochs_scored": 3}, 3)])
def test_a_training_may_keep_more_than_is_scored(plan: dict[str, object], kept_epochs: int) -> None:
    made = study(train={"epochs": 4, "keep_predictions": 2}, **plan)
    assert {arm.train.keep_predictions for arm in made.arms} == {kept_epochs}


def test_only_trials_that_keep_predictions_have_other_names() -> None:
    best, same, last = (design(arms=ARMS, epochs_scored=asked).arms[0].hash for asked in ("best", "best", "last"))
    assert best == same != last


def test_more_epochs_than_are_trained_are_refused() -> None:
    text = "small: epochs_scored is 3, and the arm 'none' is trained for 2 epochs; give at most as many"
    with pytest.raises(ConfigError, match=f"^{text}$"):
        study(train={"epochs": 2}, epochs_scored=3)
    with pytest.raises(ConfigError, match=f"^{text}$"):
        study(train={"epochs": 9}, epochs_scored=3, budget={"epochs": 2})
    assert study(train={"epochs": 2}, epochs_scored=3, budget={"epochs": 3}).plan.last_epochs == 3
    assert study(train={"epochs": 2}, epochs_scored=3, budget={"macs": 1.0}).plan.last_epochs == 3


def test_a_score_is_the_mean_of_the_last_epochs(tmp_path: Path) -> None:
    told, folder = found(tmp_path / "study", design(arms=ARMS, seeds=4, epochs_scored=2), EVEN, last=2)
    expected = np.zeros((4, 2))
    for place, trial in enumerate(trials_of(told.study)):
        epochs = [kept(folder, trial.name, epoch) for epoch in (2, 3)]
        expected[divmod(place, 2)] = np.mean([balanced_accuracy_score(each.labels, each.predicted) for each in epochs])
    assert told.scores == pytest.approx(expected)
    (effect,) = told.families[-1]
    assert effect.differences == pytest.approx(expected[:, 1] - expected[:, 0])
    assert effect.pool_interval == pytest.approx(t_interval((expected[:, 1] - expected[:, 0]).tolist()))
    rows = make_tables(told, folder)["trials"]
    assert [row["macro_accuracy"] for row in rows] == pytest.approx(expected.ravel())
    last = replace(told.study, plan=told.study.plan.model_copy(update={"epochs_scored": "last"}))
    only = [kept(folder, trial.name, 3) for trial in trials_of(last)]
    single = [balanced_accuracy_score(each.labels, each.predicted) for each in only]
    assert findings(last, folder, REGISTRY).scores.ravel() == pytest.approx(single)


def test_an_image_s_deviation_is_averaged_over_the_epochs(tmp_path: Path) -> None:
    """And the interval for new images is that of these deviations."""
    told, folder = found(tmp_path / "study", design(arms=ARMS, seeds=3, epochs_scored=2), EVEN, last=2)
    names = {(trial.arm.name, trial.seed): trial.name for trial in trials_of(told.study)}
    grid = told.predicted.map(lambda each: each)
    tuples = replace(grid, cells=tuple(
        tuple(tuple(kept(folder, names[arm, seed], epoch) for epoch in (2, 3)) for arm in grid.arms)
        for seed in grid.seeds
    ))  # fmt: skip
    blocks = image_blocks(tuples, "macro_accuracy")
    for block, row in zip(blocks, tuples.cells, strict=True):
        assert block is not None
        for deviation, epochs in zip(block.deviations, row, strict=True):
            one, two = (deviations(each.labels, each.probabilities, "macro_accuracy") for each in epochs)
            assert deviation == pytest.approx((one + two) / 2)
    (effect,) = told.families[-1]
    differences = np.stack([block.deviations[1] - block.deviations[0] for block in blocks if block is not None])
    n = differences.shape[1]
    products = [differences[s] @ differences[t] for s in range(3) for t in range(3) if s != t]
    tau_squared = max(0.0, sum(products) / (6 * n))
    assert effect.covariance == pytest.approx(tau_squared / n)


def test_without_kept_predictions_there_is_no_such_score(tmp_path: Path) -> None:
    chosen = design(arms=ARMS, seeds=3)
    folder = fabricate(tmp_path / "study", chosen, EVEN)
    other = replace(chosen, plan=chosen.plan.model_copy(update={"epochs_scored": 2}))
    with pytest.raises(ConfigError) as failure:
        findings(other, folder, REGISTRY)
    assert str(failure.value) == (
        f"the trial {trials_of(chosen)[0].name} kept predictions of 0 last epochs, and epochs_scored asks for 2; give "
        "--epochs-scored best, or run a study with it from its beginning"
    )


def test_kept_predictions_that_are_gone_leave_the_scores(tmp_path: Path) -> None:
    chosen = design(arms=ARMS, seeds=3, epochs_scored=2)
    folder = fabricate(tmp_path / "study", chosen, EVEN, last=2)
    whole = findings(chosen, folder, REGISTRY)
    folder.run(trials_of(chosen)[1]).predictions_of_epoch(3).unlink()
    told = findings(chosen, folder, REGISTRY)
    assert told.scores == pytest.approx(whole.scores)
    assert any(text.startswith("predictions of some seeds are gone") for text in told.remarks)


def test_kept_predictions_of_other_scores_are_refused(tmp_path: Path) -> None:
    chosen = design(arms=ARMS, seeds=2, epochs_scored=2)
    folder = fabricate(tmp_path / "study", chosen, EVEN, last=2)
    path = folder.trials / f"{trials_of(chosen)[0].name}.json"
    content = json.loads(path.read_text())
    content["last_scores"][0]["brier"] = 1.5
    path.write_text(json.dumps(content))
    with pytest.raises(RunError, match=r"damaged: brier is 1\.5, and 0.* by the trial's predictions; remove it"):
        findings(chosen, folder, REGISTRY)


@pytest.mark.parametrize("change", [lambda scores: scores * 2, lambda scores: [scores[0], {"brier": 1.0}]])
def test_last_scores_that_cannot_be_are_refused(tmp_path: Path, change: Callable[[list[dict]], list[dict]]) -> None:
    chosen = design(arms=ARMS, seeds=2, epochs_scored=2)
    folder = fabricate(tmp_path / "study", chosen, EVEN, last=2)
    trial = trials_of(chosen)[0]
    path = folder.trials / f"{trial.name}.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "last_scores": change(content["last_scores"])}))
    with pytest.raises(RunError, match="last_scores are of more epochs than were trained, or of different metrics"):
        folder.outcome(trial)


def without(folder: StudyFolder, metric: str) -> None:
    """The outcomes as an earlier version wrote them, which did not have the metric."""
    for path in folder.trials.glob("*.json"):
        content = json.loads(path.read_text())
        del content["scores"][metric], content["last_scores"]
        path.write_text(json.dumps(content))


def test_a_metric_that_was_not_recorded_is_computed_from_predictions(tmp_path: Path) -> None:
    chosen = design(arms=ARMS, seeds=3, metric="brier")
    folder = fabricate(tmp_path / "study", chosen, EVEN)
    without(folder, "brier")
    told = findings(chosen, folder, REGISTRY)
    for (arm, seed, each), value in zip(told.predicted.items(), told.scores.ravel(), strict=True):
        assert each is not None, (arm, seed)
        assert value == pytest.approx(brier_score_loss(each.labels, each.probabilities, scale_by_half=False))
    trial = trials_of(chosen)[0]
    folder.run(trial).predictions("test").unlink()
    with pytest.raises(ConfigError) as failure:
        findings(chosen, folder, REGISTRY)
    assert str(failure.value) == (
        f"the trial {trial.name} has no brier; remove it and its folder to have the trial run again"
    )


def test_the_endpoint_is_told(tmp_path: Path) -> None:
    chosen = design(arms=ARMS, seeds=3, epochs_scored=2, metric="brier")
    told, folder = found(tmp_path / "study", chosen, EVEN, last=2)
    sentence = (
        "trials are scored by Brier score, mean of the last 2 epochs: the test part is seen after each of these "
        "epochs, and chooses none; classes, fixed and broken works are those of the epoch that is best on the "
        "validation part"
    )
    assert scored_at(chosen.plan) == sentence
    assert sentence in told.remarks
    assert "Of each run the last 2 epochs were tested, and their scores averaged. Scores (brier)" in method(told)
    assert f"- {sentence}" in as_markdown(told)
    content = as_json(told)
    assert (content["epochs_scored"], content["endpoint"]) == (2, "Brier score, mean of the last 2 epochs")
    html = make_study_report(gather_study(told, folder, REGISTRY)).html
    assert f"T{sentence[1:]}." in html
    assert "Scores on the test part, means of the last 2 epochs." in html


@pytest.mark.slow
def test_a_trial_keeps_its_last_epochs(tmp_path: Path) -> None:
    small, folder = study(train={"epochs": 2}, epochs_scored=2, tune_lr=[0.01, 0.1]), StudyFolder(tmp_path)
    trial, registry = trials_of(small)[1], load(only=[])
    outcome = carry_out(small, trial, folder, registry, TrainingWatcher())
    assert outcome == folder.outcome(trial)
    assert outcome is not None
    scores = [
        balanced_accuracy_score(each.labels, each.predicted)
        for each in (kept(folder, trial.name, epoch) for epoch in (1, 2))
    ]
    assert [each["macro_accuracy"] for each in outcome.last_scores] == pytest.approx(scores)
    assert outcome.scored(2)["macro_accuracy"] == pytest.approx(sum(scores) / 2)
    assert outcome.scored(1)["macro_accuracy"] == pytest.approx(scores[1])
    tried = tuning_trials(small)[0]
    tuning = carry_out(small, tried, folder, registry, TrainingWatcher())
    assert tuning is not None
    assert tuning.last_scores == ()
    assert not list(folder.run(tried).folder.glob("predictions/test-epoch*"))
