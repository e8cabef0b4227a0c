"""Classes of a source and of a network, matched by name."""

import io
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from os.path import isfile
from pathlib import Path

from resnet_lab.core.errors import ConfigError, DataError, nearest
from resnet_lab.core.records import LARGE
from resnet_lab.core.tables import csv_rows, read_text
from resnet_lab.data.sources.assembly import some

REMEDY = "a class map is CSV with the columns old and new"


@dataclass(frozen=True)
class Match:
    """Wanted class of each given one.

    Attributes:
        numbers: of each given class its place among the wanted ones; -1 where it is none of them, or is left out.
        unknown: given classes that are none of the wanted ones.
        missing: wanted classes that none of the given ones is.
        remarks: matches that are not by the same name.
    """

    numbers: tuple[int, ...]
    unknown: tuple[str, ...]
    missing: tuple[str, ...]
    remarks: tuple[str, ...]


def match_classes(given: Sequence[str], wanted: Sequence[str], renamed: Mapping[str, str] | None = None) -> Match:
    """Match classes by name: by the same one, then by one that differs in case or separators alone.

    Args:
        renamed: names of either side by what they are called there; the empty text leaves a class out.

    Raises:
        DataError: `renamed` makes two wanted classes one.
    """
    renamed = renamed or {}
    place: dict[str, int] = {}
    for number, name in enumerate(wanted):
        called = renamed.get(name) or name
        if called in place:
            raise DataError(f"the class map makes {wanted[place[called]]!r} and {name!r} one class of the network")
        place[called] = number
    names = [renamed.get(name, name) for name in given]
    found = {name: place[called] for name, called in zip(given, names, strict=True) if called in place}
    left = [(name, called) for name, called in zip(given, names, strict=True) if name not in found and called]
    free = {called: number for called, number in place.items() if number not in found.values()}
    similar = {_key(called): number for called, number in free.items()}
    claims = Counter([*map(_key, free), *(_key(called) for _, called in left)])
    for name, called in left:
        if claims[_key(called)] == 2 and _key(called) in similar:
            found[name] = similar[_key(called)]
    remarks = [f"{name!r} is taken for {wanted[number]!r}" for name, number in found.items() if name != wanted[number]]
    out = [name for name, called in zip(given, names, strict=True) if not called]
    return Match(
        numbers=tuple(found.get(name, -1) for name in given),
        unknown=tuple(name for name, _ in left if name not in found),
        missing=tuple(name for number, name in enumerate(wanted) if number not in found.values()),
        remarks=(*remarks, *([f"images of {some(map(repr, out))} are left out"] if out else [])),
    )


def require_known(renamed: Mapping[str, str], classes: Collection[str]) -> None:
    """Refuse a class map that has a name of no class, which would do nothing.

    Args:
        classes: of all sides. What a class is called may also be a name that the map gives to several.

    Raises:
        ConfigError: the first such name, and those that are nearest.
    """
    given = Counter(renamed.values())
    for old, new in renamed.items():
        for name, known in ((old, False), (new, not new or given[new] > 1)):
            if not known and name not in classes:
                raise ConfigError(
                    f"--class-map '{old}={new}': neither the images nor the network have a class {name!r}; "
                    f"{nearest(name, classes)}"
                )


def read_class_map(texts: Sequence[str]) -> dict[str, str]:
    """Read `--class-map`: each a pair `old=new`, or a CSV file of two columns.

    Raises:
        DataError: neither, or one name for two classes.
    """
    found: dict[str, str] = {}
    for text in texts:
        path = Path(text)
        for old, new in _pairs_of(path) if isfile(path) else [_pair(text)]:
            if found.setdefault(old, new) != new:
                raise DataError(f"--class-map: {old!r} is both {found[old]!r} and {new!r}; leave one of them")
    return found


def _pair(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not equals or not old.strip():
        raise DataError(f"--class-map {text}: neither a file nor a pair; write old=new, or old= to leave a class out")
    return old.strip(), new.strip()


def _pairs_of(path: Path) -> list[tuple[str, str]]:
    text = read_text(path, LARGE, DataError)
    pairs = []
    for line, values in csv_rows(io.StringIO(text, newline=""), path, DataError, REMEDY, strict=True):
        if len(values) != 2:
            raise DataError(f"{path}: line {line}: {len(values)} values; {REMEDY}")
        old, new = values
        if (old, new) != ("old", "new"):
            pairs.append((old.strip(), new.strip()))
    return pairs


def _key(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name.casefold()).strip()
