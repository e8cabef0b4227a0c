"""Keyword arguments as settings: each is an option of the command line, under the name of its field."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel

from resnet_lab.cli.bundles import Given
from resnet_lab.cli.study_design import SEEDS
from resnet_lab.core.errors import ConfigError, nearest
from resnet_lab.data.config import DataConfig
from resnet_lab.data.sources.permission import allow_download, name_shards
from resnet_lab.network.kinds import of_networks
from resnet_lab.recipes.settings import alternatives, value_of
from resnet_lab.study.plan import Plan
from resnet_lab.train.config import TrainConfig

SLOTS = tuple(kind.slot for kind in of_networks())
CHANGES = (*SLOTS, "dropout", "head_dropout", "drop_path", "dilate", "widen", "size")
"""Changes of a network that have an option."""


@dataclass(frozen=True)
class Settings:
    """Settings by what they are of.

    Attributes:
        network: those of `CHANGES`.
        plan: of a study.
    """

    network: dict[str, Any]
    data: Given
    train: Given
    plan: Given


def settings_of(function: Any, given: Mapping[str, Any], source: object = None) -> Settings:
    """Sort keyword arguments, those that are None left out.

    What only a user may allow is allowed: downloads by `download=True`, and fetching of the shards that `source` names.

    Args:
        function: that they are given to.
        source: of images; None where it is left to the configuration.

    Raises:
        ConfigError: an unknown one; the nearest names are offered.
    """
    is_study = function.__name__ == "study"
    fields: dict[str, Mapping[str, Any]] = {
        "network": dict.fromkeys((*SLOTS, "size") if is_study else CHANGES),
        "data": _fields(DataConfig, without=("source",)),
        "train": _fields(TrainConfig, without=SEEDS if is_study else ()),
        "plan": _fields(Plan, without=("factors", "arms", "budget", "search")) if is_study else {},
    }
    found: dict[str, dict[str, Any]] = {table: {} for table in fields}
    for name, value in given.items():
        table = next((table for table, names in fields.items() if name in names), None)
        if table is None:
            own = [each for each in signature(function).parameters if each != "settings"]
            known = [*own, *(each for names in fields.values() for each in names)]
            raise ConfigError(f"resnet_lab.{function.__name__}: unknown option {name!r}; {nearest(name, known)}")
        if value is not None:
            found[table][name] = _value(name, value, fields[table][name])
    if found["data"].pop("download", False):
        allow_download()
    if source is not None:
        found["data"]["source"] = str(source)
        if str(source).startswith("wds:"):
            name_shards(str(source))
    named = {table: Given(values, {name: name for name in values}) for table, values in found.items()}
    return Settings(found["network"], named["data"], named["train"], named["plan"])


def _fields(configuration: type[BaseModel], without: Collection[str]) -> dict[str, Any]:
    return {name: info for name, info in configuration.model_fields.items() if name not in without}


def _value(name: str, value: Any, field: Any) -> Any:
    """The value as a configuration takes it: a list may be a text with commas, as on the command line."""
    if field is None:
        return value
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, str) and any(get_origin(kind) is tuple for kind in alternatives(field.annotation)):
        try:
            return tuple(value_of(value, field))
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from None
    return value


def levels(value: object) -> str:
    """Levels of a factor as the command line takes them: `relu,gelu` of a list of both, or of one text."""
    items = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return ",".join(str(item).lower() if isinstance(item, bool) else str(item) for item in items)


def call(name: str, arguments: Mapping[str, Any]) -> str:
    """The call in Python, for the record of a run."""
    given = ", ".join(f"{key}={_plain(value)!r}" for key, value in arguments.items() if value is not None)
    return f"resnet_lab.{name}({given})"


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value
