"""Decisions that a study's design leaves open for each arm, made by its budget and the device that trains."""

import time
from collections.abc import Callable
from dataclasses import replace
from math import floor, inf
from statistics import fmean
from typing import TypeAlias

from resnet_lab.bench.timed_networks import NetworkCache, ready
from resnet_lab.core.errors import ResNetLabError
from resnet_lab.core.size_schedule import SizeSchedule
from resnet_lab.core.watcher import SILENT
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.data.preparation import prepare
from resnet_lab.device import choose
from resnet_lab.device.memory import is_out_of_memory
from resnet_lab.device.placement import wait_for
from resnet_lab.device.threads import threads_each, using_threads
from resnet_lab.evaluation.opened_run import Sources
from resnet_lab.network.cost import measure
from resnet_lab.network.plugins import Registry
from resnet_lab.study.design import Arm, Study
from resnet_lab.study.resolution import Compilation, ResolvedArm
from resnet_lab.study.trials import trials_of
from resnet_lab.train.config import require_sizes
from resnet_lab.train.deciding import decide

STEPS = 5
"""Steps of a pilot, of which the median counts."""

Decide: TypeAlias = Callable[[Study, Registry, Callable[[str], None]], list[ResolvedArm]]
"""Decides on every arm of a study; remarks for the user are passed to the last argument."""


def decided(
    study: Study,
    registry: Registry,
    say: Callable[[str], None],
    sharing: int = 1,
    sources: Sources | None = None,
    threads: int | None = None,
) -> list[ResolvedArm]:
    """Decide by the device of this process.

    Args:
        sharing: trials that are to run on it at one time.
        sources: of images, where some are open already.
        threads: of a trial; by default its share of those that this process may use.

    Raises:
        ResNetLabError: an arm that cannot be trained, with its name.
    """
    sources = sources or Sources(registry, fewest=2)
    found = []
    for arm in study.arms:
        number = arm.train.threads or threads or threads_each(sharing)
        try:
            with using_threads(number):
                resolved = _resolved(study, arm, sources, sharing).model_copy(update={"threads": number})
        except ResNetLabError as error:
            raise type(error)(f"arm {arm.name!r}: {error}") from None
        if has_open_epochs(study):
            say(f"{arm.name}: {resolved.epochs} epochs within the budget")
        if arm.train.compile == "auto" and resolved.compile != "off":
            say(f"{arm.name}: compiled, in all its trials")
        found.append(resolved)
    return found


def decided_eagerly(study: Study, sources: Sources) -> list[ResolvedArm]:
    """Decide as `decided`, but eager where the design leaves compilation open: for a look ahead."""
    eager = replace(study, arms=tuple(_with(arm, compile=_eager(arm)) for arm in study.arms))
    return decided(eager, sources.registry, lambda text: None, sources=sources)


def has_open_epochs(study: Study) -> bool:
    """Whether epochs follow from a budget of another kind."""
    budget = study.plan.budget
    return budget.steps is not None or budget.macs is not None or budget.seconds is not None


def depends_on_device(study: Study) -> bool:
    """Whether anything is left to the device."""
    return study.plan.budget.seconds is not None or any(
        "auto" in (arm.train.batch_size, arm.train.compile) for arm in study.arms
    )


def seconds_of_step(arm: Arm, classes: int, registry: Registry) -> float:
    """The median of a few training steps on noise; the mean over stages where sizes change between epochs."""
    return fmean(_seconds_of_step(each, classes, registry) for each in at_sizes(arm))


def at_sizes(arm: Arm) -> list[Arm]:
    """The arm at the size of each stage of its epochs."""
    schedule = SizeSchedule.of(arm.train.progressive_size, arm.spec.input_size, arm.train.epochs)
    return [replace(arm, spec=arm.spec.modified(input_size=size)) for size in schedule.sizes]


def _seconds_of_step(arm: Arm, classes: int, registry: Registry) -> float:
    call = ready(arm.for_bench(classes), "train", NetworkCache(registry), arm.train.device)
    device = choose(arm.train.device).device
    times = []
    for _ in range(STEPS):
        wait_for(device)
        start = time.perf_counter()
        call()
        wait_for(device)
        times.append(time.perf_counter() - start)
    return sorted(times)[STEPS // 2]


def training_images(study: Study, arm: Arm, sources: Sources) -> tuple[int, int]:
    """Images of the first block's training part, and classes."""
    images = sources.images(arm.data.source)
    image_format = ImageFormat(arm.spec.input_size, arm.spec.in_channels, arm.data.fit)
    data, config = study.data_at(arm, study.plan.first_seed), study.at(arm, study.plan.first_seed)
    prepared = prepare(images, image_format, data, config.seed_of("split"), SILENT)
    return len(prepared.positions("train")), len(images.classes)


def _resolved(study: Study, arm: Arm, sources: Sources, sharing: int) -> ResolvedArm:
    """Batch size first, on which all else depends; then epochs, and whether so many pay for compiling."""
    plan, left_open = study.plan, arm.train
    data = study.data_at(arm, plan.first_seed)
    if plan.budget.epochs is not None:
        arm = _with(arm, epochs=plan.budget.epochs)
    if left_open.batch_size == "auto":
        eager = study.at(arm, plan.first_seed, compile="off")
        arm = _with(arm, batch_size=decide(arm.spec, data, eager, sources.registry, sharing=sharing).batch_size)
    if has_open_epochs(study):
        arm = _with(arm, epochs=_epochs(study, _with(arm, compile=_eager(arm)), sources))
    require_sizes(arm.train, "within the budget")
    if left_open.compile == "auto":
        trainings = len(trials_of(study, [arm])) + len(plan.tune_lr)
        chosen = decide(arm.spec, data, study.at(arm, plan.first_seed), sources.registry, trainings=trainings)
        arm = _with(arm, compile="on" if chosen.is_compiled else "off")
        if chosen.is_compiled and plan.budget.seconds is not None:
            arm = _with(arm, epochs=_epochs(study, arm, sources))
    timed = arm.for_bench()
    return ResolvedArm(
        name=arm.name,
        epochs=arm.train.epochs,
        lr=None if plan.tune_lr else arm.train.lr,
        batch_size=timed.batch,
        compile=_eager(arm),
    )


def _epochs(study: Study, arm: Arm, sources: Sources) -> int:
    """Epochs that fit the budget, at least one."""
    budget, registry = study.plan.budget, sources.registry
    images, classes = training_images(study, arm, sources)
    steps = -(-images // arm.for_bench().batch)
    if budget.steps is not None:
        wanted = budget.steps / steps
    elif budget.macs is not None:
        networks = [each.spec.modified(num_classes=classes) for each in at_sizes(arm)]
        wanted = budget.macs * 1e12 / (images * fmean(measure(each, registry).macs for each in networks))
    else:
        wanted = (budget.seconds or 0.0) / (steps * _seconds_if_it_fits(arm, classes, registry))
    return max(1, floor(wanted))


def _seconds_if_it_fits(arm: Arm, classes: int, registry: Registry) -> float:
    """Seconds per step; infinite where the memory holds none: that its trials fail is their outcome."""
    try:
        return seconds_of_step(arm, classes, registry)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return inf


def _eager(arm: Arm) -> Compilation:
    """Compilation as asked for, else off."""
    return "off" if arm.train.compile == "auto" else arm.train.compile


def _with(arm: Arm, **changes: object) -> Arm:
    return replace(arm, train=arm.train.model_copy(update=changes))
