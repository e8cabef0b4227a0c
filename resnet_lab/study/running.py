"""Carrying out a study: its arms checked and resolved, and every trial brought to its end."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from resnet_lab.core.errors import ConfigError, ResNetLabError
from resnet_lab.core.files import make_folder
from resnet_lab.core.images import ImageSet
from resnet_lab.core.locks import held
from resnet_lab.evaluation.opened_run import Sources
from resnet_lab.network.cost import measure
from resnet_lab.network.plugins import Registry
from resnet_lab.study.deciding import Decide, decided
from resnet_lab.study.design import Arm, Study
from resnet_lab.study.executing import Execute, StudyWatcher, one_by_one
from resnet_lab.study.resolution import ResolvedArm, ResolvedStudy, read_resolution, recovered, write_resolution
from resnet_lab.study.sequential import summary
from resnet_lab.study.trial_results import progress_of
from resnet_lab.study.trials import NoResultsError, StudyFolder, Trial, orphaned, trials_of, tuning_trials
from resnet_lab.train.determinism import reserve_workspace


def check_arms(study: Study, sources: Sources) -> ImageSet:
    """Build every arm on paper, and open the images, before anything runs.

    Raises:
        SpecError, PluginError, DataError: what cannot be, with the arm's name.
        ConfigError: a metric that there is not for so few classes.
    """
    images = sources.images(study.arms[0].data.source)
    if study.plan.metric == "top5_accuracy" and len(images.classes) <= 5:
        raise ConfigError(
            f"{images.name}: metric top5_accuracy is for more than 5 classes, and there are {len(images.classes)}; "
            "take another"
        )
    for arm in study.arms:
        try:
            measure(arm.spec.modified(num_classes=len(images.classes)), sources.registry)
        except ResNetLabError as error:
            raise type(error)(f"arm {arm.name!r}: {error}") from None
    return images


def run_study(
    study: Study,
    folder: StudyFolder,
    registry: Registry,
    watcher: StudyWatcher,
    *,
    execute: Execute = one_by_one,
    decide: Decide = decided,
    until: int | None = None,
) -> Study:
    """Bring every trial to its end, and give the study as it was run: with tuned rates and epochs by budget.

    A sequential study ends at the look that settles it. Finished trials are kept, interrupted ones are resumed. Several
    calls on one folder, in this or other processes, share the trials.

    Args:
        execute: where trials run: here, in several processes, or on a cluster.
        decide: what the design leaves open, where trials run.
        until: seeds beyond which another process decides what is run.

    Raises:
        ResNetLabError: what would fail in every trial.
        Interrupted: SIGINT or SIGTERM came.
    """
    reserve_workspace(any(arm.train.deterministic for arm in study.arms))  # before a trial that is not
    resolved = resolve(study, folder, registry, watcher.say, decide=decide)
    if untuned := _untuned(study, resolved):
        tuning = resolved.of(replace(study, arms=tuple(untuned)))
        trials = tuning_trials(tuning)
        watcher.say(f"tuning: {len(trials)} trials at seed {study.plan.first_seed}")
        execute(tuning, trials, folder, registry, watcher)
        resolved = _kept(study, folder, lambda: tuned(study, folder, known(study, folder), watcher.say))
        _require_tuned(study, resolved, folder)
    study = resolved.of(study)
    for trials in _stages(study, folder, watcher.say):
        if until is not None and max(trial.seed for trial in trials) >= study.plan.first_seed + until:
            break
        execute(study, trials, folder, registry, watcher)
    return study


def _stages(study: Study, folder: StudyFolder, say: Callable[[str], None]) -> Iterator[list[Trial]]:
    """Trials up to each look, those of arms that have stopped left out; all at once where there are no looks.

    Each process decides by the same finished trials, so that all decide alike.
    """
    if not study.plan.looks:
        yield trials_of(study)
        return
    while (progress := progress_of(study, folder)).running.any():
        say(summary(progress, study.plan.looks))
        running = {arm.name for arm, runs in zip(study.arms, progress.running, strict=True) if runs}
        trials = trials_of(study.first(progress.seeds))
        yield [trial for trial in trials if trial.arm.name in running or folder.outcome(trial) is not None]
    say(summary(progress, study.plan.looks))


def resolve(
    study: Study,
    folder: StudyFolder,
    registry: Registry,
    say: Callable[[str], None] = lambda text: None,
    *,
    decide: Decide = decided,
) -> ResolvedStudy:
    """Resolve what the design leaves open: as the folder has it, else decided now and kept there.

    Of several processes that come to it, one decides, and the others wait for it.

    Raises:
        ResNetLabError: what would fail in every trial.
    """
    return _kept(
        study, folder, lambda: completed(study, known(study, folder), lambda missing: decide(missing, registry, say))
    )


def completed(study: Study, there: ResolvedStudy, decide: Callable[[Study], Sequence[ResolvedArm]]) -> ResolvedStudy:
    """Resolution with the arms that it lacks, on which `decide` decides; one that it has is never decided again."""
    missing = [arm for arm in study.arms if there.arm(arm, study.plan) is None]
    found = decide(replace(study, arms=tuple(missing))) if missing else []
    return there.with_arms(study.plan, list(zip(missing, found, strict=True)))


def known(study: Study, folder: StudyFolder) -> ResolvedStudy:
    """Decisions already made, by the folder's file or else by its trials."""
    there = read_resolution(folder)
    return recovered(study, folder) if there is None else there


def as_run(study: Study, folder: StudyFolder) -> Study:
    """The study as `run_study` gives it, as far as the folder shows it; nothing is decided.

    Raises:
        NoResultsError: the learning rate of an arm is not tuned yet.
        RunError: a damaged file.
    """
    resolved = tuned(study, folder, known(study, folder))
    if study.plan.tune_lr:
        _require_tuned(study, resolved, folder)
    return resolved.of(study)


def orphan_remark(study: Study, folder: StudyFolder) -> str | None:
    """Remark on finished trials in the folder that are not of the study; None where there are none."""
    others = orphaned(tuned(study, folder, known(study, folder)).of(study), folder)
    if not others:
        return None
    return (
        f"{len(others)} orphaned trials in {folder.folder} do not belong to the study ({others[0]}, ...); "
        "they are kept and ignored"
    )


def tuned(
    study: Study, folder: StudyFolder, resolved: ResolvedStudy, say: Callable[[str], None] = lambda text: None
) -> ResolvedStudy:
    """Every arm that was tried with all rates with the one that was best on the validation part; once it has one, that.

    An arm that failed with all of them has the lowest.
    """
    found: list[tuple[Arm, ResolvedArm]] = []
    for arm in _untuned(study, resolved):
        each = resolved.arm(arm, study.plan)
        one = resolved.of(replace(study, arms=(arm,)))
        tried = [folder.outcome(trial) for trial in tuning_trials(one)]
        if each is None or any(outcome is None for outcome in tried):
            continue
        merits = {each.lr: each.validation for each in tried if each is not None and each.validation is not None}
        if not merits:
            say(f"{arm.name} failed with every learning rate that was tried, and is trained with the lowest of them")
        best = max(merits, key=lambda lr: (merits[lr][0], -merits[lr][1]), default=min(study.plan.tune_lr))
        found.append((arm, each.model_copy(update={"lr": best})))
    return resolved.with_arms(study.plan, found)


def _untuned(study: Study, resolved: ResolvedStudy) -> list[Arm]:
    return [arm for arm in study.arms if (each := resolved.arm(arm, study.plan)) is None or each.lr is None]


def _require_tuned(study: Study, resolved: ResolvedStudy, folder: StudyFolder) -> None:
    if untuned := _untuned(study, resolved):
        raise NoResultsError(
            f"{folder.folder}: the learning rate of arm {untuned[0].name!r} is not found yet; run the study"
        )


def _kept(study: Study, folder: StudyFolder, complete: Callable[[], ResolvedStudy]) -> ResolvedStudy:
    """Result of `complete`, written while no other process does."""
    make_folder(folder.folder)
    with held(folder.resolution.with_suffix(".lock")):
        before, resolved = read_resolution(folder), complete()
        if resolved != before:
            write_resolution(folder, resolved)
        return resolved
