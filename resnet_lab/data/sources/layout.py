"""How a folder lays out its classes, seen from the names in it alone.

ROOT/<class>/...                            the usual one
ROOT/one/two/<class>/...                    folders that hold a single one are gone through
ROOT/train/<class>/... ROOT/test/<class>/...    the parts of a split
ROOT/resized/<artist>_<number>.jpg          "Best Artworks of All Time", flat
ROOT/images/images/<artist>/...             the same, beside `resized` and artists.csv
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from resnet_lab.data.sources.artists import TABLE
from resnet_lab.data.sources.assembly import PART_OF
from resnet_lab.data.sources.folders import is_hidden, is_image

FLAT = "resized"
NUMBERED = re.compile(r"(?P<name>.+)_\d+")
"""Of a flat folder's files, without the ending."""


class Branch(NamedTuple):
    """A folder whose images are of one class and, where the source says so, of one part."""

    name: str
    folder: str
    part: str = ""


@dataclass(frozen=True)
class Layout:
    """Where the images of a root are; all paths are from the root.

    Attributes:
        branches: the class folders; none where the images are flat.
        flat: the folder of images named `<class>_<number>`.
        table: artists.csv.
        strays: images that lie beside the class folders.
    """

    branches: tuple[Branch, ...] = ()
    flat: str | None = None
    table: Path | None = None
    strays: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Level(NamedTuple):
    """What is directly in a folder, hidden entries left out, sorted."""

    folders: list[str]
    images: list[str]


def find_layout(root: Path) -> Layout:
    """The layout of a root; no branches where there is no class folder.

    Raises:
        OSError: the root cannot be listed.
    """
    table, folder = _table_around(root), ""
    strays: list[str] = []
    notes: list[str] = []
    while True:
        level = level_of(root / folder)
        table = table or _table_in(root / folder)
        if _is_flat(level) and (table or (root / folder).name == FLAT):
            return Layout(flat=folder, table=table)
        strays += [_join(folder, name) for name in level.images]
        folders = level.folders
        if FLAT in folders and (flat := _flat_within(root, _join(folder, FLAT))) is not None:
            others = [name for name in folders if name != FLAT]
            if not others:
                return Layout(flat=flat, table=table, strays=tuple(strays))
            if table or others == ["images"]:
                notes.append(f"the images in {_join(folder, FLAT)} are passed over for those in {', '.join(others)}")
                folders = others
        if len(folders) != 1 or not _leads_on(root / folder / folders[0]):
            break
        folder = _join(folder, folders[0])
    if folder:
        notes.append(f"the class folders are those in {folder}")
    if parts := _parts(root, folder, folders):
        notes.append(f"the folders {', '.join(folders)} are taken as parts")
    branches = parts or [Branch(name, _join(folder, name)) for name in folders]
    return Layout(tuple(branches), table=table, strays=tuple(strays), notes=tuple(notes))


def level_of(folder: Path) -> Level:
    """What is directly in a folder; raises `OSError` where it cannot be listed."""
    folders, images = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                continue
            if _is_folder(entry):
                folders.append(entry.name)
            elif is_image(entry.name):
                images.append(entry.name)
    return Level(sorted(folders), sorted(images))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that runs in circles
        return False


def _is_flat(level: Level) -> bool:
    return not level.folders and any(NUMBERED.fullmatch(Path(name).stem) for name in level.images)


def _flat_within(root: Path, folder: str) -> str | None:
    """The flat folder that a folder is, or holds under its own name."""
    for candidate in (folder, _join(folder, FLAT)):
        try:
            if _is_flat(level_of(root / candidate)):
                return candidate
        except OSError:
            continue
    return None


def _leads_on(folder: Path) -> bool:
    """Whether a folder is no class, but holds folders alone."""
    try:
        level = level_of(folder)
    except OSError:
        return False
    return bool(level.folders) and not level.images


def _parts(root: Path, folder: str, folders: Sequence[str]) -> list[Branch]:
    """The class folders of training, validation and test, where these are what `folders` are."""
    if "train" not in folders or len(folders) < 2 or not set(folders) <= set(PART_OF):
        return []
    if not all(_leads_on(root / folder / part) for part in folders):
        return []
    return [
        Branch(name, _join(folder, part, name), PART_OF[part])
        for part in folders
        for name in level_of(root / folder / part).folders
    ]


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


def _join(*names: str) -> str:
    return "/".join(name for name in names if name)
