"""Cost and power of a study, before it runs."""

from dataclasses import dataclass

import numpy as np

from resnet_lab.evaluation.opened_run import Sources
from resnet_lab.study.deciding import seconds_of_step, training_images
from resnet_lab.study.design import Study
from resnet_lab.study.estimand import smallest_p
from resnet_lab.study.plan import FEWEST, Population
from resnet_lab.study.results import StudyFindings
from resnet_lab.study.statistics import power, seeds_needed
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
        kind: of the effect: `main`, `interaction` or `arm`; `any` where the spread was given.
        power: chance that the planned seeds find it.
        seeds: that find it in 80% of studies; None where 1,000 do not.
    """

    kind: str
    difference: float
    power: float
    seeds: int | None


@dataclass(frozen=True)
class KindSpread:
    """How paired differences of one kind of effect vary from seed to seed.

    Attributes:
        deviation: their standard deviation.
        covariance: of two seeds' differences, where verdicts are about new images; else 0.
    """

    kind: str
    deviation: float
    covariance: float = 0.0


@dataclass(frozen=True)
class Forecast:
    """All of that.

    Attributes:
        seconds: of all trials, one after the other, evaluation and starting left out.
        tests: of the first family, for which p-values are adjusted.
        smallest_p: that the sign-flip test can give.
        spreads: of the first family's kinds of effect, from finished trials; none where there are too few.
        problem: why no verdict can be reached; None where one can.
    """

    arms: tuple[Estimate, ...]
    trials: int
    seconds: float
    tests: int
    smallest_p: float
    spreads: tuple[KindSpread, ...]
    outlooks: tuple[Outlook, ...]
    problem: str | None


def forecast(
    study: Study, sources: Sources, pilot: StudyFindings | None = None, spread: float | None = None
) -> Forecast:
    """Time a few training steps of every arm, and compute the power of the seeds.

    Args:
        study: resolved.
        sources: of images, which are opened where they are not yet.
        pilot: of trials that are finished, whose paired differences show their spread.
        spread: the standard deviation of paired differences, if it is known otherwise.

    Raises:
        ResNetLabError: an arm that cannot be built or trained.
    """
    images, classes = training_images(study, study.arms[0], sources)
    estimates = []
    for arm in study.arms:
        step, steps = seconds_of_step(arm, classes, sources.registry), -(-images // arm.for_bench().batch)
        estimates.append(Estimate(arm.name, 1000 * step, steps, arm.train.epochs, step * steps * arm.train.epochs))
    tuning = len(tuning_trials(study)) / len(study.arms)
    seconds = sum(each.seconds for each in estimates) * (study.plan.seeds + tuning)
    tests = len(study.families[0])
    spreads = (KindSpread("any", spread),) if spread is not None else _spreads(pilot, study.plan.population)
    return Forecast(
        arms=tuple(estimates),
        trials=len(study.arms) * study.plan.seeds + len(tuning_trials(study)),
        seconds=seconds,
        tests=tests,
        smallest_p=smallest_p(study.plan.seeds),
        spreads=spreads,
        outlooks=tuple(
            Outlook(
                each.kind,
                difference,
                power(difference, each.deviation, study.plan.seeds, tests, each.covariance),
                seeds_needed(difference, each.deviation, tests, each.covariance),
            )
            for each in spreads
            for difference in DETECTABLE
        ),
        problem=None
        if study.plan.seeds >= FEWEST
        else f"{study.plan.seeds} seeds reach no verdict, whatever they find; take {FEWEST} at least",
    )


def _spreads(pilot: StudyFindings | None, population: Population) -> tuple[KindSpread, ...]:
    """Root mean square of the standard deviations, by kind: interactions vary more than main effects."""
    effects = [] if pilot is None else [effect for effect in pilot.families[0] if effect.n >= 2]
    found = []
    for kind in dict.fromkeys(effect.kind for effect in effects):
        alike = [effect for effect in effects if effect.kind == kind]
        deviations = [np.std(effect.differences, ddof=1) for effect in alike]
        shared = [effect.covariance or 0.0 for effect in alike] if population == "new" else [0.0]
        found.append(KindSpread(kind, float(np.sqrt(np.mean(np.square(deviations)))), float(np.mean(shared))))
    return tuple(found)
