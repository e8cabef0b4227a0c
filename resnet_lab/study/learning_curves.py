"""Validation accuracy and loss per epoch, for each arm of a study."""

from dataclasses import dataclass

import numpy as np

from resnet_lab.core.errors import RunError
from resnet_lab.study.results import StudyFindings
from resnet_lab.study.trials import StudyFolder, Trial


@dataclass(frozen=True)
class Curve:
    """One validation metric per epoch.

    Attributes:
        seeds: values by seed, of every trial that has started.
        mean: over the finished trials, up to the shortest.
    """

    seeds: dict[int, list[float]]
    mean: list[float]


@dataclass(frozen=True)
class LearningCurves:
    """Validation macro accuracy and loss of one arm."""

    arm: str
    accuracy: Curve
    loss: Curve


def learning_curves(found: StudyFindings, folder: StudyFolder) -> list[LearningCurves]:
    """Curves of every arm.

    Raises:
        RunError: a trial's table of epochs is damaged.
    """
    made, done = [], found.finished
    for arm in found.study.arms:
        tables = {seed: _epochs(folder, Trial(arm, seed)) for seed in found.study.seeds}
        curves = []
        for column in ("val_macro_accuracy", "val_loss"):
            seeds = {seed: [row[column] for row in rows] for seed, rows in tables.items() if rows}
            finished = [seeds[seed] for seed in done.of_arm(arm.name) if seed in seeds]
            curves.append(Curve(seeds, [float(np.mean(each)) for each in zip(*finished, strict=False)]))
        made.append(LearningCurves(arm.name, *curves))
    return made


def _epochs(folder: StudyFolder, trial: Trial) -> list[dict[str, float]]:
    run, outcome = folder.run(trial), folder.outcome(trial)
    rows = run.epochs("val_macro_accuracy", "val_loss") if run.metrics.exists() else []
    done = 0 if outcome is None or outcome.problem is not None else outcome.epochs
    if rows and done not in (0, len(rows)):  # 0 also where there were no times
        raise RunError(f"{run.metrics}: damaged: it has {len(rows)} epochs, and the trial had {done}; restore the file")
    return rows
