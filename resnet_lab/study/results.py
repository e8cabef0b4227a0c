"""What a study found: effects with verdicts, arms with scores and times, every trial. Legend: S seeds, A arms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from resnet_lab.core.errors import ConfigError, DataError
from resnet_lab.evaluation.evaluate import stored
from resnet_lab.evaluation.metrics.headline import FiguresOf, resampled
from resnet_lab.evaluation.predictions import Predictions
from resnet_lab.network.cost import Cost, measure
from resnet_lab.network.plugins import Registry
from resnet_lab.study.contrasts import Contrast
from resnet_lab.study.costs import Costs, kept_costs
from resnet_lab.study.design import LOWER_IS_BETTER, Arm, Study
from resnet_lab.study.statistics import ALPHA, FEWEST, LEVEL, Effect, judge, smallest_p, t_interval
from resnet_lab.study.trials import Outcome, StudyFolder, Trial, strangers, trials_of

RESAMPLES = 1000

Resampled = NDArray[np.float64]
"""A score in each of B resamples of the test images, shape (B,)."""


@dataclass(frozen=True)
class ArmRow:
    """One arm over all its seeds.

    Attributes:
        mean, interval: of the metric over seeds, with Student's t; None without finished trials.
        seconds: mean of an epoch.
        time_ratio: geometric mean over seeds of its seconds an epoch by the baseline's; None where one is missing.
        problems: of trials that failed, by seed.
        diverged: seeds of those that diverged.
    """

    arm: Arm
    parameters: int
    macs: int
    n: int
    mean: float | None
    interval: tuple[float, float] | None
    seconds: float | None
    time_ratio: float | None
    problems: dict[int, str]
    diverged: tuple[int, ...]


@dataclass(frozen=True)
class Findings:
    """Everything that a study's trials say.

    Attributes:
        families: of effects, the first tested first; the last is each arm against the baseline.
        time_ratios: of each effect by name: how many times as long an epoch takes with the change.
        costs: that were measured of all arms; None where they were not.
        missing: trials that are not over.
        remarks: what a reader should know.
        predicted: on the test part, of each seed and arm; None where a trial failed or is not over.
    """

    study: Study
    outcomes: dict[tuple[str, int], Outcome]
    families: list[list[Effect]]
    arms: list[ArmRow]
    time_ratios: dict[str, float]
    costs: Costs | None
    missing: list[str]
    remarks: list[str]
    predicted: list[list[Predictions | None]]

    @property
    def effects(self) -> list[Effect]:
        """Of factors and their interactions; none in a study of named arms."""
        return self.families[0] if len(self.families) > 1 else []


def findings(study: Study, folder: StudyFolder, registry: Registry) -> Findings:
    """Read all outcomes and judge them.

    Raises:
        ConfigError: no trial has finished.
        RunError, CheckpointError: a damaged file.
    """
    outcomes = {
        (trial.arm.name, trial.seed): outcome
        for trial in trials_of(study)
        if (outcome := folder.outcome(trial)) is not None
    }
    problems = [outcome.problem for outcome in outcomes.values() if outcome.problem is not None]
    if outcomes and len(problems) == len(outcomes):
        raise ConfigError(
            f"{folder.folder}: all of the {len(problems)} trials that are over failed, the first since: {problems[0]}"
        )
    if not outcomes:
        raise ConfigError(f"{folder.folder}: no trial has finished; run the study first: `resnet-lab study run`")
    scores = _scores(study, outcomes)
    higher = study.plan.metric not in LOWER_IS_BETTER
    families = judge(scores, study.families, margin=study.plan.margin, higher_is_better=higher)
    predicted = _predictions(study, folder, outcomes)
    drawn = drawn_scores(predicted, study.plan.metric)
    families = [
        [
            replace(
                effect,
                image_interval=image_interval(contrast, drawn),
                diverged={
                    arm.name: seeds
                    for arm, weight in zip(study.arms, contrast.weights, strict=True)
                    if weight and (seeds := diverged_at(study, arm, outcomes))
                },
            )
            for effect, contrast in zip(effects, contrasts, strict=True)
        ]
        for effects, contrasts in zip(families, study.families, strict=True)
    ]
    seconds = _seconds(study, outcomes)
    classes = next((len(each.classes) for row in predicted for each in row if each is not None), 1)
    return Findings(
        study=study,
        outcomes=outcomes,
        families=families,
        arms=_rows(study, outcomes, scores, seconds, classes, registry),
        time_ratios=_time_ratios(study, seconds),
        costs=kept_costs(study.arms, classes, folder),
        missing=[trial.name for trial in trials_of(study) if (trial.arm.name, trial.seed) not in outcomes],
        remarks=_remarks(study, folder, outcomes),
        predicted=predicted,
    )


def diverged_at(study: Study, arm: Arm, outcomes: Mapping[tuple[str, int], Outcome]) -> tuple[int, ...]:
    """Seeds at which an arm diverged."""
    return tuple(
        seed for seed in study.seeds if (outcome := outcomes.get((arm.name, seed))) is not None and outcome.diverged
    )


def image_interval(contrast: Contrast, drawn: Sequence[Sequence[Resampled | None]]) -> tuple[float, float] | None:
    """Percentile interval of a contrast over seeds and, within each, over test images, both resampled.

    Args:
        drawn: of each seed and arm, as `drawn_scores` gives them.
    """
    needed = np.flatnonzero(contrast.weights).tolist()
    weights = contrast.weights[needed]
    blocks = []
    for row in drawn:
        whole = [each for number in needed if (each := row[number]) is not None]
        if len(whole) == len(needed):
            blocks.append(weights @ np.stack(whole))
    if len(blocks) < 2:
        return None
    differences = np.stack(blocks)  # (S, B)
    generator = np.random.default_rng(0)
    seeds = generator.integers(len(differences), size=(RESAMPLES, len(differences)))
    images = generator.integers(differences.shape[1], size=seeds.shape)
    low, high = np.quantile(differences[seeds, images].mean(1), ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(low), float(high)


def drawn_scores(predicted: Sequence[Sequence[Predictions | None]], metric: str) -> list[list[Resampled | None]]:
    """The metric in every resample of the test images, which all arms of a seed share.

    Raises:
        DataError: arms of one seed were tested on different images.
    """
    return [_drawn(row, metric) for row in predicted]


def _drawn(row: Sequence[Predictions | None], metric: str) -> list[Resampled | None]:
    """Of one seed's arms."""
    there = [each for each in row if each is not None]
    if any((each.paths, each.digests) != (there[0].paths, there[0].digests) for each in there):
        raise DataError("arms of one seed were tested on different images: the data changed while the study ran")
    figures = [None if each is None else FiguresOf(each.labels, each.probabilities, [metric]) for each in row]
    pieces: list[list[Resampled]] = [[] for _ in row]
    for weights in resampled(len(there[0]), RESAMPLES) if there else ():
        for figure, own in zip(figures, pieces, strict=True):
            if figure is not None:
                own.append(figure(weights)[metric])
    return [np.concatenate(own) if own else None for own in pieces]


def _scores(study: Study, outcomes: dict[tuple[str, int], Outcome]) -> NDArray[np.float64]:
    scores = np.full((len(study.seeds), len(study.arms)), np.nan)
    for row, seed in enumerate(study.seeds):
        for column, arm in enumerate(study.arms):
            outcome = outcomes.get((arm.name, seed))
            if outcome is not None and outcome.problem is None:
                if study.plan.metric not in outcome.scores:
                    raise ConfigError(f"metric {study.plan.metric} does not exist for so few classes; take another")
                scores[row, column] = outcome.scores[study.plan.metric]
    return scores


def _seconds(study: Study, outcomes: dict[tuple[str, int], Outcome]) -> NDArray[np.float64]:
    """Of an epoch, shape (S, A)."""
    found = np.full((len(study.seeds), len(study.arms)), np.nan)
    for row, seed in enumerate(study.seeds):
        for column, arm in enumerate(study.arms):
            outcome = outcomes.get((arm.name, seed))
            if outcome is not None and outcome.problem is None and outcome.epochs:
                found[row, column] = outcome.seconds / outcome.epochs
    return found


def _predictions(
    study: Study, folder: StudyFolder, outcomes: dict[tuple[str, int], Outcome]
) -> list[list[Predictions | None]]:
    return [
        [
            stored(folder.run(Trial(arm, seed)))
            if (outcome := outcomes.get((arm.name, seed))) is not None and outcome.problem is None
            else None
            for arm in study.arms
        ]
        for seed in study.seeds
    ]


def _rows(
    study: Study,
    outcomes: dict[tuple[str, int], Outcome],
    scores: NDArray[np.float64],
    seconds: NDArray[np.float64],
    classes: int,
    registry: Registry,
) -> list[ArmRow]:
    specs = [arm.spec.modified(num_classes=classes) for arm in study.arms]
    costs = {spec: measure(spec, registry) for spec in dict.fromkeys(specs)}  # arms may differ in the recipe alone
    return [_row(study, number, outcomes, scores, seconds, costs[spec]) for number, spec in enumerate(specs)]


def _row(
    study: Study,
    number: int,
    outcomes: dict[tuple[str, int], Outcome],
    scores: NDArray[np.float64],
    seconds: NDArray[np.float64],
    cost: Cost,
) -> ArmRow:
    arm = study.arms[number]
    own = scores[:, number][~np.isnan(scores[:, number])].tolist()
    times = seconds[:, number]
    ratios = np.log(times / seconds[:, 0])
    return ArmRow(
        arm=arm,
        parameters=cost.parameters,
        macs=cost.macs,
        n=len(own),
        mean=float(np.mean(own)) if own else None,
        interval=t_interval(own),
        seconds=None if np.isnan(times).all() else float(np.nanmean(times)),
        time_ratio=None if np.isnan(ratios).all() else float(np.exp(np.nanmean(ratios))),
        problems={
            seed: outcome.problem
            for seed in study.seeds
            if (outcome := outcomes.get((arm.name, seed))) is not None and outcome.problem is not None
        },
        diverged=diverged_at(study, arm, outcomes),
    )


def _time_ratios(study: Study, seconds: NDArray[np.float64]) -> dict[str, float]:
    """Main effects and arms on the logarithm of the time of an epoch, as factors."""
    found = {}
    for family in study.families:
        for contrast in family:
            needed = contrast.weights != 0
            values = np.log(seconds[:, needed]) @ contrast.weights[needed]
            if contrast.kind != "interaction" and not np.isnan(values).all():
                found[contrast.name] = float(np.exp(np.nanmean(values)))
    return found


def never_finished(study: Study, outcomes: Mapping[tuple[str, int], Outcome]) -> list[str]:
    """Names of arms that failed at every seed, without which no block of a factorial is whole."""
    return [
        arm.name
        for arm in study.arms
        if all(
            (outcome := outcomes.get((arm.name, seed))) is not None and outcome.problem is not None
            for seed in study.seeds
        )
    ]


def divergence(arm: str, seeds: Sequence[int]) -> str:
    """Where an arm diverged, in words."""
    return f"{arm} diverged at seed{'s' if len(seeds) != 1 else ''} {', '.join(map(str, seeds))}"


def _remarks(study: Study, folder: StudyFolder, outcomes: dict[tuple[str, int], Outcome]) -> list[str]:
    found = []
    varied = ", ".join(
        {"init": "initial weights", "split": "split", "order": "order"}[what] for what in study.plan.vary
    )
    found.append(f"from seed to seed differ: {varied}")
    for arm in study.arms:
        if seeds := diverged_at(study, arm, outcomes):
            left = "" if len(seeds) == study.plan.seeds else "; it is compared at the other seeds alone"
            found.append(f"{divergence(arm.name, seeds)} of {study.plan.seeds}{left}")
    if study.plan.factors and (hopeless := never_finished(study, outcomes)):
        found.append(f"no effect of a factor can be told, since an arm failed at every seed: {', '.join(hopeless)}")
    if study.plan.seeds < FEWEST:
        found.append(f"{study.plan.seeds} seeds are too few for a verdict ({FEWEST} at least): this is exploratory")
    else:
        found.append(
            f"with {study.plan.seeds} seeds the sign-flip test alone can give p = {smallest_p(study.plan.seeds):.2g} "
            f"at least; verdicts rest on t tests with Holm's adjustment at {ALPHA:.0%}"
        )
    others = strangers(study, folder)
    if others:
        found.append(
            f"{len(others)} trials in the folder are of another design and count for nothing: {', '.join(others[:3])}"
        )
    versions = {tuple(sorted(outcome.versions.items())) for outcome in outcomes.values() if outcome.versions}
    if len(versions) > 1:
        common = frozenset.intersection(*map(frozenset, versions))
        differing = sorted({name for each in versions for name, _ in frozenset(each) - common})
        found.append(f"trials were run with different versions of {', '.join(differing)}: do not mix them in a verdict")
    if study.plan.budget.macs or study.plan.budget.seconds:
        found.append("arms had the same budget, and so different numbers of epochs")
    return found
