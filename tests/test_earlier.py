"""Files that an earlier commit (6e309af) wrote: a run, its weights and predictions, and a study with a trial to go."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from resnet_lab.cli import main
from resnet_lab.core.run_folder import Run
from resnet_lab.device import choose
from resnet_lab.evaluation import Predictions, evaluate, stored, summary_of
from resnet_lab.network import checkpoint, default_registry
from resnet_lab.network.builder import build
from resnet_lab.study.results import findings
from resnet_lab.study.running import as_run, known, tuned
from resnet_lab.study.trials import StudyFolder, orphaned, trials_of

EARLIER = Path(__file__).parent / "earlier"
CPU = choose("cpu", "fp32", "off")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(EARLIER, tmp_path / "earlier")


def test_an_earlier_run_has_the_same_scores(folder: Path) -> None:
    run = Run.open(folder / "run")
    kept = stored(run)
    assert kept is not None
    found = evaluate(folder / "run", CPU, default_registry(), again=True)
    assert (found.paths, found.digests, found.classes) == (kept.paths, kept.digests, kept.classes)
    np.testing.assert_allclose(found.probabilities, kept.probabilities, rtol=0, atol=1e-5)
    recorded = run.read()["test"]
    assert summary_of(run, kept).headline["accuracy"].value == pytest.approx(recorded["accuracy"])


def test_weights_and_predictions_are_read(folder: Path) -> None:
    metadata, tensors = checkpoint.read(folder / "run" / "best.safetensors")
    assert (metadata.spec.name, metadata.spec.stages[0].width, metadata.classes[:2]) == ("tiny", 4, ("0", "1"))
    assert checkpoint.load(folder / "run" / "best.safetensors").state_dict().keys() == tensors.keys()
    assert len(Predictions.read(folder / "run" / "predictions" / "test.safetensors")) == 172


def test_an_earlier_study_resumes_with_its_trials(folder: Path) -> None:
    study = StudyFolder(folder / "study")
    design = study.study()
    assert orphaned(tuned(design, study, known(design, study)).of(design), study) == []
    resolved = as_run(design, study)
    over = {trial.name: study.state(trial) for trial in trials_of(resolved)}
    assert sorted(over.values()) == ["finished"] * 3 + ["waiting"]
    found = findings(resolved, study, default_registry())
    assert [row.arm.name for row in found.arms] == ["relu", "gelu"]


def test_an_earlier_study_is_reported(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without weights and predictions, which no trial of it has."""
    with pytest.raises(SystemExit) as end:
        main(["study", "report", str(folder / "study"), "--csv", str(folder / "tables"), "--json"])
    printed = capsys.readouterr()
    assert (end.value.code, printed.err) == (0, "")
    path = folder / "study" / "trials" / "relu-a2f9c7ebe8a0-seed0.json"
    score = json.loads(path.read_text())["scores"]["macro_accuracy"]
    trials = list(csv.DictReader((folder / "tables" / "trials.csv").read_text().splitlines()))
    assert float(trials[0]["macro_accuracy"]) == pytest.approx(score)
    page = (folder / "study" / "report.html").read_text()
    assert ("relu" in page, 'id="classes"' in page) == (True, False)
    spec = as_run(StudyFolder(folder / "study").study(), StudyFolder(folder / "study")).arms[0].spec
    network = build(spec.modified(num_classes=10))  # digits
    assert json.loads(printed.out)["arms"][0]["parameters"] == sum(each.numel() for each in network.parameters())
