"""`resnet-lab data suspects`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from resnet_lab.cli import options, output
from resnet_lab.cli.bundles import command
from resnet_lab.cli.data import data
from resnet_lab.core.errors import ConfigError
from resnet_lab.core.option import DATA

if TYPE_CHECKING:
    from resnet_lab.cli.progress import Screen
    from resnet_lab.evaluation.predictions import Predictions
    from resnet_lab.evaluation.suspect_gallery import SuspectGallery
    from resnet_lab.network.plugins import Registry

SHOWN = 10
"""Suspects in the terminal."""


@dataclass(frozen=True)
class _HeldOut:
    """Held-out predictions, and how many images there are in all."""

    predictions: "list[Predictions]"
    images: int


@command(data, epilog="Example: `resnet-lab data suspects runs/paintings --folds 5 --repeats 2`")
def suspects(
    *,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a study folder.", show_default=False)],
    folds: Annotated[
        int | None,
        typer.Option(
            "--folds",
            min=3,
            max=10_000,
            metavar="K",
            help="Trainings of a run's configuration, each of which holds out another fold.",
            show_default="5",
            rich_help_panel=DATA,
        ),
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(
            "--repeats",
            min=1,
            max=1000,
            metavar="N",
            help="Repeat all folds with further seeds, and average.",
            show_default="1",
            rich_help_panel=DATA,
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            metavar="NAME|FILE[:KEY]",
            help="Pretrained weights of a run that started from some; those in its record are not read unless named.",
            show_default=False,
            rich_help_panel=DATA,
        ),
    ] = None,
    arm: Annotated[
        str | None,
        typer.Option("--arm", metavar="NAME", help="Arm of a study.", show_default="the baseline"),
    ] = None,
    score: Annotated[
        Literal["self_confidence", "normalized_margin", "confidence_weighted_entropy"],
        typer.Option("--score", help="cleanlab's label quality score to rank by."),
    ] = "self_confidence",
    gallery: Annotated[
        int, typer.Option("--gallery", min=0, max=200, metavar="NUMBER", help="Most suspects to show on the page.")
    ] = 48,
    out: Annotated[
        Path | None,
        options.written("--out", "FOLDER", "For trainings, list and page; continued if it exists.", "RUN/suspects"),
    ] = None,
    no_plugin: options.NoPlugin = None,
    plugin: options.Plugin = None,
    json: options.JSON = False,
) -> None:
    """Rank images by how likely their label is wrong, by networks that were not trained on them (needs cleanlab).

    Of a run, its configuration is trained once per fold; interrupted, the same command resumes. Of a study, the
    predictions that its trials have kept of their test parts are used. Nothing is deleted or relabelled.
    """
    from resnet_lab.cli.progress import Screen
    from resnet_lab.core.files import make_folder, write_atomically
    from resnet_lab.evaluation.opened_run import Sources
    from resnet_lab.evaluation.suspect_gallery import gather_suspects
    from resnet_lab.evaluation.suspects import FOLDER, PAGE, TABLE, as_csv, mean_of, rank_suspects, require_cleanlab
    from resnet_lab.report.suspects_page import suspects_page
    from resnet_lab.train.interruption import Interrupted

    require_cleanlab()
    registry, folder = options.load_registry(no_plugin), out or run / FOLDER
    is_study = (run / "study.json").is_file()
    of_run: dict[str, object] = {"--folds": folds, "--repeats": repeats, "--weights": weights}
    _refuse_mixtures(of_run if is_study else {"--arm": arm}, is_study)
    with Screen() as screen:
        try:
            found = (
                _of_study(run, arm, registry)
                if is_study
                else _of_run(run, folder, folds or 5, repeats or 1, weights, registry, screen)
            )
        except Interrupted as error:
            output.remark(f"{error}; the same command resumes")
            raise typer.Exit(128 + error.signal) from None
        held_out = mean_of(found.predictions)
        ranked = rank_suspects(held_out, score)
        make_folder(folder)
        write_atomically(folder / TABLE, as_csv(ranked))
        contents = gather_suspects(
            ranked, Sources(registry, screen), origin=str(run), source=found.predictions[0].origin.source,
            quality=score, trainings=held_out.trainings, unranked=found.images - len(ranked), most=gallery,
        )  # fmt: skip
        write_atomically(folder / PAGE, suspects_page(contents).encode())
    _show(contents, folder / TABLE, folder / PAGE, json)


def _refuse_mixtures(foreign: dict[str, object], is_study: bool) -> None:
    for name, value in foreign.items():
        if value is not None and is_study:
            raise ConfigError(f"{name} is of a run, and a study has been trained already; leave it out")
        if value is not None:
            raise ConfigError(f"{name} is of a study, and a run has one configuration; leave it out")


def _of_run(
    folder: Path, out: Path, folds: int, repeats: int, weights: str | None, registry: "Registry", screen: "Screen"
) -> _HeldOut:
    from resnet_lab.core.run_folder import Run
    from resnet_lab.network.plugins import require_files
    from resnet_lab.train.held_out import cross_validate
    from resnet_lab.train.record import recorded_choices, require_plugins

    run = Run.open(folder)
    record = run.read()
    spec, data, config = recorded_choices(run)
    config = config.model_copy(update={"weights": _named_weights(config.weights, weights, folder)})
    require_files(record.get("plugin_files", ()), registry, str(folder))
    require_plugins(record, registry, str(folder))
    found = cross_validate(spec, data, config, out / "trainings", registry, screen, folds=folds, repeats=repeats)
    return _HeldOut(found, sum(len(each) for each in found[:folds]))


def _named_weights(recorded: str | None, named: str | None, folder: Path) -> str | None:
    """The weights to start from; a record is data, and has nothing opened or fetched that was not named."""
    from resnet_lab.core.records import repr_of

    if recorded is not None and named is None:
        raise ConfigError(
            f"{folder} started from the weights {repr_of(recorded)}, which only its record names; give them with "
            "--weights"
        )
    if recorded is None and named is not None:
        raise ConfigError(f"{folder} started from random weights; leave --weights out")
    return named


def _of_study(folder: Path, arm: str | None, registry: "Registry") -> _HeldOut:
    from resnet_lab.network.plugins import require_files
    from resnet_lab.study.held_out import images_of_arm, kept_of_arm
    from resnet_lab.study.running import as_run
    from resnet_lab.study.trials import StudyFolder

    opened = StudyFolder(folder)
    require_files(opened.plugin_files(), registry, str(folder))
    chosen = as_run(opened.study(), opened)
    return _HeldOut(kept_of_arm(chosen, opened, arm), images_of_arm(chosen, opened, arm))


def _show(found: "SuspectGallery", table: Path, page: Path, json: bool) -> None:
    flagged = found.flagged
    if json:
        content: dict[str, Any] = {
            "run": found.origin,
            "source": found.source,
            "ranked": len(found.suspects),
            "not_ranked": found.unranked,
            "flagged": len(flagged),
            "trainings": found.trainings,
            "score": found.quality,
            "table": str(table),
            "page": str(page),
            "suspects": [each.model_dump() for each in flagged],
        }
        output.print_json(content)
        return
    from rich import box
    from rich.table import Table

    shown = Table(box=box.SIMPLE_HEAD)
    for name in ("rank", "image", "label", "p", "suggested", "p", "flagged"):
        shown.add_column(name, justify="right" if name in ("rank", "p") else "left", overflow="fold")
    for each in found.suspects[:SHOWN]:
        shown.add_row(
            str(each.rank), output.text(each.path), output.text(each.label), f"{each.p_label:.3f}",
            output.text(each.suggested), f"{each.p_suggested:.3f}", "yes" if each.flagged else "",
        )  # fmt: skip
    output.console().print(shown)
    output.line(
        f"{len(flagged):,} of {len(found.suspects):,} labels flagged, by {found.trainings} trainings; nothing was "
        "deleted or relabelled"
    )
    if found.unranked:
        output.line(f"{found.unranked:,} images were in no test part and are not ranked")
    output.line(f"list: {table}")
    output.line(f"page: {page}")
