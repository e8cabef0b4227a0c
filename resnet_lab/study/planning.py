"""Cost and power of a study, before it runs."""

from dataclasses import dataclass

import numpy as np

from resnet_lab.network.plugins import Registry
from resnet_lab.study.deciding import seconds_of_step, training_images
from resnet_lab.study.design import Study
from resnet_lab.study.results import StudyFindings
from resnet_lab.study.statistics import FEWEST, power, seeds_needed, smallest_p
from resnet_lab.study.trials import tuning_trials

DETECTABLE = (0.005, 0.01, 0.02, 0.05)
"""Differences that a plan reports the power of, in the metric's unit."""


@dataclass(frozen=True)
class Estimate:
    """Estimate for one arm: milliseconds per measured training step, steps per epoch, epochs, and seconds per trial."""

    arm: str
    step_ms: float
    steps: int
    epochs: int
    seconds: float


@dataclass(frozen=True)
class Outlook:
    """Power of a study for one true difference.

    Attributes:
        power: chance that the planned seeds find it.
        seeds: that find it in 80% of studies; None where 1,000 do not.
    """

    difference: float
    power: float
    seeds: int | None


@dataclass(frozen=True)
class Forecast:
    """All of that.

    Attributes:
        seconds: of all trials, one after the other, evaluation and starting left out.
        tests: of the first family, for which p-values are adjusted.
        smallest_p: that the sign-flip test can give.
        spread: standard deviation of paired differences, of finished trials; None where there are too few.
        problem: why no verdict can be reached; None where one can.
    """

    arms: tuple[Estimate, ...]
    trials: int
    seconds: float
    tests: int
    smallest_p: float
    spread: float | None
    outlooks: tuple[Outlook, ...]
    problem: str | None


def forecast(
    study: Study, registry: Registry, pilot: StudyFindings | None = None, spread: float | None = None
) -> Forecast:
    """Time a few training steps of every arm, and compute the power of the seeds.

    Args:
        study: within its budget.
        pilot: of trials that are finished, whose paired differences show their spread.
        spread: the standard deviation of paired differences, if it is known otherwise.

    Raises:
        ResNetLabError: an arm that cannot be built or trained.
    """
    images, classes = training_images(study, study.arms[0], registry)
    estimates = []
    for arm in study.arms:
        step, steps = seconds_of_step(arm, classes, registry), -(-images // arm.for_bench().batch)
        estimates.append(Estimate(arm.name, 1000 * step, steps, arm.train.epochs, step * steps * arm.train.epochs))
    tuning = len(tuning_trials(study)) / len(study.arms)
    seconds = sum(each.seconds for each in estimates) * (study.plan.seeds + tuning)
    tests, spread = len(study.families[0]), spread if spread is not None else _spread(pilot)
    return Forecast(
        arms=tuple(estimates),
        trials=len(study.arms) * study.plan.seeds + len(tuning_trials(study)),
        seconds=seconds,
        tests=tests,
        smallest_p=smallest_p(study.plan.seeds),
        spread=spread,
        outlooks=()
        if spread is None
        else tuple(
            Outlook(each, power(each, spread, study.plan.seeds, tests), seeds_needed(each, spread, tests))
            for each in DETECTABLE
        ),
        problem=None
        if study.plan.seeds >= FEWEST
        else f"{study.plan.seeds} seeds reach no verdict, whatever they find; take {FEWEST} at least",
    )


def _spread(pilot: StudyFindings | None) -> float | None:
    """Root mean square of the standard deviations of the first family's differences."""
    if pilot is None:
        return None
    spreads = [np.std(effect.differences, ddof=1) for effect in pilot.families[0] if effect.n >= 2]
    return float(np.sqrt(np.mean(np.square(spreads)))) if spreads else None
