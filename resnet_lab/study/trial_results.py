"""Outcomes of a study's trials with their scores and tested images; progress of a sequential study.

Legend: S seeds, A arms.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resnet_lab.evaluation.predictions import Predictions
from resnet_lab.study.design import Study
from resnet_lab.study.endpoint import predictions_scored, score
from resnet_lab.study.estimand import SeedImages, image_blocks, with_failures
from resnet_lab.study.grid import Grid
from resnet_lab.study.looks import Schedule
from resnet_lab.study.outcome import Outcome
from resnet_lab.study.plan import LOWER_IS_BETTER, Plan
from resnet_lab.study.sequential import Evidence, StudyProgress, judge_at_looks
from resnet_lab.study.tested import predictions_of_trials
from resnet_lab.study.trials import StudyFolder, Trial, trials_of


@dataclass(frozen=True)
class TrialResults:
    """Results of all trials.

    Attributes:
        trials: by arm and seed.
        outcomes: of the finished trials, including failed ones.
        predicted: on the test part at the best epoch, of the trials that finished.
        scored: predictions of the epochs that count; none where they are gone.
        scores: shape (S, A), NaN where a trial is left out.
        failed: trials that failed, shape (S, A).
    """

    trials: Mapping[tuple[str, int], Trial]
    outcomes: Grid[Outcome]
    predicted: Grid[Predictions]
    scored: Grid[tuple[Predictions, ...]]
    scores: NDArray[np.float64]
    failed: NDArray[np.bool_]
    images: SeedImages


def read_trials(study: Study, folder: StudyFolder) -> TrialResults:
    """Read all trials.

    Raises:
        ConfigError: a trial has no score of the study's endpoint.
        RunError, CheckpointError: a damaged file.
    """
    trials = {(trial.arm.name, trial.seed): trial for trial in trials_of(study)}
    names, plan = [arm.name for arm in study.arms], study.plan
    outcomes = Grid.filled(study.seeds, names, lambda arm, seed: folder.outcome(trials[arm, seed]))
    finished, failed = finished_of(outcomes), failed_of(outcomes)
    predicted = predictions_of_trials(finished, trials, folder)
    scored = predictions_scored(plan, finished, predicted, trials, folder)
    blocks = image_blocks(scored, plan.metric)
    images = SeedImages(
        with_failures(blocks, failed) if plan.failures == "worst" else blocks,
        _test_by_training(study, trials.values(), folder),
    )
    return TrialResults(trials, outcomes, predicted, scored, scores_of(outcomes, plan, predicted), failed, images)


def progress_of(study: Study, folder: StudyFolder) -> StudyProgress:
    """Progress of a sequential study: a function of its finished trials up to each look alone.

    Raises:
        ConfigError: a trial has no score of the study's endpoint.
        RunError, CheckpointError: a damaged file.
    """
    read, plan = read_trials(study, folder), study.plan
    finished = ~np.isnan(read.outcomes.numbers(lambda outcome: 0.0))
    return judge_at_looks(
        Schedule(plan.looks),
        Evidence(read.scores, finished, read.failed & np.isnan(read.scores), read.images),
        study.families,
        margin=plan.margin,
        higher_is_better=plan.metric not in LOWER_IS_BETTER,
        population=plan.population,
        seeds=study.seeds,
    )


def finished_of(outcomes: Grid[Outcome]) -> Grid[Outcome]:
    """Trials that did not fail."""
    return outcomes.map(lambda outcome: outcome if outcome.problem is None else None)


def failed_of(outcomes: Grid[Outcome]) -> NDArray[np.bool_]:
    """Trials that failed, shape (S, A)."""
    return np.nan_to_num(outcomes.numbers(lambda outcome: outcome.problem is not None)).astype(bool)


def scores_of(outcomes: Grid[Outcome], plan: Plan, predicted: Grid[Predictions]) -> NDArray[np.float64]:
    """Scores (S, A), NaN where a trial is left out; a seed is where every arm failed, which favours none.

    Raises:
        ConfigError: a trial has no such score.
    """
    finished = finished_of(outcomes)
    scores = finished.numbers(lambda outcome: score(outcome, plan, predicted[outcome.arm, outcome.seed]))
    if plan.failures == "worst":
        failed = failed_of(outcomes)
        scores[failed & ~failed.all(1, keepdims=True)] = 0.0
    return scores


def _test_by_training(study: Study, trials: Iterable[Trial], folder: StudyFolder) -> float | None:
    """Test images by training images of a trial, if each seed has a test part of its own."""
    if "split" not in study.plan.vary:
        return None
    for trial in trials:
        if (run := folder.run(trial)).splits.exists():
            images: Counter[str] = Counter()
            for (part, _), number in run.images_by_part().items():
                images[part] += number
            return images["test"] / images["train"] if images["train"] else None
    return None
