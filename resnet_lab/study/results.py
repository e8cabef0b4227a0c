"""Results of a study: effects with verdicts, arms with scores and times, every trial. Legend: S seeds, A arms."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from resnet_lab.core.records import shortened
from resnet_lab.core.wording import shell_word
from resnet_lab.evaluation.predictions import Predictions
from resnet_lab.network.cost import NetworkCost, measure
from resnet_lab.network.plugins import Registry
from resnet_lab.study.anytime import at_any_time
from resnet_lab.study.contrasts import Contrast
from resnet_lab.study.costs import Costs, kept_costs
from resnet_lab.study.declaration import DesignChange, changes
from resnet_lab.study.design import Arm, Study
from resnet_lab.study.estimand import SeedImages, over_seeds
from resnet_lab.study.grid import Grid
from resnet_lab.study.outcome import Outcome
from resnet_lab.study.plan import LOWER_IS_BETTER, Population
from resnet_lab.study.planned_looks import continued
from resnet_lab.study.remarks import diverged_at, remarks
from resnet_lab.study.spread import collapses, score_of_guessing
from resnet_lab.study.statistics import ALPHA, Effect, estimate, with_verdicts
from resnet_lab.study.tested import classes_of_trials
from resnet_lab.study.trial_results import finished_of, progress_of, read_trials, scores_of
from resnet_lab.study.trials import NoResultsError, StudyFolder


@dataclass(frozen=True)
class ArmRow:
    """One arm over all its seeds.

    Attributes:
        n: trials that finished.
        mean, interval: of the metric over seeds, for the population of the verdicts; None without scores.
        median: of the same scores.
        worst: score of the worst seed, and that seed.
        seconds: mean of an epoch.
        time_ratio: geometric mean over seeds of its seconds per epoch over the baseline's; None where one is missing.
        problems: of trials that failed, by seed.
        diverged: seeds of those that diverged.
        collapsed: seeds of those that finished far below the others, or at chance level (`spread.collapses`).
        stopped: look of a sequential study after which no effect needed it, from 1; None while one does.
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
    median: float | None
    worst: tuple[float, int] | None
    collapsed: tuple[int, ...]
    stopped: int | None = None


@dataclass(frozen=True)
class StudyFindings:
    """All results of a study's trials.

    Attributes:
        outcomes: of the finished trials, including failed ones.
        families: of effects, the first tested first; the last is each arm against the baseline.
        time_ratios: of each effect by name: how many times as long an epoch takes with the change.
        costs: that were measured of all arms; None where they were not.
        missing: trials that have not finished.
        remarks: what a reader should know.
        predicted: on the test part at the best epoch, of the trials that finished.
        changes: of the design since it was declared.
    """

    study: Study
    outcomes: Grid[Outcome]
    families: list[list[Effect]]
    arms: list[ArmRow]
    time_ratios: dict[str, float]
    costs: Costs | None
    missing: list[str]
    remarks: list[str]
    predicted: Grid[Predictions]
    changes: list[DesignChange]

    @property
    def effects(self) -> list[Effect]:
        """Effects of factors and their interactions; none in a study of named arms."""
        return self.families[0] if len(self.families) > 1 else []

    @property
    def finished(self) -> Grid[Outcome]:
        """Trials that did not fail."""
        return finished_of(self.outcomes)

    @property
    def planned(self) -> int:
        """Trials that have finished or failed, and those that are missing."""
        return len(self.outcomes.values()) + len(self.missing)

    @property
    def scores(self) -> NDArray[np.float64]:
        """Scores in the study's metric, as they are judged: NaN where a trial is left out; shape (S, A)."""
        return scores_of(self.outcomes, self.study.plan, self.predicted)


def findings(study: Study, folder: StudyFolder, registry: Registry) -> StudyFindings:
    """Read all outcomes and judge them.

    Raises:
        NoResultsError: no trial has finished, or all that have failed.
        RunError, CheckpointError: a damaged file.
    """
    progress = progress_of(study, folder) if study.plan.looks else None
    if progress is not None:
        study = study.first(progress.seeds)
    read = read_trials(study, folder)
    outcomes, predicted, scores, failed, images = (
        read.outcomes, read.predicted, read.scores, read.failed, read.images,
    )  # fmt: skip
    _require_finished(outcomes, folder)
    names, plan, population = list(outcomes.arms), study.plan, study.plan.population
    finished, seconds = finished_of(outcomes), _seconds(finished_of(outcomes))
    higher = plan.metric not in LOWER_IS_BETTER
    recorded = classes_of_trials(predicted, read.trials, folder)
    classes = recorded or study.arms[0].spec.head.num_classes
    families = progress.families if progress is not None else _judged(study, scores, images, failed & np.isnan(scores))
    own_scores = np.where(failed, np.nan, scores)
    collapsed = collapses(own_scores, score_of_guessing(plan.metric, classes), higher_is_better=higher)
    collapsed_at = _at_seeds(collapsed, outcomes)
    continuation = continued(folder.declared(), plan)
    if continuation is not None:
        families = [[replace(effect, verdict="exploratory") for effect in effects] for effects in families]
    families = _with_trouble(families, study, outcomes, failed, collapsed_at)
    known = remarks(study, folder, outcomes, collapsed_at, [each for family in families for each in family])
    if continuation is not None:
        known.insert(0, continuation)
    costs = kept_costs(study.arms, classes, folder)
    if not recorded:
        known.append(f"no trial records its classes: parameters and MACs are those of a head with {classes} classes")
    if population == "new" and len(read.scored.values()) < len(finished.values()):
        known.append(_without_predictions(images))
    if costs is None and folder.bench.exists():
        known.append(
            f"the costs in {folder.bench.name} are of other arms, or were timed otherwise than these are trained, and "
            f"are ignored; `resnet-lab study run --resume {shell_word(folder.folder)}` measures them again"
        )
    return StudyFindings(
        study=study,
        outcomes=outcomes,
        families=families,
        arms=_rows(
            study,
            outcomes,
            _Scores(scores, images, population, higher),
            seconds,
            classes,
            registry,
            collapsed_at,
            {} if progress is None else progress.stopped,
        ),
        time_ratios=_time_ratios(study, seconds),
        costs=costs,
        missing=[
            read.trials[arm, seed].name
            for arm, seed, outcome in outcomes.items()
            if outcome is None and (progress is None or progress.running[names.index(arm)])
        ],
        remarks=known,
        predicted=predicted,
        changes=changes(folder.declared(), study),
    )


def _with_trouble(
    families: list[list[Effect]],
    study: Study,
    outcomes: Grid[Outcome],
    failed: NDArray[np.bool_],
    collapsed: Mapping[str, tuple[int, ...]],
) -> list[list[Effect]]:
    """Effects with the seeds at which arms that they compare diverged, failed or collapsed."""
    diverged = {arm: diverged_at(arm, outcomes) for arm in outcomes.arms}
    failed_at = _at_seeds(failed, outcomes)

    def of(contrast: Contrast, arms: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        needed = zip(outcomes.arms, contrast.weights, strict=True)
        return {arm: arms[arm] for arm, weight in needed if weight and arms[arm]}

    return [
        [
            replace(
                effect,
                diverged=of(contrast, diverged),
                failed=of(contrast, failed_at),
                collapsed=of(contrast, collapsed),
            )
            for effect, contrast in zip(effects, contrasts, strict=True)
        ]
        for effects, contrasts in zip(families, study.families, strict=True)
    ]


def _without_predictions(images: SeedImages) -> str:
    """Remark on what intervals for new images rest on where predictions are gone."""
    if images.ratio is None:
        return (
            "predictions of some seeds are gone, so it is unknown how far verdicts that need them hold for new images: "
            "these are about the images that were tested"
        )
    return (
        "predictions of some seeds are gone: intervals for new images follow Nadeau and Bengio 2003 there, with "
        f"{images.ratio:.3g} test images per training image"
    )


def _judged(
    study: Study, scores: NDArray[np.float64], images: SeedImages, failed: NDArray[np.bool_]
) -> list[list[Effect]]:
    """Effects from all seeds, whose number was planned, or with `more_seeds` was not."""
    plan, higher = study.plan, study.plan.metric not in LOWER_IS_BETTER
    found = estimate(
        scores,
        study.families,
        higher_is_better=higher,
        population=plan.population,
        images=images,
        failed=failed,
        seeds=study.seeds,
    )
    if plan.more_seeds:
        found = [[at_any_time(effect, len(effects)) for effect in effects] for effects in found]
    return with_verdicts(found, study.families, plan.margin, higher_is_better=higher)


def _require_finished(outcomes: Grid[Outcome], folder: StudyFolder) -> None:
    problems = [outcome.problem for outcome in outcomes.values()]
    if not problems:
        raise NoResultsError(f"{folder.folder}: no trial has finished; run the study first: `resnet-lab study run`")
    if problems[0] is not None and None not in problems:
        raise NoResultsError(
            f"{folder.folder}: all of the {len(problems)} finished trials failed, the first with: "
            f"{shortened(problems[0], 500)}",
            is_final=len(problems) == len(outcomes.seeds) * len(outcomes.arms),
        )


def _at_seeds(flags: NDArray[np.bool_], outcomes: Grid[Outcome]) -> dict[str, tuple[int, ...]]:
    """Seeds of the flags (S, A) that are set, by arm."""
    return {
        arm: tuple(seed for seed, is_set in zip(outcomes.seeds, column, strict=True) if is_set)
        for arm, column in zip(outcomes.arms, flags.T.tolist(), strict=True)
    }


def _seconds(finished: Grid[Outcome]) -> NDArray[np.float64]:
    """Seconds per epoch, shape (S, A)."""
    return finished.numbers(lambda outcome: outcome.seconds / outcome.epochs if outcome.epochs else np.nan)


@dataclass(frozen=True)
class _Scores:
    """Scores of seeds and arms (S, A), with what their intervals need."""

    values: NDArray[np.float64]
    images: SeedImages
    population: Population
    higher_is_better: bool

    def interval(self, number: int) -> tuple[float, float] | None:
        """Interval of an arm's mean."""
        whole = ~np.isnan(self.values[:, number])
        own = self.values[whole, number].tolist()
        new = self.images.new(own, np.eye(self.values.shape[1])[number], whole) if own else None
        chosen = new if self.population == "new" and new is not None else over_seeds(own)
        return None if chosen is None else chosen.interval(ALPHA)


def _rows(
    study: Study,
    outcomes: Grid[Outcome],
    scores: _Scores,
    seconds: NDArray[np.float64],
    classes: int,
    registry: Registry,
    collapsed: Mapping[str, tuple[int, ...]],
    stopped: Mapping[int, int],
) -> list[ArmRow]:
    specs = [arm.spec.modified(num_classes=classes) for arm in study.arms]
    costs = {spec: measure(spec, registry) for spec in dict.fromkeys(specs)}  # arms may differ in the recipe alone
    ratios = np.log(seconds / seconds[:, :1])
    rows = [
        _row(arm, outcomes, scores, number, seconds[:, number], ratios[:, number], costs[spec], collapsed[arm.name])
        for number, (arm, spec) in enumerate(zip(study.arms, specs, strict=True))
    ]
    return [replace(row, stopped=stopped.get(number)) for number, row in enumerate(rows)]


def _row(
    arm: Arm,
    outcomes: Grid[Outcome],
    scores: _Scores,
    number: int,
    seconds: NDArray[np.float64],
    ratios: NDArray[np.float64],
    cost: NetworkCost,
    collapsed: tuple[int, ...],
) -> ArmRow:
    by_seed = {
        seed: score
        for seed, score in zip(outcomes.seeds, scores.values[:, number].tolist(), strict=True)
        if not np.isnan(score)
    }
    own = list(by_seed.values())
    worst = (min if scores.higher_is_better else max)(by_seed, key=by_seed.__getitem__, default=None)
    return ArmRow(
        arm=arm,
        parameters=cost.parameters,
        macs=cost.macs,
        n=len(finished_of(outcomes).of_arm(arm.name)),
        mean=float(np.mean(own)) if own else None,
        interval=scores.interval(number),
        seconds=None if np.isnan(seconds).all() else float(np.nanmean(seconds)),
        time_ratio=None if np.isnan(ratios).all() else float(np.exp(np.nanmean(ratios))),
        problems=outcomes.map(lambda outcome: outcome.problem).of_arm(arm.name),
        diverged=diverged_at(arm.name, outcomes),
        median=float(np.median(own)) if own else None,
        worst=None if worst is None else (by_seed[worst], worst),
        collapsed=collapsed,
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
