"""The options that describe a study, and the design that they or a file come to."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resnet_lab.cli import options
from resnet_lab.core.errors import ConfigError
from resnet_lab.network.kinds import of_networks

if TYPE_CHECKING:
    from resnet_lab.study.design import Study

DESIGN = "Design"
File = Annotated[
    Path | None,
    typer.Argument(
        metavar="STUDY", help="A study file, or a name of `study list`; without one, the options say it all."
    ),
]


def _listed(name: str, help: str) -> Any:
    return typer.Option(name, metavar="LIST", help=help, show_default=False, rich_help_panel=DESIGN)


Model = Annotated[str | None, _listed("--model", "Networks of the zoo; a factor if there are several.")]
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
    typer.Option(
        "--data",
        metavar="SOURCE",
        help="The images.",
        show_default="digits",
        callback=options.name_source,
        rich_help_panel=DESIGN,
    ),
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


def chosen_study(file: Path | None, choices: Mapping[str, Any]) -> "Study":
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


FACTORS = ("model", "depth", *(kind.slot for kind in of_networks()))


def _factors(choices: Mapping[str, Any]) -> dict[str, list[str]]:
    from resnet_lab.network.component import listed

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
        "--data": ("data", "source"), "--near-copies": ("data", "near_copies"),
        "--epochs": ("train", "epochs"), "--size": ("model", "input_size"),
    }  # fmt: skip
    for option, (table, key) in places.items():
        if option in choices:
            found[table] = {**found.get(table, {}), key: choices[option]}
    return {name: table for name, table in found.items() if table}


def _other_factors(texts: Sequence[str]) -> dict[str, list[str]]:
    from resnet_lab.network.component import listed

    found = {}
    for text in texts:
        key, mark, levels = text.partition("=")
        if not mark or "." not in key:
            raise ConfigError(f"--factor {text!r} must be TABLE.KEY=LIST, such as train.lr=1e-3,1e-2")
        found[key] = listed(levels)
    return found


def _varied(factors: Mapping[str, Sequence[str]]) -> list[str]:
    return [name for name, levels in factors.items() if len(levels) > 1]
