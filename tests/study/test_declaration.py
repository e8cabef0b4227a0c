"""What is declared before the first trial stays on record."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from resnet_lab.core.errors import ConfigError, RunError
from resnet_lab.report.study_building import make_study_report
from resnet_lab.study.declaration import DesignChange, changes, declared, judged_by
from resnet_lab.study.design import Study
from resnet_lab.study.report_contents import gather_study
from resnet_lab.study.resolution import ResolvedArm
from resnet_lab.study.results import findings
from resnet_lab.study.trials import StudyFolder
from resnet_lab.study.writing import as_json, as_markdown
from tests.study.fabricated import REGISTRY, by_chance, design, fabricate

ARMS: dict[str, Any] = {"plain": {}, "gated": {"attn": "eca"}}
EVEN = by_chance({"plain": 0.7, "gated": 0.7})
TEXT = "the declared metric was macro_accuracy, and here it is log_loss: this is exploratory"


def changed(study: Study, **plan: Any) -> Study:
    return replace(study, plan=study.plan.model_copy(update=plan))


def test_the_design_is_hashed_before_the_first_trial(tmp_path: Path) -> None:
    chosen = design(arms=ARMS, seeds=3, margin=0.01)
    StudyFolder(tmp_path).note(chosen)
    content = json.loads((tmp_path / "study.json").read_text())
    found = content["declared"]
    assert (found["metric"], found["epochs_scored"], found["margin"]) == ("macro_accuracy", "best", 0.01)
    assert (found["population"], found["failures"], found["first_seed"], found["seeds"]) == ("new", "withhold", 0, 3)
    assert (found["vary"], found["tune_lr"]) == (["init", "split", "order"], [])
    assert found["arms"] == {arm.name: arm.hash for arm in chosen.arms}
    text = json.dumps(found, sort_keys=True).encode()
    assert content["design_hash"] == hashlib.sha256(text).hexdigest()
    assert StudyFolder(tmp_path).declared() == found


def test_before_the_first_trial_anything_is_declared_anew(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    folder.note(design(arms=ARMS))
    folder.note(design(arms=ARMS, metric="brier", failures="withhold", epochs_scored="last"))
    assert (folder.declared()["metric"], folder.declared()["epochs_scored"]) == ("brier", "last")


def test_another_metric_after_the_trials_is_told_everywhere(tmp_path: Path) -> None:
    chosen = design(arms=ARMS, seeds=3)
    folder = fabricate(tmp_path / "study", chosen, EVEN)
    assert findings(chosen, folder, REGISTRY).changes == []
    folder.note(design(arms=ARMS, seeds=3, metric="log_loss"))
    assert folder.declared()["metric"] == "macro_accuracy"
    told = findings(folder.study(), folder, REGISTRY)
    assert TEXT in told.remarks
    assert f"- {TEXT}" in as_markdown(told).replace("\\_", "_")
    assert as_json(told)["changes"] == [{"name": "metric", "declared": "macro_accuracy", "judged": "log_loss"}]
    assert f"T{TEXT[1:]}." in make_study_report(gather_study(told, folder, REGISTRY)).html


@pytest.mark.parametrize(
    ("plan", "text"),
    [
        ({"epochs_scored": "best"}, "the declared epochs_scored was 2, and here it is best: this is exploratory"),
        ({"margin": 0.02}, "the declared margin was none, and here it is 0.02: this is exploratory"),
        ({"vary": ("init",)}, "the declared vary was init, split, order, and here it is init: this is exploratory"),
    ],
)
def test_changes_in_words(plan: dict[str, Any], text: str) -> None:
    chosen = design(arms=ARMS, epochs_scored=2)
    assert [str(each) for each in changes(declared(chosen), changed(chosen, **plan))] == [text]


def test_other_arms_in_words() -> None:
    before = declared(design(arms={**ARMS, "more": {"act": "gelu"}}))
    after = design(arms={"plain": {}, "gated": {"attn": "se"}, "new": {"act": "silu"}})
    (change,) = changes(before, after)
    assert str(change) == (
        "arms were added (new), left out (more), changed (gated) after the first trial: what they show is exploratory"
    )


def test_keys_that_were_not_known_then_are_not_told() -> None:
    chosen = design(arms=ARMS)
    assert changes({"metric": "brier"}, chosen) == [DesignChange("metric", "brier", "macro_accuracy")]
    assert changes({}, chosen) == []


def test_a_study_judged_by_other_values() -> None:
    chosen = design(arms=ARMS, seeds=3, failures="worst")
    other = judged_by(chosen, {"margin": 0.02, "epochs_scored": 1}, "the options")
    assert (other.plan.margin, other.plan.last_epochs, other.plan.seeds) == (0.02, 1, 3)
    assert (other.arms, other.plan.arms) == (chosen.arms, chosen.plan.arms)
    with pytest.raises(ConfigError) as failure:
        judged_by(chosen, {"metric": "brier"}, "the options")
    assert str(failure.value) == (
        "the options: failures 'worst' scores a failed trial 0, and lower is better in brier; give failures = "
        '"withhold" or another metric'
    )
    with pytest.raises(ConfigError, match=r"^the options: epochs_scored"):
        judged_by(chosen, {"epochs_scored": 0}, "the options")


def test_what_is_decided_later_changes_no_design() -> None:
    chosen = design(arms=ARMS, tune_lr=[0.01, 0.1], budget={"macs": 1.0})
    decided = ResolvedArm(name="plain", epochs=7, lr=0.1, batch_size=32, compile="off")
    resolved = replace(chosen, arms=tuple(decided.of(arm) for arm in chosen.arms))
    assert resolved.arms[0].train.epochs == 7
    assert changes(declared(chosen), resolved) == []


def test_a_declaration_that_was_edited_is_refused(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    folder.note(design(arms=ARMS))
    content = json.loads(folder.design.read_text())
    content["declared"]["metric"] = "brier"
    folder.design.write_text(json.dumps(content))
    with pytest.raises(RunError) as failure:
        folder.declared()
    assert str(failure.value) == (
        f"{tmp_path}/study.json: damaged: the declared design is not the one that was hashed; restore the file"
    )


def test_a_study_of_an_earlier_version_declared_its_tables(tmp_path: Path) -> None:
    chosen = design(arms=ARMS, seeds=3)
    folder = fabricate(tmp_path / "study", chosen, EVEN)
    content = json.loads(folder.design.read_text())
    del content["declared"], content["design_hash"]
    folder.design.write_text(json.dumps(content))
    assert folder.declared() == declared(chosen)
    assert findings(chosen, folder, REGISTRY).changes == []
    assert TEXT in findings(changed(chosen, metric="log_loss"), folder, REGISTRY).remarks
    folder.note(changed(chosen, metric="log_loss"))
    assert folder.declared()["metric"] == "macro_accuracy", "it is kept from then on"
