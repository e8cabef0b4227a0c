"""`data suspects`, of runs and of studies."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resnet_lab.core.locks import claimed
from resnet_lab.evaluation import suspects
from resnet_lab.network.plugins import load
from resnet_lab.study.running import run_study
from resnet_lab.study.trials import StudyFolder
from tests.study.small import Listening, study

Cli = Callable[..., Any]


def test_a_run_is_trained_by_fold_and_a_planted_error_is_flagged(cli: Cli, trained: Path, paintings: Path) -> None:
    (paintings / "red" / "5.png").rename(paintings / "blue" / "wrong.png")
    ended = cli("data", "suspects", trained, "--folds", 3)
    assert ended.code == 0, ended.err
    for fold in (1, 2, 3):
        assert f"fold {fold} of 3: training" in ended.err
    assert "1 of 24 labels flagged, by 3 trainings; nothing was deleted or relabelled" in ended.out
    rows = list(csv.DictReader((trained / "suspects" / "suspects.csv").read_text().splitlines()))
    assert len(rows) == 24
    assert [rows[0][name] for name in ("path", "label", "suggested", "flagged")] == [
        "blue/wrong.png", "blue", "red", "True",
    ]  # fmt: skip
    assert "blue/wrong.png" in (trained / "suspects" / "suspects.html").read_text()
    assert (paintings / "blue" / "wrong.png").exists()

    ended = cli("data", "suspects", trained, "--folds", 3, "--score", "normalized_margin", "--json")
    assert ": training" not in ended.err
    found = json.loads(ended.out)
    assert (found["ranked"], found["not_ranked"], found["trainings"]) == (24, 0, 3)
    assert (found["score"], found["suspects"][0]["path"]) == ("normalized_margin", "blue/wrong.png")
    assert found["flagged"] == len(found["suspects"])


def test_a_study_has_its_predictions_already(cli: Cli, tmp_path: Path) -> None:
    chosen, folder = study(blocks="folds"), StudyFolder(tmp_path / "study")
    folder.note(chosen)
    run_study(chosen, folder, load(only=[]), Listening())
    ended = cli("data", "suspects", folder.folder, "--arm", "eca", "--json", "--out", "here")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert found["trainings"] == 2
    assert found["ranked"] + found["not_ranked"] == 1797
    assert 0.15 < found["ranked"] / 1797 < 0.25
    assert Path("here/suspects.csv").exists()
    refused = cli("data", "suspects", folder.folder, "--folds", 3)
    assert (refused.code, refused.err) == (
        2, "resnet-lab: --folds is of a run, and a study has been trained already; leave it out\n"
    )  # fmt: skip


def test_what_cannot_be(cli: Cli, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = cli("data", "suspects", trained, "--arm", "a")
    assert (refused.code, refused.err) == (
        2, "resnet-lab: --arm is of a study, and a run has one configuration; leave it out\n"
    )  # fmt: skip
    refused = cli("data", "suspects", trained.parent / "nothing")
    assert refused.code == 2
    assert "is not a run folder: it holds no run.json" in refused.err
    refused = cli("data", "suspects", trained, "--weights", "IMAGENET1K_V1")
    assert (refused.code, refused.err) == (
        2, f"resnet-lab: {trained} started from random weights; leave --weights out\n"
    )  # fmt: skip
    record = json.loads((trained / "run.json").read_text())
    record["config"]["weights"] = "evil.pth"
    (trained / "run.json").write_text(json.dumps(record))
    refused = cli("data", "suspects", trained)
    assert (refused.code, refused.err) == (
        2,
        f"resnet-lab: {trained} started from the weights 'evil.pth', which only its record names; give them with "
        "--weights\n",
    )
    record["config"]["weights"] = None
    (trained / "run.json").write_text(json.dumps(record))
    folder = trained / "suspects" / "trainings"
    folder.mkdir(parents=True)
    with claimed(folder / ".lock"):
        refused = cli("data", "suspects", trained)
    assert (refused.code, refused.err.splitlines()[-1]) == (
        2, f"resnet-lab: {folder}: another process is training there; wait until it has ended"
    )  # fmt: skip
    shutil.rmtree(trained / "suspects")
    shutil.rmtree(trained.parent / "paintings")
    refused = cli("data", "suspects", trained)
    assert refused.code == 2
    assert not (trained / "suspects").exists()
    monkeypatch.setattr(suspects, "find_spec", lambda name: None)
    refused = cli("data", "suspects", trained)
    assert (refused.code, refused.err) == (
        2, 'resnet-lab: suspects are ranked by the package cleanlab: pip install "resnet-lab[cleanlab]"\n'
    )  # fmt: skip
