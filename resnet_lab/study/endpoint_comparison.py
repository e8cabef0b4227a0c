"""Comparison of the endpoints that a study could have, by the trials of a pilot."""

from dataclasses import dataclass

import numpy as np

from resnet_lab.core.records import Count
from resnet_lab.study.endpoint import endpoint, predictions_scored
from resnet_lab.study.estimand import SeedImages, image_blocks
from resnet_lab.study.plan import LOWER_IS_BETTER, Metric, Plan
from resnet_lab.study.results import StudyFindings
from resnet_lab.study.statistics import Effect, judge, seeds_needed
from resnet_lab.study.trial_results import scores_of
from resnet_lab.study.trials import StudyFolder, trials_of

COMPARED: tuple[Metric, ...] = ("macro_accuracy", "log_loss", "brier", "mean_p_true")
"""Metrics that are compared, beside the study's own."""

DIFFERENT = (
    "these endpoints ask different questions: a study declares one before its first trial; a pilot's mean of few seeds "
    "is uncertain, and so are the seeds that follow from it"
)
"""What has to be said beside a comparison."""


@dataclass(frozen=True)
class EndpointOutlook:
    """Paired differences of a pilot in one contrast and endpoint.

    Attributes:
        epochs_scored: as in a plan.
        words: the endpoint in words.
        n: seeds.
        mean, deviation: of the differences, in the metric's unit.
        ratio: the mean by the deviation, positive where the change does better; None without spread.
        seeds: that find a true difference like the pilot's in 80% of studies; None where 1,000 do not.
    """

    contrast: str
    metric: str
    epochs_scored: Count | str
    words: str
    n: int
    mean: float
    deviation: float
    ratio: float | None
    seeds: int | None


def compare_endpoints(pilot: StudyFindings, folder: StudyFolder, plan: Plan) -> tuple[EndpointOutlook, ...]:
    """Every contrast of the first family in every endpoint that the pilot's predictions allow.

    Args:
        plan: of the study to come, whose metric and population are taken.

    Raises:
        RunError, CheckpointError: a damaged file.
    """
    contrasts = [contrast.name for contrast in pilot.study.families[0]]
    metrics = _metrics(pilot, plan)
    trials = {(trial.arm.name, trial.seed): trial for trial in trials_of(pilot.study)}
    found = []
    for epochs in _epochs(pilot):
        changes = {"epochs_scored": epochs, "population": plan.population, "failures": "withhold"}
        asked = pilot.study.plan.model_copy(update=changes)
        tested = predictions_scored(asked, pilot.finished, pilot.predicted, trials, folder)
        for metric in metrics:
            asked = asked.model_copy(update={"metric": metric})
            effects = _effects(pilot, asked, SeedImages(image_blocks(tested, metric)))
            found += [_outlook(effect, asked, len(contrasts)) for effect in effects if effect.n >= 2]
    return tuple(sorted(found, key=lambda each: (contrasts.index(each.contrast), metrics.index(each.metric))))


def _metrics(pilot: StudyFindings, plan: Plan) -> list[str]:
    """Metrics in which every trial has a score, or predictions to compute it from."""
    outcomes = pilot.finished.values()
    recorded = set.intersection(*(set(each.scores) for each in outcomes))
    whole = len(pilot.predicted.values()) == len(outcomes)
    return [
        name for name in dict.fromkeys((*COMPARED, plan.metric)) if name in recorded or (whole and name in COMPARED)
    ]


def _epochs(pilot: StudyFindings) -> list[int | str]:
    """Epochs that can be scored: the last ones as far as every trial kept their predictions."""
    kept = min(len(each.last_scores) for each in pilot.finished.values())
    return ["best", *(["last"] if kept else []), *([kept] if kept > 1 else [])]


def _effects(pilot: StudyFindings, plan: Plan, images: SeedImages) -> list[Effect]:
    scores = scores_of(pilot.outcomes, plan, pilot.predicted)
    (effects,) = judge(scores, pilot.study.families[:1], population=plan.population, images=images)
    return effects


def _outlook(effect: Effect, plan: Plan, tests: int) -> EndpointOutlook:
    mean, deviation = float(np.mean(effect.differences)), float(np.std(effect.differences, ddof=1))
    gain = -mean if plan.metric in LOWER_IS_BETTER else mean
    covariance = (effect.covariance or 0.0) if plan.population == "new" else 0.0
    return EndpointOutlook(
        contrast=effect.name,
        metric=plan.metric,
        epochs_scored=plan.epochs_scored,
        words=endpoint(plan),
        n=effect.n,
        mean=mean,
        deviation=deviation,
        ratio=gain / deviation if deviation else None,
        seeds=seeds_needed(mean, deviation, tests, covariance),
    )
