"""What a pilot shows of each endpoint."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, brier_score_loss
from statsmodels.stats.power import TTestPower

from resnet_lab.cli.study_screen import print_endpoints
from resnet_lab.evaluation.predictions import Predictions
from resnet_lab.study.endpoint_comparison import compare_endpoints
from resnet_lab.study.trials import trials_of
from tests.study.fabricated import by_chance, design, found

ARMS = {"plain": {}, "gated": {"attn": "eca"}}
BETTER = by_chance({"plain": 0.6, "gated": 0.75})


def test_every_metric_at_the_best_epoch(tmp_path: Path) -> None:
    pilot, folder = found(tmp_path / "study", design(arms=ARMS, seeds=4), BETTER)
    told = compare_endpoints(pilot, folder, design(arms=ARMS, metric="accuracy", population="pool").plan)
    assert [each.metric for each in told] == ["macro_accuracy", "log_loss", "brier", "mean_p_true", "accuracy"]
    assert {(each.contrast, each.epochs_scored, each.n) for each in told} == {("gated", "best", 4)}
    scores = np.array([
        [brier_score_loss(each.labels, each.probabilities, scale_by_half=False) for each in row if each is not None]
        for row in pilot.predicted.cells
    ])  # fmt: skip
    differences = scores[:, 1] - scores[:, 0]
    brier = told[2]
    assert (brier.mean, brier.deviation) == pytest.approx((differences.mean(), differences.std(ddof=1)))
    assert brier.mean < 0
    assert brier.ratio == pytest.approx(-differences.mean() / differences.std(ddof=1)), "lower is better"
    assert brier.seeds is not None
    power = [TTestPower().power(brier.ratio, brier.seeds - fewer, 0.05) for fewer in (0, 1)]
    assert power[0] >= 0.8
    assert brier.seeds == 3 or power[1] < 0.8


def test_the_last_epochs_as_far_as_they_were_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = design(seeds=3, epochs_scored=2)
    rights = by_chance({arm.name: 0.6 + 0.03 * number for number, arm in enumerate(chosen.arms)})
    pilot, folder = found(tmp_path / "study", chosen, rights, last=2)
    told = compare_endpoints(pilot, folder, chosen.plan)
    assert list(dict.fromkeys(each.contrast for each in told)) == ["act gelu", "attn eca", "act gelu x attn eca"]
    assert [each.epochs_scored for each in told[:6]] == ["best", "last", 2] * 2
    assert len(told) == 3 * 4 * 3
    means = {arm.name: [] for arm in chosen.arms}  # type: ignore[var-annotated]
    for trial in trials_of(chosen):
        every = [Predictions.read(folder.run(trial).predictions_of_epoch(epoch)) for epoch in (2, 3)]
        means[trial.arm.name].append(np.mean([balanced_accuracy_score(each.labels, each.predicted) for each in every]))
    relu, relu_eca, gelu, gelu_eca = (np.array(each) for each in means.values())
    differences = (gelu + gelu_eca - relu - relu_eca) / 2
    assert (told[2].mean, told[2].deviation) == pytest.approx((differences.mean(), differences.std(ddof=1)))
    assert told[2].words == "macro accuracy, mean of the last 2 epochs"
    print_endpoints(told)
    out = capsys.readouterr().out
    assert "Brier score, mean of the last 2 epochs" in out
    assert "these endpoints ask different questions: a study declares one before its first trial" in out
    print_endpoints(())
    assert capsys.readouterr().out == ""
