"""The table of artists beside "Best Artworks of All Time", and the classes that follow from it.

The columns used are `name` and `paintings`, the number of images that the publisher counted.
"""

import io
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from resnet_lab.core.errors import DataError
from resnet_lab.core.records import LARGE
from resnet_lab.core.tables import csv_rows, read_text
from resnet_lab.data.sources.assembly import some
from resnet_lab.data.sources.spelling import loose_key

TABLE = "artists.csv"
REMEDY = "save it as CSV"


@dataclass(frozen=True)
class Artists:
    """The rows of a table of artists.

    Attributes:
        paintings: of each artist, as the table has it; empty where it has none.
        notes: what was odd about the table.
    """

    paintings: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def class_names(self, names: Collection[str]) -> dict[str, str]:
        """The artist whose name each name spells, by tolerant comparison; names of nobody in the table stay out."""
        by_key = {loose_key(artist): artist for artist in self.paintings}
        return {name: by_key[key] for name in names if (key := loose_key(name)) in by_key}

    def compared(self, found: Counter[str], unknown: Collection[str]) -> list[str]:
        """Differences between the table and the images found.

        Args:
            found: images of each class.
            unknown: names that are not in the table.
        """
        notes = []
        if unknown:
            notes.append(f"without a row in {TABLE}: {some(map(repr, sorted(unknown)))}")
        if absent := [artist for artist in self.paintings if not found[artist]]:
            notes.append(f"artists in {TABLE} without images: {some(absent)}")
        different = [
            f"{artist} {found[artist]} of {count}"
            for artist, count in self.paintings.items()
            if count and found[artist] and str(found[artist]) != count
        ]
        if different:
            notes.append(f"images found, of the paintings that {TABLE} counts: {some(different)}")
        return notes


def read_artists(table: Path) -> Artists:
    """The artists of a table; none, and a note why, where it is not such a table."""
    try:
        text = read_text(table, LARGE, DataError)
        lines = [values for _, values in csv_rows(io.StringIO(text, newline=""), table, DataError, REMEDY)]
    except DataError as error:
        return Artists(notes=(f"{TABLE} is ignored: {str(error).removeprefix(f'{table}: ')}",))
    columns, *rows = lines or [[]]
    for column in ("name", "paintings"):
        if columns.count(column) > 1:
            return Artists(notes=(f"{TABLE} is ignored: it has two columns {column!r}",))
    paintings: dict[str, str] = {}
    keys: set[str] = set()
    notes = []
    for values in rows:
        row = dict(zip(columns, values, strict=False))
        name = row.get("name", "").strip()
        if not (key := loose_key(name)):
            continue
        if key in keys:
            notes.append(f"{TABLE} has two rows for {name}; the first counts")
        else:
            keys.add(key)
            paintings[name] = row.get("paintings", "").strip()
    if not paintings:
        return Artists(notes=(f"{TABLE} is ignored: it has no column 'name' with names",))
    return Artists(paintings, tuple(notes))
