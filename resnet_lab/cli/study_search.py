"""`resnet-lab study search`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resnet_lab.cli import options, output, study
from resnet_lab.cli.bundles import Fields, Given, command
from resnet_lab.cli.study_design import PLAN, Design
from resnet_lab.core.comma_list import comma_list
from resnet_lab.core.errors import ConfigError
from resnet_lab.core.option import DESIGN
from resnet_lab.core.wording import shell_word

if TYPE_CHECKING:
    from resnet_lab.study.search import Found
    from resnet_lab.study.space import Space

LABEL = "exploratory: chosen on the validation part at one seed"

Ranges = Annotated[
    list[str] | None,
    typer.Option(
        "--range",
        metavar="TABLE.KEY=LOW,HIGH",
        help="Range of a number, such as train.lr=1e-4,1e-1,log. Repeatable.",
        rich_help_panel=DESIGN,
    ),
]


@dataclass(frozen=True, kw_only=True)
class SearchDesign(Design):
    """Study design without the options that have no place in a search."""

    plan: Annotated[Given, Fields(PLAN, without=("fraction", "tune_lr", "looks", "adaptive", "more_seeds"))]


@command(
    study.study,
    epilog="Example: `resnet-lab study search --attn none,se,cbam --range train.lr=1e-3,1e-1,log --trials 20`",
)
def search(
    *,
    design: SearchDesign,
    ranges: Ranges = None,
    trials: Annotated[int, typer.Option("--trials", min=1, help="Number of tries, in addition to the baseline.")] = 20,
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="FOLDER", help="Resume a search.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, options.written("--out", "FOLDER", "The search folder; an existing one is resumed.", "studies/...")
    ] = None,
    no_plugin: options.NoPlugin = None,
    plugin: options.Plugin = None,
    json: options.JSON = False,
) -> None:
    """Search components and recipe values with Optuna. A search is exploratory and gives no verdict.

    Each try is trained at one seed and scored on the validation part; `confirm.toml` is a study of the best.
    """
    from resnet_lab.cli.study_search_screen import print_found, watching
    from resnet_lab.network.plugins import require_files
    from resnet_lab.study import search as searching
    from resnet_lab.train.interruption import Interrupted

    registry = options.load_registry(no_plugin)
    if resume is not None:
        if given := [*design.options, *(["--range"] if ranges else []), *(["--out"] if out else [])]:
            raise ConfigError(f"{given[0]} cannot be combined with --resume, which keeps the design")
        require_files(searching.plugin_files(resume), registry, str(resume))
        folder, space = resume, searching.noted(resume)
    else:
        space = _space(design, ranges or ())
        folder = out or Path("studies") / f"{datetime.now():%Y%m%d-%H%M%S}-search-{space.plan.name}"
    try:
        with watching(quiet=json) as watcher:
            found = searching.search(space, folder, trials, registry, watcher)
    except Interrupted as error:
        again = f"resnet-lab study search --resume {shell_word(folder)} --trials {trials}"
        output.remark(f"{error}; resume with `{again}`")
        raise typer.Exit(128 + error.signal) from None
    if json:
        output.print_json(_as_json(found))
    else:
        print_found(found, folder, LABEL)


def _space(design: Design, texts: Sequence[str]) -> "Space":
    from resnet_lab.study.design import with_shared_weights
    from resnet_lab.study.space import space_from

    tables, where = design.tables()
    if ranges := _ranges(texts):
        about = tables.get("study", {})
        tables = {**tables, "study": {**about, "search": {**about.get("search", {}), **ranges}}}
    return space_from(with_shared_weights(tables, where), where)


def _ranges(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        key, _, ends = text.partition("=")
        parts = comma_list(ends)
        log = len(parts) == 3 and parts[2] == "log"
        try:
            low, high = (_number(part) for part in (parts[:2] if log else parts))
        except ValueError:
            raise ConfigError(
                f"--range {text!r} must be TABLE.KEY=LOW,HIGH or TABLE.KEY=LOW,HIGH,log, such as train.lr=1e-4,1e-1,log"
            ) from None
        found[key.strip()] = {"low": low, "high": high, "log": log}
    return found


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _as_json(found: "Found") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "label": LABEL,
        "name": found.space.plan.name,
        "seed": found.space.plan.first_seed,
        "baseline": asdict(found.baseline),
        "tried": [asdict(row) for row in found.tried],
        "importances": dict(found.importances),
        "confirm": None if found.confirm is None else str(found.confirm),
    }
