"""Class layout of a folder, seen from the names in it alone.

ROOT/<class>/...                            the usual one
ROOT/one/two/<class>/...                    folders that hold a single one are gone through
ROOT/train/<class>/... ROOT/test/<class>/...    the parts of a split: see `part_folders`
ROOT/resized/<artist>_<number>.jpg          "Best Artworks of All Time", flat
ROOT/images/images/<artist>/...             the same, beside `resized` and artists.csv
"""

import re
from dataclasses import dataclass
from pathlib import Path

from resnet_lab.data.sources.artists import TABLE
from resnet_lab.data.sources.levels import Branch, Level, join, level_of, subfolders
from resnet_lab.data.sources.part_folders import PartFolders, find_parts

FLAT = "resized"
NUMBERED = re.compile(r"(?P<name>.+)_\d+")
"""Names of a flat folder's files, without the ending."""


@dataclass(frozen=True)
class FolderLayout:
    """Location of the images of a root; all paths are relative to the root.

    Attributes:
        branches: the class folders; none where the images are flat.
        flat: the folder of images named `<class>_<number>`.
        table: artists.csv.
        strays: images that lie next to the class folders.
        aside: folders of images that belong to no class.
    """

    branches: tuple[Branch, ...] = ()
    flat: str | None = None
    table: Path | None = None
    strays: tuple[str, ...] = ()
    aside: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def find_layout(root: Path) -> FolderLayout:
    """The layout of a root; no branches where there is no class folder.

    Raises:
        OSError: the root cannot be listed.
        DataError: folders can be read as parts and as classes.
    """
    table, folder = _table_around(root), ""
    strays: list[str] = []
    notes: list[str] = []
    while True:
        level = level_of(root / folder)
        table = table or _table_in(root / folder)
        if _is_flat(level) and (table or (root / folder).name == FLAT):
            return FolderLayout(flat=folder, table=table)
        strays += [join(folder, name) for name in level.images]
        folders = level.folders
        if FLAT in folders and (flat := _flat_within(root, join(folder, FLAT))) is not None:
            others = [name for name in folders if name != FLAT]
            if not others:
                return FolderLayout(flat=flat, table=table, strays=tuple(strays))
            if table or others == ["images"]:
                notes.append(f"the images in {join(folder, FLAT)} are ignored for those in {', '.join(others)}")
                folders = others
        parts = find_parts(root, folder, folders) if len(folders) > 1 else PartFolders()
        within = parts.within
        if len(folders) == 1 and subfolders(root / folder / folders[0]):
            within = folders[0]
        if within is None:
            break
        notes += parts.notes
        folder = join(folder, within)
    if folder:
        notes.append(f"the class folders are those in {folder}")
    branches = parts.branches or [Branch(name, join(folder, name)) for name in folders]
    return FolderLayout(
        tuple(branches),
        table=table,
        strays=(*strays, *parts.strays),
        aside=parts.aside,
        notes=(*notes, *parts.notes),
    )


def _is_flat(level: Level) -> bool:
    return not level.folders and any(NUMBERED.fullmatch(Path(name).stem) for name in level.images)


def _flat_within(root: Path, folder: str) -> str | None:
    """The flat folder that a folder is, or holds under its own name."""
    for candidate in (folder, join(folder, FLAT)):
        try:
            if _is_flat(level_of(root / candidate)):
                return candidate
        except OSError:
            continue
    return None


def _table_around(root: Path) -> Path | None:
    """The table beside a folder that the set keeps its images in."""
    place = root.resolve()
    while place.name in ("images", FLAT):
        place = place.parent
        if table := _table_in(place):
            return table
    return None


def _table_in(folder: Path) -> Path | None:
    return folder / TABLE if (folder / TABLE).is_file() else None
