"""Decoded images on disk: every picture is decoded once, whatever happens to the process that does it.

A folder of the cache belongs to one source in one form and holds

    pixels.u8       one row of S x S x C bytes an image, appended
    index.sqlite    digest -> row, checksum and what decoding told; path -> stamp and digest

A row is written before the transaction that names it, so a kill leaves at most rows without a name, which the next
process writes over. Rows are found by their content's digest: a file that changed gets a new one, a file that was
renamed or copied finds the old. A row whose checksum is wrong is decoded again; checksums are looked at unless the file
is known to be as the last process left it (`rows.Rows.seal`).
"""

import errno
import json
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Literal

import filelock
import numpy as np
import platformdirs
from numpy.typing import NDArray

from resnet_lab.core.errors import DataError, nearest
from resnet_lab.core.images import ImageSet
from resnet_lab.core.watcher import SILENT, Watcher
from resnet_lab.data.decoding import DEPTHS, Examined, Form
from resnet_lab.data.filling import Filling
from resnet_lab.data.ledger import NAME, Ledger, encoded, is_damage
from resnet_lab.data.rows import Rows

FORMAT = 2
"""Of a folder; raised whenever what decoding makes of an image changes."""

PIXELS = "pixels.u8"
ABOUT = "about.json"
FEATURES = tuple(f"{part}.{what}" for part in ("train", "val") for what in ("features", "sums"))
"""What a folder of features holds beside `ABOUT`."""

SHARDS = "shards"
"""The folder of those that were fetched."""


def cache_folder() -> Path:
    """Where the cache is: `RESNET_LAB_CACHE`, or the user's cache folder of the platform."""
    return Path(os.environ.get("RESNET_LAB_CACHE") or platformdirs.user_cache_path("resnet-lab"))


@dataclass(frozen=True)
class Stored:
    """The images of a set in a folder of the cache.

    Attributes:
        examined: of each image.
        rows: of each image in pixels.u8, shape (N,); -1 for images that cannot be used.
        pixels: the file; None where only what decoding told was kept.
    """

    examined: tuple[Examined, ...]
    rows: NDArray[np.int64]
    pixels: Path | None


def store(images: ImageSet, form: Form, *, keep_pixels: bool = True, watcher: Watcher = SILENT) -> Stored:
    """Bring the cache up to date with a set: decode what is new or changed, check what is there.

    Raises:
        DataError: the cache cannot be written, or the disk is full; what was decoded so far is kept.
    """
    folder = _folder(images.name, form, keep_pixels)
    try:
        with _lock(folder, watcher):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                return _store(images, form, folder, keep_pixels, watcher)
            except sqlite3.DatabaseError as error:
                if not is_damage(error, folder):
                    raise
                watcher.say(f"the index of the cache is damaged ({error}); all images are decoded again")
                shutil.rmtree(folder)  # with the pixels: whoever reads the old ones has them open still
                folder.mkdir()
                return _store(images, form, folder, keep_pixels, watcher)
    except (OSError, sqlite3.DatabaseError) as error:
        raise DataError(_why(folder, error)) from None


def store_at_one_depth(
    images: ImageSet, form: Form, *, keep_pixels: bool = True, watcher: Watcher = SILENT
) -> tuple[Stored, Form]:
    """`store`, with pictures of 16 bits scaled by the bits in use of all of them; the form with that depth.

    Raises:
        DataError: as `store`.
    """
    stored = store(images, form, keep_pixels=keep_pixels, watcher=watcher)
    used = [each.depth for each in stored.examined if each.depth is not None]
    if form.depth is not None or not used:
        return stored, form
    depth = max(used)
    if depth < DEPTHS[-1]:
        watcher.say(
            f"{len(used)} pictures of 16 bits use {depth} of them at most, so that {2**depth - 1} is taken for white"
        )
    if dark := sum(each <= depth - 4 for each in used):
        watcher.say(
            f"{dark} of {len(used)} pictures of 16 bits use a sixteenth of the others' range or less, and stay dark: "
            "if they are of another kind, convert them to 8 bits"
        )
    form = replace(form, depth=depth)
    if set(used) != {depth}:  # else each has been scaled so already
        stored = store(images, form, keep_pixels=keep_pixels, watcher=watcher)
    return stored, form


def bytes_needed(images: ImageSet, form: Form) -> int:
    """An upper bound of what storing a set would add to the disk: the images whose files are new or changed."""
    try:
        with Ledger(_folder(images.name, form, keep_pixels=True)) as ledger:
            seen = ledger.files()
    except (sqlite3.DatabaseError, OSError):
        seen = {}  # nothing there yet, or damaged: `store` begins anew

    def is_stored(position: int) -> bool:
        stamp, _ = seen.get(encoded(images.paths[position]), (None, ""))
        try:
            return stamp is not None and (images.stamp is None or encoded(images.stamp(position)) == stamp)
        except OSError:
            return False

    return sum(not is_stored(position) for position in range(len(images))) * form.nbytes


def bytes_free() -> int:
    """Of the disk that the cache is on."""
    folder = cache_folder().absolute()
    while not os.path.exists(folder):
        folder = folder.parent
    return shutil.disk_usage(folder).free


Kind = Literal["images", "index", "features", "shards"]


@dataclass(frozen=True)
class CacheEntry:
    """A folder of the cache.

    Attributes:
        kind: decoded images, what decoding told of them without their pixels, what frozen parts of a network made of
            them, or fetched shards.
        source: the name of the image set; empty where the folder's index is damaged, and of shards.
        form: of its images; None where the index is damaged, and of shards.
        images: number of different images, with those that cannot be used; of shards, of these.
        nbytes: that it takes on the disk.
        used: when a set was last stored or looked up there; None where the index is damaged, and of shards.
    """

    kind: Kind
    folder: Path
    source: str
    form: Form | None
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


def _entries() -> list[CacheEntry]:
    found = [_entry(folder) for folder in _ours("decoded", {PIXELS, NAME, f"{NAME}-journal"})]
    found += [_features(folder) for folder in _ours("frozen", {ABOUT, *FEATURES})]
    shards = cache_folder() / SHARDS
    if shards.is_dir() and (fetched := [path.stat().st_size for path in shards.iterdir()]):
        found.append(CacheEntry("shards", shards, "", None, len(fetched), sum(fetched), None))
    return found


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
            with _lock(entry.folder):
                shutil.rmtree(entry.folder)
        except filelock.Timeout:
            raise DataError(
                f"{entry.folder}: another process is filling this part of the cache ({entry.source}); clear it when "
                "that has ended"
            ) from None
        except OSError as error:
            raise DataError(f"{entry.folder}: cannot be deleted: {error.strerror}") from None
    return sum(entry.nbytes for entry in chosen)


def _store(images: ImageSet, form: Form, folder: Path, keep_pixels: bool, watcher: Watcher) -> Stored:
    rows = Rows(folder / PIXELS, form.nbytes)
    with Ledger(folder, create=True) as ledger:
        used = datetime.now(UTC).isoformat(timespec="seconds")
        ledger.tell(source=images.name, form=json.dumps(asdict(form)), used=used)
        records = Filling(ledger, rows, images, form, keep_pixels, watcher).run()
    return Stored(
        examined=tuple(record.examined for record in records),
        rows=np.array([-1 if record.row is None else record.row for record in records], dtype=np.int64),
        pixels=rows.path if keep_pixels else None,
    )


def _folder(name: str, form: Form, keep_pixels: bool) -> Path:
    key = sha256(encoded(f"{FORMAT} {name} {form} {keep_pixels}")).hexdigest()[:16]
    return cache_folder() / "decoded" / key


def _ours(parent: str, files: Set[str]) -> list[Path]:
    """Folders that are the cache's: by their names, and they hold nothing but such files."""
    return [
        folder
        for folder in sorted(cache_folder().glob(f"{parent}/*"))
        if re.fullmatch("[0-9a-f]{16}", folder.name)
        and folder.is_dir()
        and not folder.is_symlink()
        and (inside := {path.name for path in folder.iterdir()})
        and inside <= files
    ]


def _entry(folder: Path) -> CacheEntry:
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    kind: Kind = "images" if sizes.get(PIXELS) else "index"
    nbytes = sum(sizes.values())
    try:
        with Ledger(folder) as ledger:
            about, number = ledger.about(), len(ledger)
        form, used = Form(**json.loads(about["form"])), datetime.fromisoformat(about["used"])
        return CacheEntry(kind, folder, about["source"], form, number, nbytes, used)
    except (sqlite3.DatabaseError, KeyError, ValueError, TypeError):
        return CacheEntry(kind, folder, "", None, 0, nbytes, None)


def _features(folder: Path) -> CacheEntry:
    nbytes = sum(path.stat().st_size for path in folder.iterdir())
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        images = sum(  # a sum of 8 bytes for each view of each
            (folder / f"{part}.sums").stat().st_size // 8 // views for part, views in about["views"].items()
        )
        form, used = Form(**about["form"]), datetime.fromisoformat(about["used"])
        return CacheEntry("features", folder, about["source"], form, images, nbytes, used)
    except (OSError, KeyError, ValueError, TypeError):
        return CacheEntry("features", folder, "", None, 0, nbytes, None)


@contextmanager
def _lock(folder: Path, watcher: Watcher | None = None) -> Iterator[None]:
    """Held while a folder is changed; without a watcher to tell of the wait `filelock.Timeout` is raised.

    It lies outside of the folder, so that deleting that does not split those who wait for it.
    """
    path = cache_folder() / "locks" / folder.name
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        if watcher is None:
            raise
        watcher.say("another process is filling this part of the cache; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _why(folder: Path, error: OSError | sqlite3.DatabaseError) -> str:
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "full" in str(error):
        return (
            f"{folder}: the disk of the cache is full; free some space, `resnet-lab data cache clear`, "
            "or name another place in RESNET_LAB_CACHE"
        )
    cause = getattr(error, "strerror", None) or error
    return f"{folder}: the cache cannot be used: {cause}; name another place in RESNET_LAB_CACHE"
