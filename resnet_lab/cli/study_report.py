"""`resnet-lab study report`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from resnet_lab.cli import options, output
from resnet_lab.cli.bundles import Fields, Given, command
from resnet_lab.cli.study import study
from resnet_lab.cli.study_design import PLAN
from resnet_lab.core.errors import ConfigError
from resnet_lab.core.option import OUTPUT

EVERY = 15
"""Seconds between two looks at a study that is watched."""

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="A study folder of `study run`.")]


@dataclass(frozen=True)
class Tables:
    """Output files beside the page."""

    markdown: Annotated[Path | None, options.written("--markdown", "FILE", "Write verdicts, tables and method.")] = None
    latex: Annotated[Path | None, options.written("--latex", "FILE", "Write the table of effects and arms.")] = None
    csv: Annotated[
        Path | None, options.written("--csv", "FOLDER", "Write trials.csv, effects.csv, arms.csv and curves.csv.")
    ] = None
    parquet: Annotated[Path | None, options.written("--parquet", "FOLDER", "Write the same as Parquet.")] = None


@dataclass(frozen=True)
class Watching:
    """Whether a running study is followed."""

    watch: Annotated[
        bool,
        typer.Option("--watch", help="Rewrite the page as trials finish, until all have.", rich_help_panel=OUTPUT),
    ] = False
    every: Annotated[
        int | None,
        typer.Option(
            "--every",
            min=1,
            max=3600,
            metavar="SECONDS",
            help="How often --watch looks at the trials, and its page reloads.",
            show_default=f"{EVERY}",
            rich_help_panel=OUTPUT,
        ),
    ] = None


@command(study, epilog="Example: `resnet-lab study report studies/digits --markdown report.md --csv tables`")
def report(
    *,
    folder: Folder,
    about: Annotated[Given, Fields(PLAN, only=("metric", "epochs_scored", "margin", "population"))],
    tables: Tables,
    out: Annotated[
        Path | None, options.written("--out", "FILE", "The page; it must not exist.", "FOLDER/report.html, replaced")
    ] = None,
    plots: Annotated[Path | None, options.written("--plots", "FOLDER", "Also write each plot as PNG and SVG.")] = None,
    watching: Watching,
    download: options.Download,
    no_plugin: options.NoPlugin = None,
    plugin: options.Plugin = None,
    json: options.JSON = False,
) -> None:
    """Report the results of a study's finished trials, and write them as one HTML page.

    With --watch the page follows a study that is running, here or elsewhere; other outputs are written at its end.
    """
    from resnet_lab.cli.study_screen import show_findings
    from resnet_lab.cli.study_watch import followed
    from resnet_lab.core.files import make_folder, refuse_existing, refuse_unwritable, write_atomically, write_new
    from resnet_lab.network.plugins import require_files
    from resnet_lab.report.study_building import make_study_report, write_study_plots
    from resnet_lab.study.declaration import judged_by
    from resnet_lab.study.report_contents import StudyContents, gather_study
    from resnet_lab.study.results import findings
    from resnet_lab.study.running import as_run
    from resnet_lab.study.tables import as_csv, as_latex, as_parquet, make_tables
    from resnet_lab.study.trials import StudyFolder
    from resnet_lab.study.writing import as_markdown

    if watching.every is not None and not watching.watch:
        raise ConfigError("--every is how often --watch looks at the trials; give --watch too, or leave it out")
    for path in (tables.markdown, tables.latex, tables.csv, tables.parquet, out):
        if path is not None:
            refuse_existing(path)
    opened = StudyFolder(folder)
    opened.require_study()
    registry = options.load_registry(no_plugin)
    require_files(opened.plugin_files(), registry, str(folder))
    page = out or folder / "report.html"
    given = {
        "--markdown": tables.markdown,
        "--latex": tables.latex,
        "--csv": tables.csv,
        "--parquet": tables.parquet,
        "--plots": plots,
    }
    options.refuse_page(page, given)
    refuse_unwritable(page)

    def gathered() -> StudyContents:
        chosen = judged_by(as_run(opened.study(), opened), about, "the options")
        return gather_study(findings(chosen, opened, registry), opened, registry)

    contents = followed(gathered, opened, page, watching.every or EVERY) if watching.watch else gathered()
    found = contents.found
    if tables.markdown is not None:
        write_new(tables.markdown, as_markdown(found).encode())
    if tables.latex is not None:
        write_new(tables.latex, as_latex(found).encode())
    for target, suffix, written in ((tables.csv, "csv", as_csv), (tables.parquet, "parquet", as_parquet)):
        if target is not None:
            written_as = {name: written(rows) for name, rows in make_tables(found, opened).items()}
            make_folder(target)
            for name, content in written_as.items():
                write_new(target / f"{name}.{suffix}", content)
    made = make_study_report(contents)
    write_atomically(page, made.html.encode())
    drawn = [] if plots is None else write_study_plots(made, plots)
    show_findings(found, json, {"page": str(page), "plots": [str(path) for path in drawn]})
    if not json:
        output.line(f"page: {page}")
    if plots is not None and not json:
        output.line(f"plots: {len(drawn)} files in {plots}")
