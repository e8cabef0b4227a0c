"""Recipes: experiments as TOML files, built-in ones next to this module, and users' anywhere."""

from dataclasses import dataclass
from os.path import isfile
from pathlib import Path
from typing import Any, TypeAlias

from resnet_lab.core.errors import ConfigError, nearest
from resnet_lab.core.records import SMALL, Malformed, Record, parse_toml, read_bytes, validated

Tables: TypeAlias = dict[str, dict[str, Any]]
"""Settings of the experiment, by table and key."""

TABLES = ("model", "data", "train")

_FOLDER = Path(__file__).parent


class _About(Record):
    """The table `[recipe]`."""

    title: str = ""
    description: str = ""
    source: str = ""


@dataclass(frozen=True)
class Recipe:
    """An experiment.

    Attributes:
        name: of one of the program's own, or the path of the file.
        description: what it is for.
        source: where its settings come from.
        tables: `model`, `data` and `train`, each perhaps empty: what `zoo.from_choices`, `train.config.data_config` and
            `train.config.train_config` read.
        text: the file as it is.
    """

    name: str
    title: str
    description: str
    source: str
    tables: Tables
    text: str


def names() -> tuple[str, ...]:
    """Names of the program's own recipes, in alphabetical order."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def read_recipe(name: str) -> Recipe:
    """One of the program's own by name, or a user's by the path of its TOML file.

    Raises:
        ConfigError: no such recipe; the nearest names are offered. Of a file, as `read_file` does.
    """
    if name in names():
        return read_file(_FOLDER / f"{name}.toml", name)
    path = Path(name)
    if path.suffix == ".toml" or isfile(path):
        return read_file(path)
    raise ConfigError(f"{name}: no such recipe, and no such file; {nearest(name, names())}")


def read_file(path: Path, name: str = "") -> Recipe:
    """The recipe in a TOML file, called by its path unless it has a name.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or has another table.
    """
    name = name or str(path)
    content = read_bytes(path, SMALL, ConfigError)
    try:
        tables = parse_toml(content)
    except Malformed as error:
        raise ConfigError(f"{name}: {error}") from None
    for key, table in tables.items():
        if key not in ("recipe", *TABLES):
            raise ConfigError(f"{name}: unknown table {key!r}; {nearest(key, ('recipe', *TABLES))}")
        if not isinstance(table, dict):
            raise ConfigError(f"{name}: {key} must be a table, written [{key}]")
    about = validated(_About, tables.get("recipe", {}), f"{name}: recipe", ConfigError)
    return Recipe(
        name=name,
        title=_one_line(about.title) or name,
        description=_one_line(about.description),
        source=_one_line(about.source),
        tables={table: tables.get(table, {}) for table in TABLES},
        text=content.decode(),
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())
