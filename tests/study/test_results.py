import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from resnet_lab.cli.study_screen import print_findings
from resnet_lab.core.errors import ConfigError
from resnet_lab.network.cost import NetworkCost, measure
from resnet_lab.network.plugins import Registry, default_registry
from resnet_lab.network.spec import ModelSpec
from resnet_lab.report.study_building import make_study_report
from resnet_lab.report.study_opening import opening
from resnet_lab.study.changes import changes_of
from resnet_lab.study.estimand import SeedImages, image_blocks
from resnet_lab.study.remarks import claim
from resnet_lab.study.report_contents import gather_study
from resnet_lab.study.results import findings
from resnet_lab.study.running import run_study
from resnet_lab.study.tables import as_latex, make_tables
from resnet_lab.study.trials import StudyFolder, trials_of
from resnet_lab.study.writing import as_json, as_markdown, in_words, method
from tests.study.fabricated import REGISTRY, by_chance, design, fabricate, found
from tests.study.small import Listening, study

ARMS = {"plain": {}, "gated": {"attn": "eca"}}
EVEN = by_chance({"plain": 0.7, "gated": 0.7})


def test_intervals_of_either_population_stand_beside_each_other(tmp_path: Path) -> None:
    """By the paired differences, and with the covariance of seeds; the verdict's is the one that was asked for."""
    judged, folder = found(tmp_path / "study", design(arms=ARMS, seeds=6), EVEN, n=90)
    (effect,) = judged.families[-1]
    images = SeedImages(image_blocks(judged.predicted, "macro_accuracy"))
    new = images.new(effect.differences, np.array([-1.0, 1.0]), np.ones(6, dtype=bool))
    assert new is not None
    assert (effect.population, effect.interval) == ("new", effect.new_interval)
    assert effect.new_interval == pytest.approx(new.interval(0.05))
    assert effect.p_t == pytest.approx(new.p_value)
    assert effect.pool_interval == pytest.approx(stats.ttest_1samp(effect.differences, 0).confidence_interval())
    pool = replace(judged.study, plan=judged.study.plan.model_copy(update={"population": "pool"}))
    (other,) = findings(pool, folder, REGISTRY).families[-1]
    assert (other.population, other.interval) == ("pool", effect.pool_interval)
    assert other.new_interval == effect.new_interval
    row = make_tables(judged, folder)["effects"][0]
    assert (row["new_low"], row["pool_high"]) == (effect.new_interval[0], effect.pool_interval[1])
    for text in (as_markdown(judged), make_study_report(gather_study(judged, folder, REGISTRY)).html):
        assert "for new images" in text
        assert "for these images" in text
        assert claim(judged.study) in text.replace("Verdicts are", "verdicts are")
    content = as_json(judged)
    assert (content["population"], content["claim"]) == ("new", claim(judged.study))


def test_an_arm_s_own_interval_is_for_the_same_population(tmp_path: Path) -> None:
    judged, _ = found(tmp_path / "study", design(arms=ARMS, seeds=3), EVEN, n=90)
    images = SeedImages(image_blocks(judged.predicted, "macro_accuracy"))
    own = judged.scores[:, 1].tolist()
    expected = images.new(own, np.array([0.0, 1.0]), np.ones(3, dtype=bool))
    assert expected is not None
    assert judged.arms[1].interval == pytest.approx(expected.interval(0.05))


def test_a_study_whose_predictions_are_gone(tmp_path: Path) -> None:
    """By Nadeau and Bengio's rule where splits say the sizes of the parts; else verdicts are about these images."""
    chosen = design(arms=ARMS, seeds=3)
    folder = fabricate(tmp_path / "study", chosen, EVEN)
    for trial in trials_of(chosen):
        folder.run(trial).predictions("test").unlink()
    judged = findings(chosen, folder, REGISTRY)
    (effect,) = judged.families[-1]
    assert (effect.population, effect.new_interval, effect.interval) == ("pool", None, effect.pool_interval)
    assert (
        "predictions of some seeds are gone, so it is unknown how far verdicts that need them hold for new "
        "images: these are about the images that were tested"
    ) in judged.remarks
    for trial in trials_of(chosen):
        rows = [f"{n},a,{part}" for n, part in enumerate(["train"] * 8 + ["val"] * 3 + ["test"] * 2)]
        folder.run(trial).splits.write_text("\n".join(["path,label,split", *rows]) + "\n")
    judged = findings(chosen, folder, REGISTRY)
    (effect,) = judged.families[-1]
    reach = stats.t.ppf(0.975, 2) * np.sqrt(np.var(effect.differences, ddof=1) * (1 / 3 + 2 / 8))
    assert effect.difference is not None
    assert effect.interval == pytest.approx((effect.difference - reach, effect.difference + reach))
    assert effect.population == "new"
    assert (
        "predictions of some seeds are gone: intervals for new images follow Nadeau and Bengio 2003 there, with 0.25 "
        "test images per training image"
    ) in judged.remarks


def test_a_study_recorded_without_a_population_is_judged_for_new_images(tmp_path: Path) -> None:
    chosen = design(arms=ARMS, seeds=3)
    folder = fabricate(tmp_path / "study", chosen, EVEN)
    assert folder.declared()["population"] == "new"
    content = json.loads(folder.design.read_text())
    for key in ("declared", "design_hash"):
        del content[key]
    del content["tables"]["study"]["population"]
    folder.design.write_text(json.dumps(content))
    judged = findings(folder.study(), folder, REGISTRY)
    assert judged.families[-1][0].population == "new"
    assert (
        "the study was recorded before designs had a population: it is judged for new images; "
        "--population chooses the other"
    ) in judged.remarks


def test_a_population_chosen_after_the_trials_is_said(tmp_path: Path) -> None:
    chosen = design(arms=ARMS, seeds=3)
    folder = fabricate(tmp_path / "study", chosen, EVEN)
    other = replace(chosen, plan=chosen.plan.model_copy(update={"population": "pool"}))
    remark = "the declared population was new, and here it is pool: this is exploratory"
    assert remark in findings(other, folder, REGISTRY).remarks


def test_what_a_reader_should_know(tmp_path: Path) -> None:
    chosen = design(arms=ARMS, seeds=2)
    folder = fabricate(tmp_path / "study", chosen, EVEN)
    judged = findings(chosen, folder, REGISTRY)
    assert judged.remarks == [
        "varied across seeds: initial weights, split, order",
        claim(chosen),
        "trials are scored by macro accuracy at the epoch that is best on the validation part",
        "2 seeds are too few for a verdict (3 at least): this is exploratory",
    ]
    path = folder.trials / f"{trials_of(chosen)[0].name}.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "versions": {"torch": "3.0", "resnet-lab": "1.0"}}))
    other = trials_of(design(arms={**ARMS, "more": {"act": "gelu"}}, seeds=2))[2]
    (folder.trials / f"{other.name}.json").write_text(path.read_text())
    remarks = findings(chosen, folder, REGISTRY).remarks
    assert "trials were run with different versions of torch: do not mix them in a verdict" in remarks
    sentence = "1 trials in the folder are of other arms or seeds than this design and are ignored: "
    assert f"{sentence}{other.name}" in remarks


def test_costs_of_other_arms_are_said_to_count_for_nothing(tmp_path: Path) -> None:
    chosen = design(arms=ARMS, seeds=2)
    folder = fabricate(tmp_path / "study", chosen, EVEN)
    machine = {"type": "cpu", "name": "a processor", "threads": 2, "torch": "2.99"}
    folder.bench.write_text(json.dumps({"format": 1, "arms": [], "machine": machine, "remarks": []}))
    judged = findings(chosen, folder, REGISTRY)
    assert judged.costs is None
    assert judged.remarks[-1] == (
        "the costs in bench.json are of other arms, or were timed otherwise than these are trained, and are "
        f"ignored; `resnet-lab study run --resume {folder.folder}` measures them again"
    )


def test_failed_trials_leave_their_seed_out(tmp_path: Path) -> None:
    failed = {("gated", 1): "it diverged"}
    judged, _ = found(tmp_path / "study", design(arms=ARMS, seeds=4), EVEN, failed=failed, waiting=(("plain", 3),))
    (effect,) = judged.families[-1]
    assert effect.n == 2
    assert effect.verdict == "exploratory"
    assert judged.arms[1].problems == {1: "it diverged"}
    assert (judged.arms[1].diverged, effect.diverged) == ((1,), {"gated": (1,)})
    assert "arm gated diverged at seed 1 of 4; it is compared at the other seeds alone" in judged.remarks
    assert ", 2 seeds (arm gated diverged at seed 1), at 1.00x the training time: exploratory" in (
        in_words(effect, "macro_accuracy", 1.0)
    )
    assert len(judged.missing) == 1
    nothing = fabricate(tmp_path / "nothing", design(arms=ARMS), EVEN, waiting=tuple(
        (arm, seed) for arm in ARMS for seed in range(3)
    ))  # fmt: skip
    with pytest.raises(ConfigError, match="no trial has finished; run the study first: `resnet-lab study run`"):
        findings(design(arms=ARMS), nothing, REGISTRY)


def test_unequal_failures_are_the_reason_of_a_withheld_verdict(tmp_path: Path) -> None:
    chosen, sure = design(arms=ARMS, seeds=6), by_chance({"plain": 0.5, "gated": 0.9})
    judged, _ = found(tmp_path / "study", chosen, sure, failed={("gated", 1): "no memory"})
    (effect,) = judged.families[-1]
    assert (effect.verdict, effect.seeds, effect.failed) == ("withheld", (0, 2, 3, 4, 5), {"gated": (1,)})
    reason = (
        "failures are unequal between the arms that are compared, and a seed that is left out favours the arm that "
        "failed"
    )
    assert in_words(effect, "macro_accuracy", None).endswith(
        f", 5 seeds (arm gated failed at seed 1); {reason}: withheld"
    )
    assert f"{reason}: no verdict on gated" in judged.remarks
    assert "arms that failed unequally often are not tested." in method(judged)
    alike = {("gated", 1): "no memory", ("plain", 4): "no memory"}
    equal, _ = found(tmp_path / "equal", chosen, sure, failed=alike)
    assert (equal.families[-1][0].verdict, equal.families[-1][0].n) == ("better", 4)


def test_failures_count_as_the_worst_score_where_that_was_declared(tmp_path: Path) -> None:
    """0 at that seed, from which no image deviates; a seed at which every arm failed is left out."""
    chosen = design(arms=ARMS, seeds=5, failures="worst")
    failed = {("gated", 1): "it diverged", ("gated", 2): "it diverged", ("plain", 2): "it diverged"}
    judged, folder = found(tmp_path / "study", chosen, by_chance({"plain": 0.6, "gated": 0.7}), failed=failed)
    (effect,) = judged.families[-1]
    assert effect.seeds == (0, 1, 3, 4)
    assert (effect.worst_seed, effect.worst) == (1, -judged.scores[1, 0])
    assert effect.population == "new"
    assert effect.verdict == "undecided"
    assert (judged.arms[1].n, judged.arms[1].worst) == (3, (0.0, 1))
    assert judged.arms[1].mean == pytest.approx(np.nanmean(judged.scores[:, 1]))
    assert "arm gated diverged at seeds 1, 2 of 5; it has a score of 0 there" in judged.remarks
    assert (
        "3 of 10 trials failed, and have a score of 0."
        in make_study_report(gather_study(judged, folder, REGISTRY)).html
    )
    assert "Trials that failed count as a score of 0, as was declared before the first." in method(judged)
    assert as_json(judged)["failures"] == "worst"


def test_collapses_and_skew_are_named(tmp_path: Path) -> None:
    """One run of the better arm is at chance level: its difference is an outlier, and skews all."""

    def rights(arm: str, seed: int, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
        share = 0.35 if (arm, seed) == ("gated", 3) else {"plain": 0.6, "gated": 0.9}[arm] + 0.005 * seed
        return np.arange(len(labels)) < share * len(labels)

    judged, folder = found(tmp_path / "study", design(arms=ARMS, seeds=12), rights, n=300)
    (effect,) = judged.families[-1]
    assert (effect.collapsed, effect.outliers, effect.worst_seed) == ({"gated": (3,)}, (3,), 3)
    assert effect.verdict == "better"
    assert ", 12 seeds (arm gated collapsed at seed 3): better" in in_words(effect, "macro_accuracy", None)
    page = make_study_report(gather_study(judged, folder, REGISTRY)).html
    for text in ("\n".join(judged.remarks), page, as_markdown(judged)):
        assert "arm gated collapsed at seed 3: at chance level, or far below the other runs" in text
        assert f"gated: the verdict rests on skewed differences (skewness {effect.skew:+.1f}): t tests of few" in text
        assert "read the median and the worst seed too" in text
    row = make_tables(judged, folder)["effects"][0]
    assert (row["worst_seed"], row["outliers"], row["median"]) == (3, "3", effect.median)
    arm = as_json(judged)["arms"][1]
    assert (arm["collapsed"], arm["outliers"], arm["worst"]) == ([3], [3], effect.worst)
    assert arm["worst_score"]["seed"] == 3
    assert "where none of 12 seeds does, up to 22% of an arm's runs may (at 95%)" in " ".join(judged.remarks)


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
    judged, folder = found(tmp_path, design(arms=ARMS), EVEN, failed=failed)
    diverged = f"arm {arm} diverged at seeds 0, 1, 2"
    assert f"{diverged} of 3" in judged.remarks
    print_findings(judged)
    written = [
        as_markdown(judged),
        as_latex(judged),
        capsys.readouterr().out,
        make_study_report(gather_study(judged, folder, REGISTRY)).html,
    ]
    for text in written:
        assert "nan" not in re.sub(r"[a-z]*nan[a-z]+|[a-z]+nan", "", text.lower())
    for text in (written[0], written[2], written[3]):
        assert diverged in text
    arms = json.loads(json.dumps(as_json(judged), allow_nan=False))["arms"]
    effect = arms[1]
    assert (effect["difference"], effect["p_t"], effect["p_holm"], effect["n"]) == (None, None, None, 0)
    assert {each["name"]: each["diverged"] for each in arms} == {**{name: [] for name in ARMS}, arm: [0, 1, 2]}
    rows = make_tables(judged, folder)
    assert (rows["effects"][0]["difference"], rows["effects"][0]["p_holm"]) == (None, None)
    assert [row["diverged"] for row in rows["arms"]] == [3 * (name == arm) for name in ARMS]
    assert opening(judged, changes_of(judged), None) == f"Nothing can be compared: {arm} failed at every seed."


def test_time_ratios_are_geometric_means(tmp_path: Path) -> None:
    """Ratios of 2 and 8 seconds per epoch to 1: the square root of 16."""
    chosen = design(arms=ARMS, seeds=2)
    folder = fabricate(tmp_path / "study", chosen, EVEN)
    for trial, seconds in zip(trials_of(chosen), (3.0, 6.0, 3.0, 24.0), strict=True):
        path = folder.trials / f"{trial.name}.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "seconds": seconds}))
    judged = findings(chosen, folder, REGISTRY)
    assert judged.time_ratios["gated"] == pytest.approx(4)
    assert judged.arms[1].time_ratio == pytest.approx(4)


def test_a_network_is_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arms may differ in the recipe alone."""
    counted = []

    def counting(spec: ModelSpec, registry: Registry) -> NetworkCost:
        counted.append(spec)
        return measure(spec, registry)

    monkeypatch.setattr("resnet_lab.study.results.measure", counting)
    factors = {"act": ["relu", "gelu"], "train.label_smoothing": [0.0, 0.1, 0.2]}
    chosen = design(factors=factors, seeds=2)
    judged, _ = found(tmp_path / "study", chosen, by_chance({arm.name: 0.8 for arm in chosen.arms}), n=30)
    assert [spec.stages[0].block.act.name for spec in counted] == ["relu", "gelu"]
    for row in judged.arms:
        assert row.parameters == measure(row.arm.spec.modified(num_classes=3), REGISTRY).parameters


def test_json_of_six_seeds(tmp_path: Path) -> None:
    """Of five and more, skew and outliers are told."""
    shares = {"relu none": 0.5, "relu eca": 0.6, "gelu none": 0.5, "gelu eca": 0.7}
    judged, _ = found(tmp_path / "study", design(seeds=6, margin=0.05), by_chance(shares))
    content = json.loads(json.dumps(as_json(judged), allow_nan=False))
    assert [effect["is_skewed"] for effect in content["effects"]] == [each.is_skewed for each in judged.effects]
    assert {type(effect["is_skewed"]) for effect in content["effects"]} == {bool}
    assert [len(effect["differences"]) for effect in content["effects"]] == [6, 6, 6]


@pytest.mark.long
def test_equal_arms_differ_by_nothing_and_a_handicap_is_found(tmp_path: Path) -> None:
    """Real trainings: of the same network and seeds in every bit, and with a thousandth of the learning rate."""
    arms = {"plain": {}, "saved-less-often": {"train.save_minutes": 20.0}, "slow": {"train.lr": 1e-5}}
    chosen = study(train={"lr": 1e-2, "batch_size": 64, "epochs": 2}, factors={}, arms=arms, seeds=4, margin=0.01)
    folder = StudyFolder(tmp_path / "study")
    folder.note(chosen)
    judged = findings(run_study(chosen, folder, default_registry(), Listening()), folder, default_registry())
    same, slow = judged.families[-1]
    assert same.differences == (0, 0, 0, 0)
    assert (same.verdict, same.interval) == ("undecided", (0, 0))  # bits that are the same have no spread
    assert slow.verdict == "worse"
    assert slow.interval is not None
    assert slow.interval[1] < -0.2
    assert slow.difference == pytest.approx(judged.arms[2].mean - judged.arms[0].mean)  # type: ignore[operator]
