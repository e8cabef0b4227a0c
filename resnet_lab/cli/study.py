"""`resnet-lab study`."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resnet_lab.cli import options, output, study_executors
from resnet_lab.cli.bundles import command
from resnet_lab.cli.root import app
from resnet_lab.cli.study_design import Design
from resnet_lab.core.children import end_with
from resnet_lab.core.errors import ConfigError
from resnet_lab.core.wording import shell_word

if TYPE_CHECKING:
    from resnet_lab.network.plugins import Registry
    from resnet_lab.study.design import Study
    from resnet_lab.study.trials import StudyFolder

study: typer.Typer = typer.Typer(
    no_args_is_help=True, help="Compare arms over paired seeds: effects, intervals and verdicts."
)
app.add_typer(study, name="study")


@command(
    study, epilog="Example: `resnet-lab study run --act relu,gelu --conv dense,depthwise --attn none,cbam --seeds 6`"
)
def run(
    *,
    design: Design,
    where: study_executors.Where,
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="FOLDER", help="Resume a study.", show_default=False)
    ] = None,
    track: options.Tracked = None,
    bench: Annotated[
        bool | None,
        typer.Option(
            "--bench/--no-bench",
            help="Measure the arms' costs after training.",
            show_default="--bench, or as the study was started",
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", hidden=True)] = False,
    parent: Annotated[int | None, typer.Option("--parent", hidden=True)] = None,
    until: Annotated[int | None, typer.Option("--until", hidden=True)] = None,
    out: Annotated[Path | None, options.written("--out", "FOLDER", "The study folder.", "studies/...")] = None,
    no_plugin: options.NoPlugin = None,
    plugin: options.Plugin = None,
    json: options.JSON = False,
) -> None:
    """Train every arm at every seed, and report the results. Interrupted studies can be resumed.

    Several calls of `study run --resume FOLDER`, on one machine or on several that share the folder, share the trials.
    """
    from resnet_lab.core.files import refuse_other
    from resnet_lab.evaluation.opened_run import Sources
    from resnet_lab.network.plugins import require_files
    from resnet_lab.study.blocks import with_blocks
    from resnet_lab.study.remarks import claim, scored_at
    from resnet_lab.study.running import check_arms, orphan_remark, run_study
    from resnet_lab.study.tracked import tracking_problems
    from resnet_lab.study.trials import StudyFolder, trials_of
    from resnet_lab.train.interruption import Interrupted
    from resnet_lab.train.tracking import Track

    if parent is not None:
        end_with(parent)
    registry = options.load_registry(no_plugin)
    if resume is not None:
        if given := [*design.options, *(["--out"] if out else [])]:
            raise ConfigError(f"{given[0]} cannot be combined with --resume, which keeps the design")
        folder = StudyFolder(resume)
        require_files(folder.plugin_files(), registry, str(resume))
        chosen = folder.study()
    else:
        chosen = design.study()
        folder = StudyFolder(out or Path("studies") / f"{datetime.now():%Y%m%d-%H%M%S}-{chosen.plan.name}")
        refuse_other(folder.folder, folder.design.name)
    tracked = Track.parse(track or (), folder.folder.resolve().name)
    tracked.require_made(registry)
    classes = 0
    if parent is None:  # which has checked, where there is one
        images = check_arms(chosen, Sources(registry, fewest=2))
        classes = len(images.classes)
        if resume is None:
            before = folder.study() if folder.design.is_file() else None
            chosen = with_blocks(chosen, images, before, lambda text: None if quiet or json else output.remark(text))
    if (orphans := orphan_remark(chosen, folder)) is not None:
        output.remark(orphans)
    if not (quiet or json):
        output.remark(claim(chosen))
        output.remark(scored_at(chosen.plan))
    from resnet_lab.cli.study_screen import watching

    try:
        with (
            where.executing(chosen, classes, registry, tracked) as executor,
            watching(chosen, quiet=quiet or json) as watcher,
        ):
            if resume is None:
                folder.note(chosen, registry.files(), bench=bench)
            done = run_study(
                chosen, folder, registry, watcher, execute=executor.execute, decide=executor.decide, until=until
            )
    except Interrupted as error:
        output.remark(f"{error}; resume with `resnet-lab study run --resume {shell_word(folder.folder)}`")
        raise typer.Exit(128 + error.signal) from None
    if quiet:
        return
    for problem in tracking_problems(trials_of(done), folder) if tracked.trackers else ():
        output.remark(problem)
    if folder.measures_costs() if bench is None else bench:
        _measure_costs(done, classes, folder, registry, json)
    _tell(done, folder, registry, json)


@command(study, epilog="Example: `resnet-lab study plan --attn none,cbam --seeds 6 --data paintings/`")
def plan(
    *,
    design: Design,
    spread: Annotated[
        float | None,
        typer.Option("--spread", help="Standard deviation of paired differences, if known.", show_default=False),
    ] = None,
    pilot: Annotated[
        Path | None,
        typer.Option("--pilot", metavar="FOLDER", help="A study folder to estimate it from.", show_default=False),
    ] = None,
    no_plugin: options.NoPlugin = None,
    plugin: options.Plugin = None,
    json: options.JSON = False,
) -> None:
    """Estimate the time of a study from a few measured steps, and the seeds needed to detect a difference."""
    from dataclasses import asdict

    from resnet_lab.evaluation.opened_run import Sources
    from resnet_lab.network.plugins import require_files
    from resnet_lab.study.blocks import with_blocks
    from resnet_lab.study.deciding import decided_eagerly
    from resnet_lab.study.endpoint_comparison import EndpointOutlook, compare_endpoints
    from resnet_lab.study.planning import forecast
    from resnet_lab.study.resolution import ResolvedStudy
    from resnet_lab.study.results import findings
    from resnet_lab.study.running import as_run, check_arms, completed, known
    from resnet_lab.study.trials import StudyFolder

    registry = options.load_registry(no_plugin)
    chosen = design.study()
    sources = Sources(registry, fewest=2)
    chosen = with_blocks(chosen, check_arms(chosen, sources))
    finished, there = None, ResolvedStudy()
    endpoints: tuple[EndpointOutlook, ...] = ()
    if pilot is not None:
        folder = StudyFolder(pilot)
        require_files(folder.plugin_files(), registry, str(pilot))
        finished, there = findings(as_run(folder.study(), folder), folder, registry), known(chosen, folder)
        endpoints = compare_endpoints(finished, folder, chosen.plan)
    resolved = completed(chosen, there, lambda missing: decided_eagerly(missing, sources)).of(chosen)
    expected = forecast(resolved, sources, finished, spread)
    if json:
        output.print_json({**asdict(expected), "endpoints": [asdict(each) for each in endpoints]})
        return
    from resnet_lab.cli.study_screen import print_endpoints, print_forecast

    print_forecast(chosen, expected)
    print_endpoints(endpoints)


@command(study, "list", epilog="Example: `resnet-lab study list`, then `resnet-lab study run digits-parts`")
def list_studies(json: options.JSON = False) -> None:
    """List the built-in studies, which `study run` takes by name."""
    from resnet_lab.study.design import read_study
    from resnet_lab.study.design_files import shipped

    found = {name: read_study(path) for name, path in shipped().items()}
    if json:
        rows = [
            {"name": name, "description": each.plan.description, "arms": len(each.arms), "seeds": each.plan.seeds}
            for name, each in found.items()
        ]
        output.print_json({"studies": rows})
        return
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("name", no_wrap=True)
    table.add_column("what")
    table.add_column("arms", justify="right")
    table.add_column("seeds", justify="right")
    for name, each in found.items():
        table.add_row(name, output.text(each.plan.description), str(len(each.arms)), str(each.plan.seeds))
    output.console().print(table)


@command(study, epilog="Example: `resnet-lab study show digits-parts > mine.toml`, then `study run mine.toml`")
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A study of `study list`.", show_default=False)],
    json: options.JSON = False,
) -> None:
    """Print a built-in study as TOML, to save and edit."""
    from resnet_lab.study.design_files import read_tables, shipped

    tables = read_tables(Path(name))
    if json:
        output.print_json(tables)
        return
    output.whole(shipped().get(name, Path(name)).read_text(encoding="utf-8"))


def _measure_costs(chosen: "Study", classes: int, folder: "StudyFolder", registry: "Registry", json: bool) -> None:
    from resnet_lab.cli.progress import Screen
    from resnet_lab.study.costs import measure_costs

    try:
        with Screen(phases=not json) as screen:
            problem = measure_costs(chosen.arms, classes, folder, registry, screen)
    except KeyboardInterrupt:
        output.remark(
            "the trials are finished and their costs are not measured; resume with `resnet-lab study run --resume "
            f"{shell_word(folder.folder)}`, or leave the costs out with --no-bench"
        )
        raise
    if problem is not None:
        output.remark(problem)


def _tell(chosen: "Study", folder: "StudyFolder", registry: "Registry", json: bool) -> None:
    from resnet_lab.cli.study_screen import show_findings
    from resnet_lab.study.results import findings

    show_findings(findings(chosen, folder, registry), json)
    if not json:
        output.line(
            f"study folder: {folder.folder}; `resnet-lab study report {shell_word(folder.folder)}` writes it as a page"
        )
