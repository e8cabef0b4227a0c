"""`resnet_lab.study`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from signal import SIGINT
from typing import Any

from resnet_lab.cli.study_design import Design, Factors
from resnet_lab.core.errors import ConfigError
from resnet_lab.core.files import refuse_other
from resnet_lab.core.records import repr_of
from resnet_lab.core.run_folder import default_folder
from resnet_lab.evaluation.opened_run import Sources
from resnet_lab.interactive.progress import watching_study, watching_training
from resnet_lab.interactive.results import Study
from resnet_lab.interactive.settings import SLOTS, levels, settings_of
from resnet_lab.network.plugins import Registry, default_registry, require_files
from resnet_lab.study.blocks import with_blocks
from resnet_lab.study.costs import measure_costs
from resnet_lab.study.design import Study as StudyDesign
from resnet_lab.study.executing import Executor, local
from resnet_lab.study.remarks import claim, scored_at
from resnet_lab.study.running import check_arms, orphan_remark, run_study
from resnet_lab.study.tracked import tracking_problems
from resnet_lab.study.trials import StudyFolder, trials_of
from resnet_lab.train.interruption import Interrupted
from resnet_lab.train.tracking import Track


def study(
    design: str | Path | None = None,
    *,
    data: str | Path | None = None,
    model: str | Sequence[str] | None = None,
    depth: int | Sequence[int] | None = None,
    factors: Mapping[str, Sequence[Any]] | None = None,
    out: str | Path | None = None,
    processes: int = 1,
    bench: bool | None = None,
    track: str | Sequence[str] = (),
    quiet: bool = False,
    **settings: Any,
) -> Study:
    """Train every arm at every seed, as `resnet-lab study run` does; called again with the same `out`, it resumes.

    Args:
        design: a study file, or a name of `resnet-lab study list`; without one, the other arguments define the study.
        data: a folder of class folders, or any other source; `digits`, in the package, by default.
        model, depth: networks; a factor if there are several.
        factors: levels of any other value of a recipe: `{"train.lr": [1e-3, 1e-2]}`.
        out: the study folder; `studies/<time>-<name>` by default.
        processes: trials at a time.
        bench: whether to measure the arms' costs after training; by default as the study was started, at first True.
        track: trackers, such as `"mlflow"`.
        quiet: whether to show no progress.
        settings: every other option of the command by the name of its field: parts with their levels, the baseline
            first, such as `act=["relu", "gelu"]`, `seeds=6`, `epochs=8`; see `Plan`, `TrainConfig` and `DataConfig`.

    Raises:
        ResNetLabError: as the command refuses.
        KeyboardInterrupt: after the state of the last step is saved.
    """
    if not isinstance(processes, int) or processes < 1:
        raise ConfigError(f"resnet_lab.study: processes must be at least 1, got {processes!r}")
    if factors is not None and not isinstance(factors, Mapping):
        raise ConfigError(
            f"resnet_lab.study: factors must be a dictionary of levels, such as {{'train.lr': [0.001, 0.01]}}, got "
            f"{repr_of(factors)}"
        )
    designed = _design(design, data, model, depth, factors, settings)
    is_resumed = not designed.options and out is not None and StudyFolder(Path(out)).design.is_file()
    chosen = StudyFolder(Path(str(out))).study() if is_resumed else designed.study()
    folder = StudyFolder(default_folder("studies", chosen.plan.name) if out is None else Path(out))
    refuse_other(folder.folder, folder.design.name)
    registry, tracked = default_registry(), Track.parse([track] if isinstance(track, str) else track)
    require_files(folder.plugin_files(), registry, str(folder.folder))
    tracked = replace(tracked, study=folder.folder.resolve().name)
    tracked.require_made(registry)
    try:
        chosen, classes = _run(chosen, folder, registry, local(processes, tracked), bench=bench, quiet=quiet)
    except Interrupted as error:
        if error.signal == SIGINT:
            raise KeyboardInterrupt(f"call resnet_lab.study again with out={str(folder.folder)!r} to resume") from None
        raise
    if folder.measures_costs():
        with watching_training(quiet=quiet, phases=True) as watcher:
            if (problem := measure_costs(chosen.arms, classes, folder, registry, watcher)) is not None:
                watcher.say(problem)
    return Study(folder.folder)


def _design(
    file: str | Path | None,
    data: str | Path | None,
    model: str | Sequence[str] | None,
    depth: int | Sequence[int] | None,
    factors: Mapping[str, Sequence[Any]] | None,
    settings: Mapping[str, Any],
) -> Design:
    given = settings_of(study, settings, data)
    return Design(
        file=None if file is None else Path(file),
        factors=Factors(
            model=None if model is None else levels(model),
            depth=None if depth is None else levels(depth),
            components={slot: levels(given.network[slot]) for slot in SLOTS if slot in given.network},
            others=[f"{key}={levels(values)}" for key, values in (factors or {}).items()] or None,
        ),
        size=given.network.get("size"),
        plan=given.plan,
        data=given.data,
        train=given.train,
    )


def _run(
    chosen: StudyDesign,
    folder: StudyFolder,
    registry: Registry,
    executor: Executor,
    *,
    bench: bool | None,
    quiet: bool,
) -> tuple[StudyDesign, int]:
    """The study as it was run, and the number of classes."""
    images = check_arms(chosen, Sources(registry, fewest=2))
    before = folder.study() if folder.design.is_file() else None
    with watching_study(chosen, quiet=quiet) as watcher:
        chosen = with_blocks(chosen, images, before, watcher.say)
        for remark in (orphan_remark(chosen, folder), claim(chosen), scored_at(chosen.plan)):
            if remark is not None:
                watcher.say(remark)
        folder.note(chosen, registry.files(), bench=bench)
        done = run_study(chosen, folder, registry, watcher, execute=executor.execute, decide=executor.decide)
        for problem in tracking_problems(trials_of(done), folder):
            watcher.say(problem)
    return done, len(images.classes)
