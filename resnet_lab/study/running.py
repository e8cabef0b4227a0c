"""Carrying out a study: its arms checked, given their budget and tuned, and every trial brought to its end."""

import time
from collections.abc import Callable
from dataclasses import replace
from math import floor

from resnet_lab.bench.arms import Arm as Timed
from resnet_lab.bench.subjects import ready
from resnet_lab.core.errors import ConfigError, ResNetLabError
from resnet_lab.core.images import ImageSet
from resnet_lab.core.watcher import SILENT
from resnet_lab.data.preparation import prepare
from resnet_lab.data.sources import open_images
from resnet_lab.device import choose
from resnet_lab.network.cost import measure
from resnet_lab.network.plugins import Registry
from resnet_lab.study.design import Arm, Study
from resnet_lab.study.executing import Execute, StudyWatcher, one_by_one
from resnet_lab.study.trials import StudyFolder, Trial, trials_of, tuning_trials

STEPS = 5
"""Of a pilot, of which the median counts."""


def check_arms(study: Study, registry: Registry) -> ImageSet:
    """Build every arm on paper, and open the images, before anything runs.

    Raises:
        SpecError, PluginError, DataError: what cannot be, with the arm's name.
    """
    images = open_images(study.arms[0].data.source, registry)
    for arm in study.arms:
        try:
            measure(arm.spec.modified(num_classes=len(images.classes)), registry)
        except ResNetLabError as error:
            raise type(error)(f"arm {arm.name!r}: {error}") from None
    return images


def run_study(
    study: Study, folder: StudyFolder, registry: Registry, watcher: StudyWatcher, *, execute: Execute = one_by_one
) -> Study:
    """Bring every trial to its end, and give the study as it was run: with tuned rates and epochs by budget.

    Trials that are over are left as they are, interrupted ones go on. Several calls on one folder, in this or other
    processes, share the trials.

    Args:
        execute: where trials run: here, in several processes, or on a cluster.

    Raises:
        ResNetLabError: what would fail in every trial.
        Interrupted: SIGINT or SIGTERM came.
    """
    study = within_budget(study, registry, watcher.say)
    if study.plan.tune_lr:
        watcher.say(f"tuning: {len(tuning_trials(study))} trials at seed {study.plan.first_seed}")
        execute(study, tuning_trials(study), folder, registry, watcher)
        study = tuned(study, folder, watcher.say)
    execute(study, trials_of(study), folder, registry, watcher)
    return study


def as_run(study: Study, folder: StudyFolder, registry: Registry) -> Study:
    """The study as `run_study` gives it, of a folder where that is over; raises `ConfigError` where tuning is not."""
    study = within_budget(study, registry, lambda text: None)
    return tuned(study, folder) if study.plan.tune_lr else study


def tuned(study: Study, folder: StudyFolder, say: Callable[[str], None] = lambda text: None) -> Study:
    """Every arm with the learning rate that was best on the validation part; the lowest where it failed with all.

    Raises:
        ConfigError: an arm has not been tried with every rate.
    """
    arms = []
    for arm in study.arms:
        tried = [folder.outcome(Trial(arm, study.plan.first_seed, lr)) for lr in study.plan.tune_lr]
        if any(outcome is None for outcome in tried):
            raise ConfigError(f"{folder.folder}: the learning rate of arm {arm.name!r} is not found yet; run the study")
        merits = {each.lr: each.validation for each in tried if each is not None and each.validation is not None}
        if not merits:
            say(f"{arm.name} failed with every learning rate that was tried, and is trained with the lowest of them")
        best = max(merits, key=lambda lr: (merits[lr][0], -merits[lr][1]), default=min(study.plan.tune_lr))
        arms.append(replace(arm, train=arm.train.model_copy(update={"lr": best})))
    return replace(study, arms=tuple(arms))


def within_budget(study: Study, registry: Registry, say: Callable[[str], None]) -> Study:
    """Every arm with as many epochs as the budget gives it."""
    budget = study.plan.budget
    if budget.epochs is not None:
        return replace(study, arms=tuple(_with_epochs(arm, budget.epochs) for arm in study.arms))
    if budget.steps is None and budget.macs is None and budget.seconds is None:
        return study
    images, classes = training_images(study, registry)
    arms = []
    for arm in study.arms:
        if arm.train.batch_size == "auto":
            raise ConfigError(f"arm {arm.name!r}: a budget needs a batch size that is known, not auto")
        steps = -(-images // arm.train.batch_size)
        if budget.steps is not None:
            wanted = budget.steps / steps
        elif budget.macs is not None:
            wanted = budget.macs * 1e12 / (images * measure(arm.spec.modified(num_classes=classes), registry).macs)
        else:
            wanted = (budget.seconds or 0.0) / (steps * seconds_of_step(arm, classes, registry))
        arms.append(_with_epochs(arm, max(1, floor(wanted))))
        say(f"{arm.name}: {arms[-1].train.epochs} epochs within the budget")
    return replace(study, arms=tuple(arms))


def seconds_of_step(arm: Arm, classes: int, registry: Registry) -> float:
    """The median of a few training steps on noise."""
    batch = 32 if arm.train.batch_size == "auto" else arm.train.batch_size
    timed = Timed(arm.name, arm.spec.modified(num_classes=classes), batch, precision=arm.train.precision)
    call = ready(timed, "train", registry, arm.train.device)
    device = choose(arm.train.device).device
    times = []
    for _ in range(STEPS):
        start = time.perf_counter()
        call()
        if device.type == "cuda":
            import torch

            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return sorted(times)[STEPS // 2]


def training_images(study: Study, registry: Registry) -> tuple[int, int]:
    """Images of the first block's training part, and classes."""
    from resnet_lab.data.decoding import Form

    first = study.arms[0]
    images = open_images(first.data.source, registry)
    form = Form(first.spec.input_size, first.spec.in_channels, first.data.fit)
    prepared = prepare(images, form, first.data, study.at(first, study.plan.first_seed).seed_of("split"), SILENT)
    return len(prepared.positions("train")), len(images.classes)


def _with_epochs(arm: Arm, epochs: int) -> Arm:
    return replace(arm, train=arm.train.model_copy(update={"epochs": epochs}))
