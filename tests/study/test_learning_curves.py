"""Compared with the trials' own tables of epochs."""

from pathlib import Path

import numpy as np
import pytest

from resnet_lab.core.errors import RunError
from resnet_lab.study.learning_curves import learning_curves
from resnet_lab.study.trials import Trial
from tests.study.fabricated import NAMED, by_hand, design, found


def test_curves_of_every_trial_and_the_mean_of_those_that_finished(tmp_path: Path) -> None:
    study = design(**NAMED)
    results, folder = found(tmp_path, study, by_hand, n=6, failed={("new", 1): "it diverged"})
    run = folder.run(Trial(study.arms[1], 1))
    run.metrics.write_text("\n".join(run.metrics.read_text().splitlines()[:2]) + "\n")
    plain, new = learning_curves(results, folder)
    assert (plain.arm, new.arm) == ("plain", "new")
    assert {seed: len(values) for seed, values in new.accuracy.seeds.items()} == {0: 3, 1: 1}
    assert new.accuracy.mean == new.accuracy.seeds[0]
    both = [plain.loss.seeds[0], plain.loss.seeds[1]]
    assert plain.loss.mean == pytest.approx(np.mean(both, axis=0).tolist())
    first = [line.split(",") for line in folder.run(Trial(study.arms[0], 0)).metrics.read_text().splitlines()]
    assert plain.accuracy.seeds[0] == [float(row[first[0].index("val_macro_accuracy")]) for row in first[1:]]


def test_a_damaged_table_of_epochs_is_named(tmp_path: Path) -> None:
    study = design(**NAMED)
    results, folder = found(tmp_path, study, by_hand, n=6)
    run = folder.run(Trial(study.arms[0], 0))
    run.metrics.write_text("epoch,val_loss\n1,2\n")
    with pytest.raises(RunError, match=r"metrics\.csv has no column 'val_macro_accuracy'"):
        learning_curves(results, folder)
    run.metrics.write_text("epoch,val_loss,val_macro_accuracy\n1,2,0.5\n")
    with pytest.raises(RunError, match=r"metrics\.csv: damaged: it has 1 epochs, and the trial had 3; restore"):
        learning_curves(results, folder)
