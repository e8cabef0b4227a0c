"""Predictions of trials that were changed by hand: no wrong figure comes of them."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from resnet_lab.core.errors import RunError
from resnet_lab.evaluation.metrics.headline import headline
from resnet_lab.evaluation.predictions import Predictions
from resnet_lab.study.results import findings
from resnet_lab.study.trials import StudyFolder, trials_of
from tests.run_records import run_record
from tests.study.fabricated import NAMED, REGISTRY, by_hand, design, fabricate

STUDY = design(**NAMED)
REMEDY = "remove it and its folder to have the trial run again"


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    return fabricate(tmp_path / "study", STUDY, by_hand, n=6)


def outcome_of(folder: StudyFolder, number: int) -> Path:
    return folder.trials / f"{trials_of(STUDY)[number].name}.json"


def change(folder: StudyFolder, number: int, changed: Callable[[Predictions], Predictions]) -> None:
    """Predictions of a trial, and the scores in its outcome with them."""
    path = folder.run(trials_of(STUDY)[number]).predictions("test")
    made = changed(Predictions.read(path))
    made.write(path)
    outcome = outcome_of(folder, number)
    scores = headline(made.labels, made.probabilities)
    outcome.write_text(json.dumps({**json.loads(outcome.read_text()), "scores": scores}))


def test_scores_that_are_not_those_of_the_predictions(folder: StudyFolder) -> None:
    path = outcome_of(folder, 1)
    content = json.loads(path.read_text())
    content["scores"]["accuracy"] = 0.9
    path.write_text(json.dumps(content))
    with pytest.raises(RunError) as failure:
        findings(STUDY, folder, REGISTRY)
    assert str(failure.value) == (
        f"{path}: damaged: accuracy is 0.9, and 0.666667 by the trial's predictions; {REMEDY}"
    )


def test_trials_of_different_classes(folder: StudyFolder) -> None:
    def more(found: Predictions) -> Predictions:
        probabilities = np.pad(found.probabilities, ((0, 0), (0, 1)))
        return replace(found, classes=(*found.classes, "another"), probabilities=probabilities)

    change(folder, 3, more)
    first, _, _, last = (trial.name for trial in trials_of(STUDY))
    with pytest.raises(RunError) as failure:
        findings(STUDY, folder, REGISTRY)
    assert str(failure.value) == (
        f"{folder.folder}: the trials {first} and {last} were tested with different classes; {REMEDY}"
    )


def test_labels_that_differ_between_trials(folder: StudyFolder) -> None:
    change(folder, 1, lambda found: replace(found, labels=np.array([1, 1, 2, 0, 1, 2])))
    with pytest.raises(RunError) as failure:
        findings(STUDY, folder, REGISTRY)
    assert str(failure.value) == (
        f"{folder.folder}: 0/0.png is of the class 'class 0' in one trial and 'class 1' in {trials_of(STUDY)[1].name}; "
        f"{REMEDY}"
    )


def test_without_predictions_the_records_tell_the_classes(folder: StudyFolder) -> None:
    """Parameters are those of the network with the run's classes; with neither, a remark names the head."""
    expected = [row.parameters for row in findings(STUDY, folder, REGISTRY).arms]
    for trial in trials_of(STUDY):
        folder.run(trial).best.unlink()
    found = findings(STUDY, folder, REGISTRY)
    assert found.predicted.values() == []
    head = STUDY.arms[0].spec.head.num_classes
    assert f"no trial records its classes: parameters and MACs are those of a head with {head} classes" in found.remarks
    record = run_record()
    record["data"]["classes"] = ["a", "b", "c"]
    folder.run(trials_of(STUDY)[0]).write(record)
    found = findings(STUDY, folder, REGISTRY)
    assert [row.parameters for row in found.arms] == expected
    assert not any("no trial tells" in remark for remark in found.remarks)
