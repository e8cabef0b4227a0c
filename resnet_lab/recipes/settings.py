"""Single values as texts: put into the tables of a recipe by `--set train.lr=1e-3`, or given as options."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from resnet_lab.core.comma_list import comma_list
from resnet_lab.core.errors import ConfigError, nearest
from resnet_lab.core.records import Malformed, parse_toml, repr_of
from resnet_lab.data.config import DataConfig
from resnet_lab.network.spec import CHANGES
from resnet_lab.recipes.recipe import TABLES, Tables
from resnet_lab.train.config import TrainConfig

_FIELDS: dict[str, Mapping[str, FieldInfo | None]] = {
    "model": dict.fromkeys(("model", *CHANGES)),
    "data": DataConfig.model_fields,
    "train": TrainConfig.model_fields,
}


def apply_settings(tables: Mapping[str, Mapping[str, Any]], settings: Sequence[str]) -> Tables:
    """The tables with values put in or replaced; of several settings of a key the last counts.

    A setting is written `table.key=value`, with a value as in TOML; anything else is a text, so that
    `train.balance=loss` needs no quotes. Where a list belongs, its parts may be written with commas:
    `train.augment=flip,crop(scale=0.5)`. `none` makes a list empty, and takes away what may be left out:
    `train.weights=none`.

    Raises:
        ConfigError: a setting of another form, or an unknown table or key; the nearest are offered. Values are checked
            where the tables are read.
    """
    changed = {name: dict(table) for name, table in tables.items()}
    for setting in settings:
        place, equals, text = setting.partition("=")
        table, dot, key = (part.strip() for part in place.partition("."))
        if not (equals and dot and table and key):
            raise ConfigError(f"setting {repr_of(setting)} is not of the form table.key=value, such as train.lr=1e-3")
        if table not in TABLES:
            raise ConfigError(f"setting {repr_of(setting)}: unknown table {repr_of(table)}; {nearest(table, TABLES)}")
        fields = _FIELDS[table]
        if key not in fields:
            raise ConfigError(
                f"setting {repr_of(setting)}: unknown key {repr_of(key)} of {table}; {nearest(key, fields)}"
            )
        try:
            changed.setdefault(table, {})[key] = value_of(text.strip(), fields[key])
        except ConfigError as error:
            raise ConfigError(f"setting {repr_of(setting)}: {error}") from None
    return changed


def value_of(text: str, field: FieldInfo | None) -> Any:
    """Value of a text for a field; None is a key of the network's, whose values are numbers and texts.

    Raises:
        ConfigError: there are commas and nothing between them.
    """
    if field is None:
        return _toml_value(text)
    kinds = alternatives(field.annotation)
    items = next((get_args(kind)[0] for kind in kinds if get_origin(kind) is tuple), None)
    if text == "none" and items is not None:
        return []
    if text == "none" and NoneType in get_args(field.annotation):
        return None
    if items is None:
        return _scalar(text, kinds)
    value = _toml_value(text)
    if isinstance(value, list):
        return value
    parts = [part for part in comma_list(value if isinstance(value, str) else text) if part]
    if "," in text and not parts:
        raise ConfigError(f"{repr_of(text)} is a list without items; write them with commas between, or none")
    return [_scalar(part, alternatives(items)) for part in parts]


def alternatives(annotation: Any) -> list[Any]:
    """The types that a value may have, without None and constraints."""
    if get_origin(annotation) is Annotated:
        return alternatives(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [kind for each in get_args(annotation) for kind in alternatives(each)]
    return [] if annotation is NoneType else [annotation]


def _scalar(text: str, kinds: Sequence[Any]) -> Any:
    """Scalar value; where only texts belong, `2024` is one."""
    value = _toml_value(text)
    only_texts = all(kind in (str, Path) or get_origin(kind) is Literal for kind in kinds)
    return text if only_texts and not isinstance(value, str) else value


def _toml_value(text: str) -> Any:
    """A truth value, number, text or list; what is none of these, or several lines, is a plain text."""
    try:
        read = parse_toml(f"value = {text}".encode("utf-8", "surrogatepass"))
    except Malformed:
        return text
    value = read.pop("value")
    return text if read or not isinstance(value, bool | int | float | str | list) else value
