"""`resnet-lab study`."""

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resnet_lab.cli import app, options
from resnet_lab.errors import ConfigError

if TYPE_CHECKING:
    from resnet_lab.plugins import Registry
    from resnet_lab.study.design import Study
    from resnet_lab.study.results import Findings
    from resnet_lab.study.trials import StudyFolder

study = typer.Typer(no_args_is_help=True, help="Arms times seeds, paired: does a change help, by how much, how sure?")
app.add_typer(study, name="study")

DESIGN = "Design"
File = Annotated[
    Path | None, typer.Argument(metavar="STUDY.toml", help="A study file; without one, the options say what to study.")
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
    size: Size = None,
    recipe: Recipe = None,
    settings: Settings = None,
    data: Data = None,
    epochs: Epochs = None,
    seeds: Seeds = None,
    metric: Metric = None,
    margin: Margin = None,
    processes: Annotated[int, typer.Option("--processes", min=1, help="Trials at a time.")] = 1,
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="FOLDER", help="Go on with a study.", show_default=False)
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", hidden=True)] = False,
    out: Out = None,
    no_plugin: options.NoPlugin = None,
    json: options.JSON = False,
) -> None:
    """Train every arm with every seed, and say what they show. A study that was stopped or killed goes on where it was.

    Several calls of `study run --resume FOLDER`, on one machine or on several that share the folder, share the trials.
    """
    from resnet_lab.study.running import check_arms, run_study
    from resnet_lab.study.trials import StudyFolder, strangers
    from resnet_lab.train.interruption import Interrupted

    registry = options.load_registry(no_plugin)
    choices = options.given({"--model": model, "--act": act, "--conv": conv, "--norm": norm, "--attn": attn,
                             "--block": block, "--size": size, "--recipe": recipe, "--set": settings, "--data": data,
                             "--epochs": epochs, "--seeds": seeds, "--metric": metric, "--margin": margin})  # fmt: skip
    if resume is not None:
        if file is not None or choices:
            raise ConfigError(f"{file or next(iter(choices))} cannot be given with --resume, which goes on as it began")
        folder = StudyFolder(resume)
        chosen = folder.study()
    else:
        chosen = _chosen(file, choices)
        folder = StudyFolder(out or Path("studies") / f"{datetime.now():%Y%m%d-%H%M%S}-{chosen.plan.name}")
    check_arms(chosen, registry)
    if resume is None:
        folder.note(chosen)
    if others := strangers(chosen, folder):
        print(
            f"resnet-lab: {len(others)} trials in {folder.folder} no longer belong to the study ({others[0]}, ...); "
            "they are kept, and count for nothing",
            file=sys.stderr,
        )
    from resnet_lab.cli.study_screen import watching

    try:
        with watching(chosen, quiet=quiet or json) as watcher:
            done = run_study(chosen, folder, registry, watcher, processes=processes)
    except Interrupted as error:
        print(f"resnet-lab: {error}; go on with `resnet-lab study run --resume {folder.folder}`", file=sys.stderr)
        raise typer.Exit(128 + error.signal) from None
    if not quiet:
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
                             "--block": block, "--size": size, "--recipe": recipe, "--set": settings, "--data": data,
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


@study.command(epilog="Example: `resnet-lab study report studies/digits --markdown report.md --csv trials.csv`")
def report(
    folder: Folder,
    markdown: Annotated[
        Path | None,
        typer.Option(
            "--markdown", metavar="FILE", help="Write verdicts, tables and method.", rich_help_panel=options.OUTPUT
        ),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write a row a trial.", rich_help_panel=options.OUTPUT)
    ] = None,
    no_plugin: options.NoPlugin = None,
    json: options.JSON = False,
) -> None:
    """Say what the finished trials of a study show."""
    from resnet_lab.files import refuse_existing, write_new
    from resnet_lab.study.results import findings
    from resnet_lab.study.running import as_run
    from resnet_lab.study.trials import StudyFolder
    from resnet_lab.study.writing import as_csv, as_markdown

    for path in (markdown, csv):
        if path is not None:
            refuse_existing(path)
    registry = options.load_registry(no_plugin)
    opened = StudyFolder(folder)
    chosen = as_run(opened.study(), opened, registry)
    found = findings(chosen, opened, registry)
    if markdown is not None:
        write_new(markdown, as_markdown(found).encode())
    if csv is not None:
        write_new(csv, as_csv(found).encode())
    _show(found, json)


def _tell(chosen: "Study", folder: "StudyFolder", registry: "Registry", json: bool) -> None:
    from resnet_lab.study.results import findings

    _show(findings(chosen, folder, registry), json)
    if not json:
        print(f"study folder: {folder.folder}; `resnet-lab study report {folder.folder}` says this again")


def _show(found: "Findings", json: bool) -> None:
    if json:
        from resnet_lab.study.writing import as_json

        options.print_json(as_json(found))
        return
    from resnet_lab.cli.study_screen import print_findings

    print_findings(found)


def _chosen(file: Path | None, choices: Mapping[str, Any]) -> "Study":
    """The design of a file or of the options."""
    from resnet_lab.study.design import read_study, study_from

    if file is not None:
        if choices:
            raise ConfigError(f"{next(iter(choices))} cannot be given beside {file}; say it in the file")
        return read_study(file)
    tables = _tables(choices)
    if not tables["study"]["factors"]:
        raise ConfigError("there is nothing to compare: name a study file, or parts such as --attn none,cbam")
    return study_from(tables, "the options")


def _tables(choices: Mapping[str, Any]) -> dict[str, Any]:
    from resnet_lab.bench.arms import listed
    from resnet_lab.recipes import TABLES, read_recipe
    from resnet_lab.recipes.settings import apply_settings

    factors = {
        name: listed(choices[f"--{name}"])
        for name in ("model", "act", "conv", "norm", "attn", "block")
        if f"--{name}" in choices
    }
    recipe = choices.get("--recipe", None if "--data" in choices else "digits-quick")
    base = {name: {} for name in TABLES} if recipe is None else dict(read_recipe(recipe).tables)
    tables: dict[str, Any] = apply_settings(base, _sequence(choices.get("--set")))
    tables["study"] = {"factors": factors, "name": "-".join(_varied(factors)) or "study"}
    for option, key in (("--seeds", "seeds"), ("--metric", "metric"), ("--margin", "margin")):
        if option in choices:
            tables["study"][key] = choices[option]
    for option, table, key in (
        ("--data", "data", "source"), ("--epochs", "train", "epochs"), ("--size", "model", "input_size"),
    ):  # fmt: skip
        if option in choices:
            tables[table] = {**tables.get(table, {}), key: choices[option]}
    return tables


def _varied(factors: Mapping[str, Sequence[str]]) -> list[str]:
    return [name for name, levels in factors.items() if len(levels) > 1]


def _sequence(values: Sequence[str] | None) -> Sequence[str]:
    return values or ()
