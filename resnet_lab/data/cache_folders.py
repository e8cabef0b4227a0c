"""The folders of the cache: where they are, held by one process at a time, listed, and cleared."""

import errno
import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from resnet_lab.core import locks
from resnet_lab.core.cache_location import cache_folder, code_folder
from resnet_lab.core.errors import DataError, RunError, nearest
from resnet_lab.core.locks import claimed
from resnet_lab.core.records import parse_json, read_json
from resnet_lab.core.watcher import Watcher
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.data.ledger import NAME, Ledger

PIXELS = "pixels.u8"
RECORDS = "set.records"
GROUPS = "copies.json"
ABOUT = "about.json"
FEATURES = tuple(f"{part}.{what}" for part in ("train", "val") for what in ("features", "sums"))
"""Files in a folder of features beside `ABOUT`."""

_UNFINISHED = re.compile(r"^\.(.+)\.[^.]+")
"""Leftovers of an interrupted `write_atomically`."""

SHARDS = "shards"
"""The folder of those that were fetched."""


def bytes_free() -> int:
    """Free bytes of the disk that the cache is on."""
    folder = cache_folder().absolute()
    while not os.path.exists(folder):
        folder = folder.parent
    return shutil.disk_usage(folder).free


class CacheError(DataError):
    """A folder of the cache cannot be written."""


WAITING = "another process is filling this part of the cache; waiting for it"


@contextmanager
def held(folder: Path, watcher: Watcher, while_waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """A folder of the cache, made where it is missing, that no other process changes meanwhile.

    Args:
        while_waiting: called now and then while another process holds it; what it raises ends the wait.

    Raises:
        CacheError: here or within it cannot be written, or the disk is full.
    """
    try:
        with locks.held(_lock(folder), lambda: watcher.say(WAITING), while_waiting):
            folder.mkdir(parents=True, exist_ok=True)
            yield
    except (OSError, sqlite3.DatabaseError, RunError) as error:
        raise CacheError(_why(folder, error)) from None


def is_full(error: Exception) -> bool:
    """Whether the disk is at fault, or the share of it that the user may take."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "full" in str(error)


Kind = Literal["images", "index", "features", "shards", "code"]


@dataclass(frozen=True)
class CacheEntry:
    """A folder of the cache.

    Attributes:
        kind: decoded images, their properties without pixels, what frozen parts of a network made of
            them, fetched shards, or compiled code of networks.
        source: the name of the image set; empty where the folder's index is damaged, of shards and code.
        image_format: of its images; None where the index is damaged, of shards and code.
        images: number of different images, with those that cannot be used; of shards, of these; of code, 0.
        nbytes: that it takes on the disk.
        used: when a set was last stored or looked up there; None where the index is damaged, of shards and code.
    """

    kind: Kind
    folder: Path
    source: str
    image_format: ImageFormat | None
    images: int
    nbytes: int
    used: datetime | None


def entries() -> list[CacheEntry]:
    """All folders of the cache, the largest first.

    Raises:
        DataError: the cache cannot be read.
    """
    try:
        return sorted(_entries(), key=lambda entry: -entry.nbytes)
    except OSError as error:
        raise DataError(_why(cache_folder(), error)) from None


def clear(names: Sequence[str] | None = None) -> int:
    """Delete what the cache holds of these sources, or of all; bytes that were freed.

    A process that trains on the images keeps them until it ends.

    Args:
        names: of sources, or of folders of the cache, as `entries` has them.

    Raises:
        DataError: there is nothing of a source; another process is filling the folder, or it cannot be deleted.
    """
    chosen, known = entries(), {name for entry in entries() for name in (entry.source, entry.folder.name)}
    for name in names or ():
        if name not in known:
            raise DataError(f"{name}: the cache holds nothing of that name; {nearest(name, known - {''})}")
    if names is not None:
        chosen = [entry for entry in chosen if {entry.source, entry.folder.name} & set(names)]
    for entry in chosen:
        try:
            with claimed(_lock(entry.folder)) as is_mine:
                if is_mine:
                    shutil.rmtree(entry.folder)
        except OSError as error:
            raise DataError(f"{entry.folder}: cannot be deleted: {error.strerror}") from None
        if not is_mine:
            raise DataError(
                f"{entry.folder}: another process is filling this part of the cache ({entry.source}); clear it when "
                "that has ended"
            )
    return sum(entry.nbytes for entry in chosen)


def _entries() -> list[CacheEntry]:
    found = [_images(folder) for folder in _ours("decoded", {PIXELS, NAME, f"{NAME}-journal", RECORDS, GROUPS})]
    found += [_features(folder) for folder in _ours("frozen", {ABOUT, *FEATURES})]
    shards = cache_folder() / SHARDS
    if shards.is_dir() and (fetched := [path.stat().st_size for path in shards.iterdir()]):
        found.append(CacheEntry("shards", shards, "", None, len(fetched), sum(fetched), None))
    code = code_folder()
    if not code.is_symlink() and (sizes := [path.stat().st_size for path in code.rglob("*") if path.is_file()]):
        found.append(CacheEntry("code", code, "", None, 0, sum(sizes), None))
    return found


def _ours(parent: str, files: Set[str]) -> list[Path]:
    """Folders that are the cache's: by their names, and they hold nothing but such files."""
    return [
        folder
        for folder in sorted(cache_folder().glob(f"{parent}/*"))
        if re.fullmatch("[0-9a-f]{16}", folder.name)
        and folder.is_dir()
        and not folder.is_symlink()
        and (inside := {_UNFINISHED.sub(r"\1", path.name) for path in folder.iterdir()})
        and inside <= files
    ]


def _images(folder: Path) -> CacheEntry:
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    kind: Kind = "images" if sizes.get(PIXELS) else "index"
    nbytes = sum(sizes.values())
    try:
        with Ledger(folder) as ledger:
            about, number = ledger.about(), len(ledger)
        image_format, used = ImageFormat(**parse_json(about["form"])), datetime.fromisoformat(about["used"])
        if (records := folder / RECORDS).exists():
            used = max(used, datetime.fromtimestamp(records.stat().st_mtime, UTC))
        return CacheEntry(kind, folder, about["source"], image_format, number, nbytes, used)
    except (sqlite3.DatabaseError, KeyError, ValueError, TypeError):
        return CacheEntry(kind, folder, "", None, 0, nbytes, None)


def _features(folder: Path) -> CacheEntry:
    nbytes = sum(path.stat().st_size for path in folder.iterdir())
    try:
        about = read_json(folder / ABOUT, CacheError)
        images = sum(  # a sum of 8 bytes for each view of each
            (folder / f"{part}.sums").stat().st_size // 8 // views for part, views in about["views"].items()
        )
        image_format, used = ImageFormat(**about["form"]), datetime.fromisoformat(about["used"])
        return CacheEntry("features", folder, about["source"], image_format, images, nbytes, used)
    except (OSError, CacheError, AttributeError, KeyError, ValueError, TypeError):
        return CacheEntry("features", folder, "", None, 0, nbytes, None)


def _lock(folder: Path) -> Path:
    """It lies outside of the folder, so that deleting that does not split those who wait for it."""
    path = cache_folder() / "locks" / folder.name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _why(folder: Path, error: Exception) -> str:
    if is_full(error):
        return (
            f"{folder}: the disk of the cache is full; free some space, `resnet-lab data cache clear`, "
            "or name another place in RESNET_LAB_CACHE"
        )
    cause = getattr(error, "strerror", None) or error
    return f"{folder}: the cache cannot be used: {cause}; name another place in RESNET_LAB_CACHE"
