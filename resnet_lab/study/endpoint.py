"""Endpoint of a study: the metric that its trials are scored by, and the epochs at which they are."""

from collections.abc import Mapping

import numpy as np

from resnet_lab.core.errors import ConfigError
from resnet_lab.core.figure_names import figure_name
from resnet_lab.evaluation.metrics.headline import FiguresOf
from resnet_lab.evaluation.predictions import Predictions
from resnet_lab.evaluation.scoring import stored_epochs
from resnet_lab.study.grid import Grid
from resnet_lab.study.outcome import Outcome
from resnet_lab.study.plan import Plan
from resnet_lab.study.tested import require_scores
from resnet_lab.study.trials import REMEDY, StudyFolder, Trial


def endpoint(plan: Plan) -> str:
    """The endpoint in words."""
    metric, last = figure_name(plan.metric), plan.last_epochs
    if not last:
        return f"{metric} at the epoch that is best on the validation part"
    return f"{metric} at the last epoch" if last == 1 else f"{metric}, mean of the last {last} epochs"


def score(outcome: Outcome, plan: Plan, predicted: Predictions | None = None) -> float:
    """Score of a trial that finished.

    Args:
        predicted: at the best epoch, from which a metric follows that an earlier version did not record.

    Raises:
        ConfigError: it has no such score.
    """
    metric, last = plan.metric, plan.last_epochs
    if len(outcome.last_scores) < min(last, outcome.epochs):
        raise ConfigError(
            f"the trial {outcome.trial} kept predictions of {len(outcome.last_scores)} last epochs, and epochs_scored "
            f"asks for {last}; give --epochs-scored best, or run a study with it from its beginning"
        )
    scores = outcome.scored(last)
    if metric in scores:
        return scores[metric]
    if not last and predicted is not None:
        figures = FiguresOf(predicted.labels, predicted.probabilities, [metric])(np.ones((1, len(predicted))))
        if metric in figures:
            return float(figures[metric][0])
    remedy = "take another metric where there are 5 classes or fewer" if metric == "top5_accuracy" else REMEDY
    raise ConfigError(f"the trial {outcome.trial} has no {metric}; {remedy}")


def predictions_scored(
    plan: Plan,
    finished: Grid[Outcome],
    predicted: Grid[Predictions],
    trials: Mapping[tuple[str, int], Trial],
    folder: StudyFolder,
) -> Grid[tuple[Predictions, ...]]:
    """Predictions of the epochs that count; none of a trial whose predictions are gone.

    Args:
        predicted: at the best epoch.
        trials: by arm and seed.

    Raises:
        RunError: an outcome has other scores than its predictions.
        CheckpointError: a damaged file.
    """
    if not plan.last_epochs:
        return predicted.map(lambda each: (each,))

    def kept(outcome: Outcome) -> tuple[Predictions, ...] | None:
        run = folder.run(trials[outcome.arm, outcome.seed])
        found = stored_epochs(run, plan.last_epochs) if run.metrics.exists() else None
        for each, scores in zip(found or (), outcome.last_scores[-plan.last_epochs :], strict=False):
            require_scores(scores, each, folder, outcome.trial)
        return found

    return finished.map(kept)
