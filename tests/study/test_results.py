import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from resnet_lab.cli.study_screen import print_findings
from resnet_lab.core.errors import ConfigError, DataError
from resnet_lab.network.cost import NetworkCost, measure
from resnet_lab.network.plugins import Registry, default_registry
from resnet_lab.network.spec import ModelSpec
from resnet_lab.report.study_building import make_study_report
from resnet_lab.report.study_page import answer
from resnet_lab.study.contrasts import arm_contrasts
from resnet_lab.study.grid import Grid
from resnet_lab.study.report_contents import gather_study
from resnet_lab.study.resampling import drawn_scores, image_interval
from resnet_lab.study.results import findings
from resnet_lab.study.running import run_study
from resnet_lab.study.tables import as_latex, make_tables
from resnet_lab.study.trials import StudyFolder, trials_of
from resnet_lab.study.writing import as_json, as_markdown, in_words
from tests.study.fabricated import REGISTRY, by_chance, design, fabricate, found
from tests.study.small import Listening, study

ARMS = {"plain": {}, "gated": {"attn": "eca"}}
EVEN = by_chance({"plain": 0.7, "gated": 0.7})


def test_images_and_seeds_are_both_resampled(tmp_path: Path) -> None:
    """The same interval as by drawing seeds, images within each, and scikit-learn's balanced accuracy."""
    told, _ = found(tmp_path / "study", design(arms=ARMS, seeds=4), EVEN, n=90)
    ours = told.families[-1][0].image_interval
    assert ours is not None
    draw = np.random.default_rng(1)
    drawn = []
    for _ in range(200):
        differences = []
        for seed in draw.integers(4, size=4):
            plain, gated = told.predicted.cells[seed]
            assert plain is not None
            assert gated is not None
            chosen = draw.integers(90, size=90)
            labels = plain.labels[chosen]
            scores = [balanced_accuracy_score(labels, each.predicted[chosen]) for each in (plain, gated)]
            differences.append(scores[1] - scores[0])
        drawn.append(np.mean(differences))
    assert ours == pytest.approx(np.quantile(drawn, (0.025, 0.975)), abs=0.025)


def test_image_interval_is_wider_than_none(tmp_path: Path) -> None:
    told, _ = found(tmp_path / "one", design(arms=ARMS, seeds=1), EVEN)
    assert told.families[-1][0].image_interval is None
    (contrast,) = arm_contrasts(["plain", "gated"])
    assert (
        image_interval(contrast, drawn_scores(Grid((0, 1), ("plain", "gated"), ((None,) * 2,) * 2), "macro_accuracy"))
        is None
    )


def test_arms_of_a_seed_have_the_same_images(tmp_path: Path) -> None:
    chosen = design(arms=ARMS, seeds=2)
    told, _ = found(tmp_path / "study", chosen, EVEN)
    (first, second), others = told.predicted.cells
    assert second is not None
    other = replace(second, digests=tuple(reversed(second.digests)))
    with pytest.raises(DataError, match="arms of one seed were tested on different images: the data changed while the"):
        drawn_scores(replace(told.predicted, cells=((first, other), others)), "macro_accuracy")


def test_what_a_reader_should_know(tmp_path: Path) -> None:
    chosen = design(arms=ARMS, seeds=2)
    folder = fabricate(tmp_path / "study", chosen, EVEN)
    told = findings(chosen, folder, REGISTRY)
    assert told.remarks == [
        "varied across seeds: initial weights, split, order",
        "2 seeds are too few for a verdict (3 at least): this is exploratory",
    ]
    path = folder.trials / f"{trials_of(chosen)[0].name}.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "versions": {"torch": "3.0", "resnet-lab": "1.0"}}))
    other = trials_of(design(arms={**ARMS, "more": {"act": "gelu"}}, seeds=2))[2]
    (folder.trials / f"{other.name}.json").write_text(path.read_text())
    remarks = findings(chosen, folder, REGISTRY).remarks
    assert "trials were run with different versions of torch: do not mix them in a verdict" in remarks
    assert f"1 trials in the folder are of another design and are ignored: {other.name}" in remarks


def test_costs_of_other_arms_are_said_to_count_for_nothing(tmp_path: Path) -> None:
    chosen = design(arms=ARMS, seeds=2)
    folder = fabricate(tmp_path / "study", chosen, EVEN)
    machine = {"type": "cpu", "name": "a processor", "threads": 2, "torch": "2.99"}
    folder.bench.write_text(json.dumps({"format": 1, "arms": [], "machine": machine, "remarks": []}))
    told = findings(chosen, folder, REGISTRY)
    assert told.costs is None
    assert told.remarks[-1] == (
        "the costs in bench.json are of other arms, or were timed otherwise than these are trained, and are "
        f"ignored; `resnet-lab study run --resume {folder.folder}` measures them again"
    )


def test_failed_trials_leave_their_seed_out(tmp_path: Path) -> None:
    failed = {("gated", 1): "it diverged"}
    told, _ = found(tmp_path / "study", design(arms=ARMS, seeds=4), EVEN, failed=failed, waiting=(("plain", 3),))
    (effect,) = told.families[-1]
    assert effect.n == 2
    assert effect.verdict == "exploratory"
    assert told.arms[1].problems == {1: "it diverged"}
    assert (told.arms[1].diverged, effect.diverged) == ((1,), {"gated": (1,)})
    assert "gated diverged at seed 1 of 4; it is compared at the other seeds alone" in told.remarks
    assert ", 2 seeds (gated diverged at seed 1), at 1.00x the training time: exploratory" in (
        in_words(effect, "macro_accuracy", 1.0)
    )
    assert len(told.missing) == 1
    nothing = fabricate(tmp_path / "nothing", design(arms=ARMS), EVEN, waiting=tuple(
        (arm, seed) for arm in ARMS for seed in range(3)
    ))  # fmt: skip
    with pytest.raises(ConfigError, match="no trial has finished; run the study first: `resnet-lab study run`"):
        findings(design(arms=ARMS), nothing, REGISTRY)


def test_a_study_of_which_every_trial_failed(tmp_path: Path) -> None:
    failed = {(arm, seed): "it diverged" for arm in ARMS for seed in range(2)}
    folder = fabricate(tmp_path, design(arms=ARMS, seeds=2), EVEN, failed=failed)
    with pytest.raises(ConfigError) as failure:
        findings(design(arms=ARMS, seeds=2), folder, REGISTRY)
    assert str(failure.value) == f"{tmp_path}: all of the 4 finished trials failed, the first with: it diverged"


@pytest.mark.parametrize("arm", ["plain", "gated"])
def test_an_arm_that_always_diverged_has_no_figures(
    tmp_path: Path, arm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = {(arm, seed): "it diverged" for seed in range(3)}
    told, folder = found(tmp_path, design(arms=ARMS), EVEN, failed=failed)
    diverged = f"{arm} diverged at seeds 0, 1, 2"
    assert f"{diverged} of 3" in told.remarks
    print_findings(told)
    written = [
        as_markdown(told),
        as_latex(told),
        capsys.readouterr().out,
        make_study_report(gather_study(told, folder, REGISTRY)).html,
    ]
    for text in written:
        assert "nan" not in re.sub(r"[a-z]*nan[a-z]+|[a-z]+nan", "", text.lower())
    for text in (written[0], written[2], written[3]):
        assert diverged in text
    arms = json.loads(json.dumps(as_json(told), allow_nan=False))["arms"]
    effect = arms[1]
    assert (effect["difference"], effect["p_t"], effect["p_holm"], effect["n"]) == (None, None, None, 0)
    assert {each["name"]: each["diverged"] for each in arms} == {**{name: [] for name in ARMS}, arm: [0, 1, 2]}
    rows = make_tables(told, folder)
    assert (rows["effects"][0]["difference"], rows["effects"][0]["p_holm"]) == (None, None)
    assert [row["diverged"] for row in rows["arms"]] == [3 * (name == arm) for name in ARMS]
    assert answer(told) == f"Nothing can be compared: {arm} failed at every seed."


def test_time_ratios_are_geometric_means(tmp_path: Path) -> None:
    """Ratios of 2 and 8 seconds per epoch to 1: the square root of 16."""
    chosen = design(arms=ARMS, seeds=2)
    folder = fabricate(tmp_path / "study", chosen, EVEN)
    for trial, seconds in zip(trials_of(chosen), (3.0, 6.0, 3.0, 24.0), strict=True):
        path = folder.trials / f"{trial.name}.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "seconds": seconds}))
    told = findings(chosen, folder, REGISTRY)
    assert told.time_ratios["gated"] == pytest.approx(4)
    assert told.arms[1].time_ratio == pytest.approx(4)


def test_a_network_is_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arms may differ in the recipe alone."""
    counted = []

    def counting(spec: ModelSpec, registry: Registry) -> NetworkCost:
        counted.append(spec)
        return measure(spec, registry)

    monkeypatch.setattr("resnet_lab.study.results.measure", counting)
    factors = {"act": ["relu", "gelu"], "train.label_smoothing": [0.0, 0.1, 0.2]}
    chosen = design(factors=factors, seeds=2)
    told, _ = found(tmp_path / "study", chosen, by_chance({arm.name: 0.8 for arm in chosen.arms}), n=30)
    assert [spec.stages[0].block.act.name for spec in counted] == ["relu", "gelu"]
    for row in told.arms:
        assert row.parameters == measure(row.arm.spec.modified(num_classes=3), REGISTRY).parameters


@pytest.mark.slow
def test_equal_arms_differ_by_nothing_and_a_handicap_is_found(tmp_path: Path) -> None:
    """Real trainings: of the same network and seeds in every bit, and with a thousandth of the learning rate."""
    arms = {"plain": {}, "saved-less-often": {"train.save_minutes": 20.0}, "slow": {"train.lr": 1e-5}}
    chosen = study(train={"lr": 1e-2, "batch_size": 64, "epochs": 2}, factors={}, arms=arms, seeds=4, margin=0.01)
    folder = StudyFolder(tmp_path / "study")
    folder.note(chosen)
    told = findings(run_study(chosen, folder, default_registry(), Listening()), folder, default_registry())
    same, slow = told.families[-1]
    assert same.differences == (0, 0, 0, 0)
    assert (same.verdict, same.interval) == ("equivalent", (0, 0))
    assert slow.verdict == "worse"
    assert slow.interval is not None
    assert slow.interval[1] < -0.2
    assert slow.difference == pytest.approx(told.arms[2].mean - told.arms[0].mean)  # type: ignore[operator]
