"""CSV from untrusted sources: read within bounds; errors name the line."""

import csv
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from resnet_lab.core.errors import ResNetLabError
from resnet_lab.core.records import TABLE, read_bytes

RESTORE = "restore the file"

E = TypeVar("E", bound=ResNetLabError)
NumberedRow = tuple[int, list[str]]
"""Values, and the line they end on, counted from 1."""


def csv_rows(lines: Iterable[str], path: Path, error: type[E], remedy: str, **dialect: Any) -> Iterator[NumberedRow]:
    """The rows of CSV that are not empty.

    Args:
        lines: with their ends, as a file opened with `newline=""` gives them.
        path: for messages.
        dialect: as `csv.reader` takes it.

    Raises:
        error: not CSV.
    """
    table = csv.reader(lines, **dialect)
    try:
        for values in table:
            if values:
                yield table.line_num, values
    except csv.Error as failure:
        raise error(f"{path}: line {table.line_num}: not CSV: {failure}; {remedy}") from None


def csv_table(
    lines: Iterable[str], path: Path, error: type[E], remedy: str, **dialect: Any
) -> tuple[list[str], Iterator[NumberedRow]]:
    """The names of the columns, none in an empty table, and the rows below; arguments as for `csv_rows`.

    Raises:
        error: not CSV; where the rows are asked for, one has more or fewer values than there are columns.
    """
    rows = csv_rows(lines, path, error, remedy, **dialect)
    _, columns = next(rows, (0, []))

    def whole() -> Iterator[NumberedRow]:
        for line, values in rows:
            if len(values) != len(columns):
                raise error(f"{path}: line {line}: {len(values)} values for {len(columns)} columns; {remedy}")
            yield line, values

    return columns, whole()


def rows_of(
    path: Path, needed: Collection[str], error: type[E], *, most: int = TABLE
) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a table that this program wrote, by column; other columns are returned too.

    Raises:
        error: the file cannot be read or is too large, misses a needed column or has it twice, or a row has more or
            fewer values than there are columns.
    """
    try:
        if path.stat().st_size > most:
            raise error(f"{path}: larger than {most:,} bytes, the limit for such a file")
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            columns, rows = csv_table(file, path, error, RESTORE)
            for name in needed:
                if columns.count(name) != 1:
                    what = f"two columns {name!r}; remove one" if name in columns else f"no column {name!r}"
                    raise error(f"{path} has {what}")
            for line, values in rows:
                yield line, dict(zip(columns, values, strict=True))
    except OSError as failure:
        raise error(f"{path}: cannot be read: {failure.strerror}") from None


def read_text(path: Path, most: int, error: type[E], remedy: str = "save it as CSV in UTF-8") -> str:
    """The text of a file in UTF-8; raises `error` where it cannot be read, is too large or in another encoding."""
    try:
        return read_bytes(path, most, error).decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        raise error(f"{path}: not UTF-8 at byte {failure.start}; {remedy}") from None
