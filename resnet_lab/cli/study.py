"""`resnet-lab study`."""

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resnet_lab.cli import app, options, study_executors
from resnet_lab.errors import ConfigError
from resnet_lab.plugin_files import recall_files

if TYPE_CHECKING:
    from resnet_lab.plugins import Registry
    from resnet_lab.study.design import Study
    from resnet_lab.study.results import Findings
    from resnet_lab.study.trials import StudyFolder

study: typer.Typer = typer.Typer(
    no_args_is_help=True, help="Arms times seeds, paired: does a change help, by how much, how sure?"
)
app.add_typer(study, name="study")

DESIGN = "Design"
File = Annotated[
    Path | None,
    typer.Argument(
        metavar="STUDY", help="A study file, or a name of `study list`; without one, the options say it all."
    ),
]
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="A study folder, as `study run` made it.")]


def _listed(name: str, help: str) -> Any:
    return typer.Option(name, metavar="LIST", help=help, show_default=False, rich_help_panel=DESIGN)


Model = Annotated[str | None, _listed("--model", "Networks of the zoo; a factor if there are several.")]
Act = Annotated[str | None, _listed("--act", "Activations, the first being the baseline's.")]
Conv = Annotated[str | None, _listed("--conv", "3x3 convolutions.")]
Norm = Annotated[str | None, _listed("--norm", "Normalisations.")]
Attn = Annotated[str | None, _listed("--attn", "Attentions.")]
Block = Annotated[str | None, _listed("--block", "Blocks.")]
Depth = Annotated[str | None, _listed("--depth", "Layers of a ResNet, such as 18,34.")]
Factor = Annotated[
    list[str] | None,
    typer.Option(
        "--factor",
        metavar="TABLE.KEY=LIST",
        help="Any other value of a recipe, such as train.lr=1e-3,1e-2. Repeatable.",
        rich_help_panel=DESIGN,
    ),
]
Size = Annotated[int | None, typer.Option("--size", help="Input height and width in pixels.", rich_help_panel=DESIGN)]
Recipe = Annotated[
    str | None,
    typer.Option("--recipe", metavar="NAME", help="The experiment that arms change.", rich_help_panel=DESIGN),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="TABLE.KEY=VALUE", help="Change it. Repeatable.", rich_help_panel=DESIGN),
]
Data = Annotated[
    str | None,
    typer.Option("--data", metavar="SOURCE", help="The images.", show_default="digits", rich_help_panel=DESIGN),
]
Epochs = Annotated[int | None, typer.Option("--epochs", min=1, help="Of every arm.", rich_help_panel=DESIGN)]
Seeds = Annotated[int | None, typer.Option("--seeds", min=1, help="Blocks.", show_default="6", rich_help_panel=DESIGN)]
Margin = Annotated[
    float | None,
    typer.Option(
        "--margin", help="Differences within it are as good as none.", show_default="none", rich_help_panel=DESIGN
    ),
]
Metric = Annotated[
    str | None,
    typer.Option("--metric", help="That verdicts are about.", show_default="macro_accuracy", rich_help_panel=DESIGN),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="FOLDER", help="The study folder.", show_default="studies/...", rich_help_panel=options.OUTPUT
    ),
]


@study.command(
    epilog="Example: `resnet-lab study run --act relu,gelu --conv dense,depthwise --attn none,cbam --seeds 6`"
)
def run(
    file: File = None,
    model: Model = None,
    act: Act = None,
    conv: Conv = None,
    norm: Norm = None,
    attn: Attn = None,
    block: Block = None,
    depth: Depth = None,
    factor: Factor = None,
    size: Size = None,
    recipe: Recipe = None,
    settings: Settings = None,
    data: Data = None,
    epochs: Epochs = None,
    seeds: Seeds = None,
    metric: Metric = None,
    margin: Margin = None,
    processes: study_executors.Processes = 1,
    executor: study_executors.Executor = "local",
    address: study_executors.Address = None,
    gpus_per_trial: study_executors.GPUs = None,
    cpus_per_trial: study_executors.CPUs = None,
    retries: study_executors.Retries = None,
    artifacts: study_executors.Artifacts = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="FOLDER", help="Go on with a study.", show_default=False)
    ] = None,
    bench: Annotated[
        bool, typer.Option("--bench/--no-bench", help="Measure what the arms cost, once all are trained.")
    ] = True,
    quiet: Annotated[bool, typer.Option("--quiet", hidden=True)] = False,
    out: Out = None,
    no_plugin: options.NoPlugin = None,
    plugin: options.Plugin = None,
    json: options.JSON = False,
) -> None:
    """Train every arm with every seed, and say what they show. A study that was stopped or killed goes on where it was.

    Several calls of `study run --resume FOLDER`, on one machine or on several that share the folder, share the trials.
    """
    from resnet_lab.study.running import check_arms, run_study
    from resnet_lab.study.trials import StudyFolder, strangers
    from resnet_lab.train.interruption import Interrupted

    if resume is not None:
        recall_files(StudyFolder(resume).plugin_files(), str(resume))
    registry = options.load_registry(no_plugin)
    choices = options.given({"--model": model, "--act": act, "--conv": conv, "--norm": norm, "--attn": attn,
                             "--block": block, "--depth": depth, "--factor": factor, "--size": size, "--recipe": recipe,
                             "--set": settings, "--data": data,
                             "--epochs": epochs, "--seeds": seeds, "--metric": metric, "--margin": margin})  # fmt: skip
    if resume is not None:
        if file is not None or choices:
            raise ConfigError(f"{file or next(iter(choices))} cannot be given with --resume, which goes on as it began")
        folder = StudyFolder(resume)
        chosen = folder.study()
    else:
        chosen = _chosen(file, choices)
        folder = StudyFolder(out or Path("studies") / f"{datetime.now():%Y%m%d-%H%M%S}-{chosen.plan.name}")
    images = check_arms(chosen, registry)
    if others := strangers(chosen, folder):
        print(
            f"resnet-lab: {len(others)} trials in {folder.folder} no longer belong to the study ({others[0]}, ...); "
            "they are kept, and count for nothing",
            file=sys.stderr,
        )
    from resnet_lab.cli.study_screen import watching

    wishes = options.given({"--address": address, "--gpus-per-trial": gpus_per_trial,
                            "--cpus-per-trial": cpus_per_trial, "--retries": retries,
                            "--artifacts": artifacts})  # fmt: skip
    try:
        with (
            study_executors.executing(chosen, executor, processes, wishes) as execute,
            watching(chosen, quiet=quiet or json) as watcher,
        ):
            if resume is None:
                folder.note(chosen, registry.files())
            done = run_study(chosen, folder, registry, watcher, execute=execute)
    except Interrupted as error:
        print(f"resnet-lab: {error}; go on with `resnet-lab study run --resume {folder.folder}`", file=sys.stderr)
        raise typer.Exit(128 + error.signal) from None
    if quiet:
        return
    if bench:
        _measure_costs(done, len(images.classes), folder, registry)
    _tell(done, folder, registry, json)


@study.command(epilog="Example: `resnet-lab study plan --attn none,cbam --seeds 6 --data paintings/`")
def plan(
    file: File = None,
    model: Model = None,
    act: Act = None,
    conv: Conv = None,
    norm: Norm = None,
    attn: Attn = None,
    block: Block = None,
    depth: Depth = None,
    factor: Factor = None,
    size: Size = None,
    recipe: Recipe = None,
    settings: Settings = None,
    data: Data = None,
    epochs: Epochs = None,
    seeds: Seeds = None,
    metric: Metric = None,
    margin: Margin = None,
    spread: Annotated[
        float | None,
        typer.Option(
            "--spread", help="Standard deviation of paired differences, where it is known.", show_default=False
        ),
    ] = None,
    pilot: Annotated[
        Path | None,
        typer.Option(
            "--pilot", metavar="FOLDER", help="A study folder whose finished trials show it.", show_default=False
        ),
    ] = None,
    no_plugin: options.NoPlugin = None,
    plugin: options.Plugin = None,
    json: options.JSON = False,
) -> None:
    """Say what would run, how long by a few measured steps, and how many seeds a difference needs."""
    from dataclasses import asdict

    from resnet_lab.study.planning import forecast
    from resnet_lab.study.results import findings
    from resnet_lab.study.running import as_run, check_arms, within_budget
    from resnet_lab.study.trials import StudyFolder

    registry = options.load_registry(no_plugin)
    choices = options.given({"--model": model, "--act": act, "--conv": conv, "--norm": norm, "--attn": attn,
                             "--block": block, "--depth": depth, "--factor": factor, "--size": size, "--recipe": recipe,
                             "--set": settings, "--data": data,
                             "--epochs": epochs, "--seeds": seeds, "--metric": metric, "--margin": margin})  # fmt: skip
    chosen = _chosen(file, choices)
    check_arms(chosen, registry)
    known = None
    if pilot is not None:
        folder = StudyFolder(pilot)
        known = findings(as_run(folder.study(), folder, registry), folder, registry)
    told = forecast(within_budget(chosen, registry, lambda text: None), registry, known, spread)
    if json:
        options.print_json(asdict(told))
        return
    from resnet_lab.cli.study_screen import print_forecast

    print_forecast(chosen, told)


@study.command("list", epilog="Example: `resnet-lab study list`, then `resnet-lab study run digits-parts`")
def list_studies(json: options.JSON = False) -> None:
    """List the program's own studies, which `study run` takes by name."""
    from resnet_lab.study.design import read_study, shipped

    found = {name: read_study(path) for name, path in shipped().items()}
    if json:
        told = [
            {"name": name, "description": each.plan.description, "arms": len(each.arms), "seeds": each.plan.seeds}
            for name, each in found.items()
        ]
        options.print_json({"studies": told})
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("name", no_wrap=True)
    table.add_column("what")
    table.add_column("arms", justify="right")
    table.add_column("seeds", justify="right")
    for name, each in found.items():
        table.add_row(name, Text(each.plan.description), str(len(each.arms)), str(each.plan.seeds))
    Console().print(table)


@study.command(epilog="Example: `resnet-lab study show digits-parts > mine.toml`, then `study run mine.toml`")
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A study of `study list`.", show_default=False)],
    json: options.JSON = False,
) -> None:
    """Print one of the program's own studies as it is, to be kept in a file and changed."""
    from resnet_lab.study.design import read_tables, shipped

    tables = read_tables(Path(name))
    if json:
        options.print_json(tables)
        return
    sys.stdout.write(shipped().get(name, Path(name)).read_text(encoding="utf-8"))


@study.command(epilog="Example: `resnet-lab study report studies/digits --markdown report.md --csv tables`")
def report(
    folder: Folder,
    markdown: Annotated[
        Path | None,
        typer.Option(
            "--markdown", metavar="FILE", help="Write verdicts, tables and method.", rich_help_panel=options.OUTPUT
        ),
    ] = None,
    latex: Annotated[
        Path | None,
        typer.Option(
            "--latex", metavar="FILE", help="Write the table of effects and arms.", rich_help_panel=options.OUTPUT
        ),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(
            "--csv",
            metavar="FOLDER",
            help="Write trials.csv, effects.csv, arms.csv and curves.csv.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    parquet: Annotated[
        Path | None,
        typer.Option("--parquet", metavar="FOLDER", help="Write the same as Parquet.", rich_help_panel=options.OUTPUT),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="The page; it must not exist.",
            show_default="FOLDER/report.html, replaced",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    plots: Annotated[
        Path | None,
        typer.Option(
            "--plots",
            metavar="FOLDER",
            help="Write each plot as PNG and SVG too.",
            show_default=False,
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    no_plugin: options.NoPlugin = None,
    plugin: options.Plugin = None,
    json: options.JSON = False,
) -> None:
    """Say what the finished trials of a study show, and write it as one HTML page."""
    from resnet_lab.files import make_folder, refuse_existing, write_atomically, write_new
    from resnet_lab.report.study_making import make_study_report, write_study_plots
    from resnet_lab.study.results import findings
    from resnet_lab.study.running import as_run
    from resnet_lab.study.tables import as_csv, as_latex, as_parquet, tables
    from resnet_lab.study.trials import StudyFolder
    from resnet_lab.study.writing import as_markdown

    for path in (markdown, latex, csv, parquet, out):
        if path is not None:
            refuse_existing(path)
    opened = StudyFolder(folder)
    recall_files(opened.plugin_files(), str(folder))
    registry = options.load_registry(no_plugin)
    chosen = as_run(opened.study(), opened, registry)
    found = findings(chosen, opened, registry)
    if markdown is not None:
        write_new(markdown, as_markdown(found).encode())
    if latex is not None:
        write_new(latex, as_latex(found).encode())
    for target, suffix, written in ((csv, "csv", as_csv), (parquet, "parquet", as_parquet)):
        if target is not None:
            contents = {name: written(rows) for name, rows in tables(found, opened).items()}
            make_folder(target)
            for name, content in contents.items():
                write_new(target / f"{name}.{suffix}", content)
    made, page = make_study_report(found, opened, registry), out or folder / "report.html"
    write_atomically(page, made.html.encode())
    drawn = [] if plots is None else write_study_plots(made, plots)
    _show(found, json, {"page": str(page), "plots": [str(path) for path in drawn]})
    if not json:
        print(f"page: {page}")
    if plots is not None and not json:
        print(f"plots: {len(drawn)} files in {plots}")


def _measure_costs(chosen: "Study", classes: int, folder: "StudyFolder", registry: "Registry") -> None:
    from resnet_lab.cli.progress import Screen
    from resnet_lab.study.costs import measure_costs

    with Screen() as screen:
        problem = measure_costs(chosen.arms, classes, folder, registry, screen)
    if problem is not None:
        print(f"resnet-lab: {problem}", file=sys.stderr)


def _tell(chosen: "Study", folder: "StudyFolder", registry: "Registry", json: bool) -> None:
    from resnet_lab.study.results import findings

    _show(findings(chosen, folder, registry), json)
    if not json:
        print(f"study folder: {folder.folder}; `resnet-lab study report {folder.folder}` writes it as a page")


def _show(found: "Findings", json: bool, files: Mapping[str, Any] | None = None) -> None:
    if json:
        from resnet_lab.study.writing import as_json

        options.print_json({**as_json(found), **(files or {})})
        return
    from resnet_lab.cli.study_screen import print_findings

    print_findings(found)


def _chosen(file: Path | None, choices: Mapping[str, Any]) -> "Study":
    """The design of a file, or of the options."""
    from resnet_lab.study.design import study_from

    if file is None and not _factors(choices):
        raise ConfigError("there is nothing to compare: name a study file, or parts such as --attn none,cbam")
    return study_from(*tables_of(file, choices))


def tables_of(file: Path | None, choices: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The tables of a file, or of the options, and where they are; beside a file the options say what arms share."""
    from resnet_lab.study.design import read_tables

    if file is None:
        factors = _factors(choices)
        recipe = choices.get("--recipe", None if "--data" in choices else "digits-quick")
        about: dict[str, Any] = {"factors": factors, "name": "-".join(_varied(factors)) or "study"}
        if recipe is not None:
            about["recipe"] = recipe
        return _overlaid({"study": about}, choices), "the options"
    if given := [option for option in choices if option[2:] in FACTORS or option in ("--factor", "--recipe")]:
        raise ConfigError(f"{given[0]} cannot be given beside {file}; say it in the file")
    return _overlaid(read_tables(file), choices), str(file)


FACTORS = ("model", "depth", "act", "conv", "norm", "attn", "block")


def _factors(choices: Mapping[str, Any]) -> dict[str, list[str]]:
    from resnet_lab.bench.arms import listed

    factors = {name: listed(choices[f"--{name}"]) for name in FACTORS if f"--{name}" in choices}
    return factors | _other_factors(choices.get("--factor", ()))


def _overlaid(tables: Mapping[str, Any], choices: Mapping[str, Any]) -> dict[str, Any]:
    """With the options that every study takes."""
    from resnet_lab.recipes import TABLES
    from resnet_lab.recipes.settings import apply_settings

    base = {name: dict(tables.get(name, {})) for name in TABLES}
    found = {**tables, **apply_settings(base, choices.get("--set", ()))}
    places = {
        "--seeds": ("study", "seeds"), "--metric": ("study", "metric"), "--margin": ("study", "margin"),
        "--data": ("data", "source"), "--epochs": ("train", "epochs"), "--size": ("model", "input_size"),
    }  # fmt: skip
    for option, (table, key) in places.items():
        if option in choices:
            found[table] = {**found.get(table, {}), key: choices[option]}
    return {name: table for name, table in found.items() if table}


def _other_factors(texts: Sequence[str]) -> dict[str, list[str]]:
    from resnet_lab.bench.arms import listed

    found = {}
    for text in texts:
        key, mark, levels = text.partition("=")
        if not mark or "." not in key:
            raise ConfigError(f"--factor {text!r} must be TABLE.KEY=LIST, such as train.lr=1e-3,1e-2")
        found[key] = listed(levels)
    return found


def _varied(factors: Mapping[str, Sequence[str]]) -> list[str]:
    return [name for name, levels in factors.items() if len(levels) > 1]
