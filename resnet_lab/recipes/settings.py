"""Single values put into the tables of a recipe, as `--set train.lr=1e-3` says them."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo

from resnet_lab.core.errors import ConfigError, nearest
from resnet_lab.core.records import Malformed, parse_toml
from resnet_lab.data.config import DataConfig
from resnet_lab.network.component import listed
from resnet_lab.network.spec import CHANGES
from resnet_lab.recipes import TABLES, Tables
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
            raise ConfigError(f"setting {setting!r} is not of the form table.key=value, such as train.lr=1e-3")
        if table not in TABLES:
            raise ConfigError(f"setting {setting!r}: unknown table {table!r}; {nearest(table, TABLES)}")
        fields = _FIELDS[table]
        if key not in fields:
            raise ConfigError(f"setting {setting!r}: unknown key {key!r} of {table}; {nearest(key, fields)}")
        changed.setdefault(table, {})[key] = _value(text.strip(), fields[key])
    return changed


def _value(text: str, field: FieldInfo | None) -> Any:
    """What a text stands for in a field; None is a key of the network's, whose values are numbers and texts."""
    kinds = () if field is None else (field.annotation, *get_args(field.annotation))
    is_list = any(get_origin(kind) is tuple for kind in kinds)
    if text == "none" and (is_list or type(None) in kinds):
        return [] if is_list else None
    value = _toml_value(text)
    if is_list and isinstance(value, str):
        return [part for part in listed(value) if part]
    return value


def _toml_value(text: str) -> Any:
    """A truth value, number, text or list; what is none of these, or several lines, is a text as it stands."""
    try:
        read = parse_toml(f"value = {text}".encode("utf-8", "surrogatepass"))
    except Malformed:
        return text
    value = read.pop("value")
    return text if read or not isinstance(value, bool | int | float | str | list) else value
