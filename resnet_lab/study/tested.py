"""Predictions of a study's trials on the test part, checked against each other and against their outcomes."""

from collections.abc import Mapping

import numpy as np

from resnet_lab.core.errors import RunError
from resnet_lab.core.records import shortened
from resnet_lab.evaluation.metrics.headline import headline
from resnet_lab.evaluation.predictions import Predictions
from resnet_lab.evaluation.scoring import stored
from resnet_lab.study.grid import Grid
from resnet_lab.study.outcome import Outcome
from resnet_lab.study.trials import REMEDY, StudyFolder, Trial

TOLERANCE = 1e-5
"""Greatest difference of a score that is computed again, elsewhere."""


def predictions_of_trials(
    finished: Grid[Outcome], trials: Mapping[tuple[str, int], Trial], folder: StudyFolder
) -> Grid[Predictions]:
    """Stored predictions of the finished trials.

    Args:
        trials: by arm and seed.

    Raises:
        RunError: an outcome has other scores than its predictions, or trials were tested with different classes or
            labels of an image.
        CheckpointError: a damaged file.
    """
    predicted = finished.map(lambda outcome: stored(folder.run(trials[outcome.arm, outcome.seed])))
    labels: dict[str, str] = {}
    classes: dict[tuple[str, ...], str] = {}
    for arm, seed, each in predicted.items():
        if each is None:
            continue
        name = trials[arm, seed].name
        outcome = finished[arm, seed]
        require_scores(outcome.scores if outcome is not None else {}, each, folder, name)
        first = classes.setdefault(each.classes, name)
        if len(classes) > 1:
            raise RunError(
                f"{folder.folder}: the trials {next(iter(classes.values()))} and {first} were tested with different "
                f"classes; {REMEDY}"
            )
        for path, label in zip(each.paths, each.labels.tolist(), strict=True):
            if labels.setdefault(path, each.classes[label]) != each.classes[label]:
                raise RunError(
                    f"{folder.folder}: {shortened(path)} is of the class {labels[path]!r} in one trial and "
                    f"{each.classes[label]!r} in {name}; {REMEDY}"
                )
    return predicted


def classes_of_trials(
    predicted: Grid[Predictions], trials: Mapping[tuple[str, int], Trial], folder: StudyFolder
) -> int:
    """Number of classes, from predictions or else from a trial's record; 0 where neither has it.

    Raises:
        RunError: a damaged record.
    """
    for each in predicted.values():
        return len(each.classes)
    for run in map(folder.run, trials.values()):
        if run.record.exists():
            return len(run.read()["data"]["classes"])
    return 0


def require_scores(scores: Mapping[str, float], predictions: Predictions, folder: StudyFolder, name: str) -> None:
    """Raise `RunError` where a trial's outcome records other scores than its predictions."""
    if not len(predictions):
        return
    for metric, value in headline(predictions.labels, predictions.probabilities).items():
        recorded = scores.get(metric, value)
        if not np.isclose(recorded, value, rtol=TOLERANCE, atol=TOLERANCE):
            raise RunError(
                f"{folder.trials / name}.json: damaged: {metric} is {recorded:g}, and {value:g} by the trial's "
                f"predictions; {REMEDY}"
            )
