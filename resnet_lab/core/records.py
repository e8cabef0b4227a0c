"""Records that somebody else may have written: read within bounds, and checked against a model of what they hold.

A file is read up to a size. JSON is refused before it is parsed where it is nested too deep or holds too many values,
and while it is parsed where a key occurs twice or a number has too many digits, is infinite or none.
"""

import json
import tomllib
from array import array
from collections import Counter
from collections.abc import Collection, Mapping
from itertools import accumulate
from math import isfinite
from pathlib import Path
from re import DOTALL
from re import compile as pattern
from reprlib import Repr
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import PydanticCustomError

from resnet_lab.core.errors import ResNetLabError, printable

SMALL = 2**20
"""Most bytes of a record that a person may have written by hand: a design, a network, a recipe."""

LARGE = 2**24
"""Most bytes of other records."""

HEADER = 100_000_000
"""Most bytes of the JSON before the tensors of a safetensors file, by the format."""

TABLE = 2**28
"""Most bytes of a table with a row per image."""

DEPTH = 64
VALUES = 2**22
DIGITS = 20
ENTRIES = 10_000
"""Most keys of a table within a record, and most items of a list in it that is no list of images."""

_STRING = pattern(rb'"(?:[^"\\]++|\\.)*+"?', DOTALL)
_STEPS = bytes.maketrans(b"[{]}", b"\1\1\xff\xff")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[{]}"))

T = TypeVar("T")
B = TypeVar("B", bound=Any)
Names = TypeVar("Names", bound=Collection[str])
E = TypeVar("E", bound=ResNetLabError)


class Record(BaseModel):
    """Base of what is read from records: immutable, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class OpenRecord(BaseModel):
    """Base of records that later versions add keys to: types are exact, and unknown keys are left."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)


class RecordedFile(OpenRecord):
    """A plugin that is a file, as a record names it: path and SHA-256."""

    path: str
    source: str | None = None


class Malformed(ValueError):
    """Text that is not a record; the message has the reason."""


def bounded(value: Any) -> Any:
    """A table or list that is not checked entry by entry before it is known to be short."""
    if isinstance(value, dict | list | tuple) and len(value) > ENTRIES:
        raise PydanticCustomError("entries", f"Input should have at most {ENTRIES:,} entries")
    return value


Finite = Annotated[float, Field(allow_inf_nan=False)]
Items = Annotated[list[T], FailFast()]
"""A list of any length, of which the first wrong item is reported."""

Tuple = Annotated[tuple[T, ...], FailFast()]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
Seconds = Annotated[float, Field(ge=0, le=1e10, strict=True)]
"""Duration of a training or an epoch, at most three centuries."""

Proportion = Annotated[float, Field(ge=0, le=1, strict=True)]
Share = Annotated[float, Field(ge=0, lt=1, strict=True)]
Seed = Annotated[int, Field(ge=0, le=2**62, strict=True)]
Count = Annotated[int, Field(ge=1, le=10**6, strict=True)]
"""Number of epochs, of images per batch and the like."""

Number = Annotated[int, Field(ge=0, le=2**53, strict=True)]
"""Number of images or files, which may be none."""


def distinct(names: Names) -> Names:
    """Names of classes, each there once and none empty; raises for pydantic."""
    double = Counter(names).most_common(1)
    if double and double[0][1] > 1:
        raise PydanticCustomError("classes", "Class {name} is listed twice", {"name": repr_of(double[0][0])})
    if "" in names:
        raise PydanticCustomError("classes", "A class has no name")
    return names


ClassNames = Annotated[tuple[str, ...], FailFast(), Field(max_length=10**6), AfterValidator(distinct)]
"""Class names in the order of the logits."""

Entries = Annotated[dict[str, T], BeforeValidator(bounded)]


def read_bytes(path: Path, most: int, error: type[E], remedy: str = "") -> bytes:
    """The content of a file; raises `error` where it cannot be read or is longer than `most` bytes."""
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as failure:
        raise error(f"{path}: cannot be read: {failure.strerror}") from None
    except ValueError as failure:  # a NUL in the path
        raise error(f"{path}: cannot be read: {failure}") from None
    if len(content) > most:
        raise error(f"{path}: larger than {most:,} bytes, the limit for such a file{_and(remedy)}")
    return content


def parse_json(content: str | bytes, *, non_finite: bool = False) -> Any:
    """Parse a JSON text.

    Args:
        non_finite: take `NaN` and `Infinity` too, as Python writes them.

    Raises:
        Malformed: not JSON, or beyond a bound.
    """
    raw = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    bare = _STRING.sub(b"", raw)
    if max(accumulate(array("b", bare.translate(_STEPS, _NO_BRACKETS))), default=0) > DEPTH:
        raise Malformed(f"nested deeper than {DEPTH} lists and tables")
    if sum(map(bare.count, (b",", b"[", b"{"))) > VALUES:
        raise Malformed(f"more than {VALUES:,} values")
    finite = None if non_finite else _refused
    try:
        text = raw.decode() if isinstance(content, bytes) else content
        return json.loads(
            text, parse_int=_integer, parse_float=_real, parse_constant=finite, object_pairs_hook=_without_doubles
        )
    except UnicodeDecodeError as failure:
        raise Malformed(f"not UTF-8 at byte {failure.start}") from None
    except Malformed:
        raise
    except ValueError as failure:
        raise Malformed(f"not JSON: {failure}") from None


def parse_toml(content: bytes) -> dict[str, Any]:
    """Parse a TOML text; raises `Malformed`."""
    try:
        return tomllib.loads(content.decode())
    except RecursionError:
        raise Malformed("not TOML: nested too deep") from None
    except ValueError as failure:
        raise Malformed(f"not TOML: {failure}") from None


def read_json(path: Path, error: type[E], *, most: int = LARGE, remedy: str = "", non_finite: bool = False) -> Any:
    """Read a JSON file, unchecked; raises `error` where it cannot be read."""
    try:
        return parse_json(read_bytes(path, most, error, remedy), non_finite=non_finite)
    except Malformed as failure:
        raise error(f"{path}: damaged: {failure}{_and(remedy)}") from None


def validated(
    model: type[B] | TypeAdapter[B], data: Any, where: str, error: type[ResNetLabError], remedy: str = ""
) -> B:
    """`data` as a `model`, or `error` with one sentence: where, got, allowed."""
    try:
        found: B = model.validate_python(data) if isinstance(model, TypeAdapter) else model.model_validate(data)
        return found
    except ValidationError as failure:
        first = failure.errors(include_url=False)[0]
    keys = ".".join(str(part) for part in first["loc"] if not str(part).startswith(("constrained-", "function-")))
    key = f"{shortened(keys)}: " if keys else ""
    got = "" if first["type"] in ("missing", "entries", "contradiction") else f", got {repr_of(first['input'])}"
    allowed = ""
    if first["type"] == "extra_forbidden":
        allowed = " (unknown key; check its spelling, or upgrade resnet-lab)"
    raise error(f"{where}: {key}{problem_of(first)}{got}{allowed}{_and(remedy)}") from None


def problem_of(error: Mapping[str, Any]) -> str:
    """Message of one of pydantic's errors, in the terms of JSON and TOML, as part of a sentence."""
    kind, message = error["type"], str(error["msg"])
    if kind in _EXPECTED:
        return f"input should be {_EXPECTED[kind]}"
    if kind in ("too_short", "too_long"):
        what, _, rest = message.removesuffix(f", not {error['ctx'].get('actual_length')}").partition(" ")
        message = f"{_NAMES.get(what, what)} {rest.removesuffix(' after validation')}"
    return f"{message[0].lower()}{message[1:]}"


_EXPECTED = {
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type", "iterable_type"), "a list"),
    **dict.fromkeys(("dict_type", "mapping_type", "model_type", "model_attributes_type", "dataclass_type"), "a table"),
    "path_type": "a path, written as text",
    "none_required": "null",
}
"""Expected values in the terms of JSON and TOML, by pydantic's types of errors."""

_NAMES = {**dict.fromkeys(("Tuple", "Set", "Frozenset"), "List"), "Dictionary": "Table"}


def repr_of(value: Any) -> str:
    """A value for a message: escaped, and of a long one the beginning and end."""
    return _SHORT.repr(value)


def shortened(text: str, most: int = 80) -> str:
    """A text for a message, with control characters escaped."""
    text = printable(text[: most + 1])
    return text if len(text) <= most else f"{text[:most]}..."


_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 100


def _and(remedy: str) -> str:
    return f"; {remedy}" if remedy else ""


def _integer(text: str) -> int:
    if len(text) > DIGITS:
        raise Malformed(f"a whole number of {len(text):,} digits")
    return int(text)


def _real(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise Malformed(f"the number {shortened(text, 20)} is too large")
    return value


def _refused(name: str) -> Any:
    raise Malformed(f"{name} is not a number")


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        double = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise Malformed(f"the key {repr_of(double)} occurs twice in one table")
    return table
