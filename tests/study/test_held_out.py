"""Held-out predictions of a study's trials."""

from pathlib import Path

import pytest

from resnet_lab.core.errors import ConfigError, RunError
from resnet_lab.evaluation.suspects import mean_of
from resnet_lab.network.plugins import load
from resnet_lab.study.held_out import images_of_arm, kept_of_arm
from resnet_lab.study.running import as_run, run_study
from resnet_lab.study.trials import StudyFolder
from tests.study.small import Listening, study


def test_kept_predictions_are_each_trials_own_fold(tmp_path: Path) -> None:
    chosen, folder = study(blocks="folds"), StudyFolder(tmp_path / "study")
    folder.note(chosen)
    with pytest.raises(RunError, match="no trial of the arm 'none' has finished with its predictions kept; run the st"):
        kept_of_arm(chosen, folder)
    assert images_of_arm(chosen, folder) == 0
    registry = load(only=[])
    run_study(chosen, folder, registry, Listening())
    opened = as_run(folder.study(), folder)
    found = kept_of_arm(opened, folder, "eca")
    assert [each.origin.part for each in found] == ["test", "test"]
    assert not set(found[0].paths) & set(found[1].paths)
    assert mean_of(found).counts.tolist() == [1] * sum(map(len, found))
    assert images_of_arm(opened, folder) == 1797
    assert found[0].origin.weights != kept_of_arm(opened, folder)[0].origin.weights
    with pytest.raises(ConfigError, match=r"there is no arm 'ecaa'; did you mean 'eca'\?"):
        kept_of_arm(opened, folder, "ecaa")
