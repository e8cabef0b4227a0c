"""Decoded images on disk: every picture is decoded once, whatever happens to the process that does it.

A folder of the cache belongs to one source in one image format and holds

    pixels.u8       one row of S x S x C bytes per image, appended (`row_store`)
    index.sqlite    digest -> row, checksum and what decoding found; path -> stamp and digest (`ledger`)
    set.records     what is known of the whole set, for as long as nothing changes (`recorded_set`)
    copies.json     which images are near copies, once they were looked for (`known_copies`)

Rows are found by their content's digest: a file that changed gets a new one, a file that was renamed or copied finds
the old.
"""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray

from resnet_lab.core.cache_location import cache_folder
from resnet_lab.core.errors import DataError
from resnet_lab.core.images import ImageSet
from resnet_lab.core.watcher import SILENT, Watcher
from resnet_lab.data import recorded_set
from resnet_lab.data.bit_depth import DEPTHS
from resnet_lab.data.cache_folders import PIXELS, RECORDS, CacheError, held
from resnet_lab.data.filling import Filling
from resnet_lab.data.image_columns import NOTHING, Digests, ImageColumns, hexadecimal
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.data.ledger import NAME, Ledger, encoded, is_damage
from resnet_lab.data.row_store import seal_of
from resnet_lab.data.stamps import Stamps, hash_of, key_of, stamps_of

FORMAT = 4
"""Format of a cache folder; raised whenever what decoding makes of an image changes."""


@dataclass(frozen=True)
class Stored:
    """The images of a set in a folder of the cache.

    Attributes:
        examined: of each image.
        rows: of each image in pixels.u8, shape (N,); -1 for images that cannot be used.
        folder: that of the cache.
        pixels: the file; None where only what decoding found was kept.
    """

    examined: ImageColumns
    rows: NDArray[np.int32]
    folder: Path
    pixels: Path | None


def store(
    images: ImageSet,
    image_format: ImageFormat,
    *,
    keep_pixels: bool = True,
    stamps: Stamps | None = None,
    watcher: Watcher = SILENT,
) -> Stored:
    """Bring the cache up to date with a set: decode what is new or changed, check what is there.

    Args:
        stamps: of the images as they are now, where they are known; those of images that are read are replaced.

    Raises:
        DataError: the cache cannot be written, or the disk is full; what was decoded so far is kept.
    """
    folder = _folder(images.name, image_format, keep_pixels)
    stamps = stamps_of(images) if stamps is None else stamps
    with held(folder, watcher):
        if (known := _known(images, stamps, folder)) is not None:
            with suppress(OSError):  # somebody else's may be read all the same
                os.utime(folder / RECORDS)  # the time of its last use
            return _stored(known, folder, keep_pixels)
        try:
            return _store(images, image_format, folder, keep_pixels, stamps, watcher)
        except sqlite3.DatabaseError as error:
            if not is_damage(error, folder):
                raise
            watcher.say(f"the index of the cache is damaged ({error}); all images are decoded again")
            shutil.rmtree(folder)  # with the pixels: whoever reads the old ones has them open still
            folder.mkdir()
            return _store(images, image_format, folder, keep_pixels, stamps, watcher)


def store_at_one_depth(
    images: ImageSet,
    image_format: ImageFormat,
    *,
    keep_pixels: bool = True,
    stamps: Stamps | None = None,
    watcher: Watcher = SILENT,
) -> tuple[Stored, ImageFormat]:
    """`store`, with pictures of 16 bits scaled by the bits in use of all of them; the image format with that depth.

    Raises:
        DataError: as `store`.
    """
    stored = store(images, image_format, keep_pixels=keep_pixels, stamps=stamps, watcher=watcher)
    depths = stored.examined.column("depth")
    used = depths[depths != NOTHING].tolist()
    if image_format.depth is not None or not used:
        return stored, image_format
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
    image_format = replace(image_format, depth=depth)
    if set(used) != {depth}:  # else each has been scaled so already
        stored = store(images, image_format, keep_pixels=keep_pixels, watcher=watcher)
    return stored, image_format


def bytes_needed(images: ImageSet, image_format: ImageFormat, stamps: Stamps | None = None) -> int:
    """An upper bound of what storing a set would add to the disk: the images whose files are new or changed.

    Args:
        stamps: as for `store`.
    """
    folder = _folder(images.name, image_format, keep_pixels=True)
    stamps = stamps_of(images) if stamps is None else stamps
    if _known(images, stamps, folder) is not None:
        return 0
    try:
        with Ledger(folder) as ledger:
            known = (ledger.file(encoded(path)) for path in images.paths)
            if stamps is None:
                stored = sum(each is not None for each in known)
            else:
                pairs = zip(known, stamps.tolist(), strict=True)
                stored = sum(each is not None and hash_of(each[0]) == stamp for each, stamp in pairs)
    except (sqlite3.DatabaseError, OSError):
        stored = 0  # missing or damaged: `store` rebuilds it
    return (len(images) - stored) * image_format.nbytes


def _known(images: ImageSet, stamps: Stamps | None, folder: Path) -> ImageColumns | None:
    """Records of a set, where neither it nor the folder changed since."""
    if not (key := _key(images, stamps, folder)):
        return None
    return recorded_set.read(folder / RECORDS, _signatures_in(folder), key)


def _key(images: ImageSet, stamps: Stamps | None, folder: Path) -> str:
    return key_of(images, stamps, PIL.__version__, seal_of(folder / NAME), seal_of(folder / PIXELS))


def _store(
    images: ImageSet,
    image_format: ImageFormat,
    folder: Path,
    keep_pixels: bool,
    stamps: Stamps | None,
    watcher: Watcher,
) -> Stored:
    with Ledger(folder, create=True) as ledger:
        used = datetime.now(UTC).isoformat(timespec="seconds")
        ledger.set_facts(source=images.name, form=json.dumps(asdict(image_format)), used=used)
        filling = Filling(ledger, folder / PIXELS, images, image_format, keep_pixels, stamps, watcher)
        filling.run()
    key = "" if filling.may_pass else _key(images, filling.stamps, folder)
    words = filling.index.table.words
    recorded_set.write(folder / RECORDS, key, filling.records(), words, image_format.channels)
    examined = recorded_set.read(folder / RECORDS, _signatures_in(folder))
    if examined is None:
        raise CacheError(f"{folder / RECORDS}: damaged while it was written; check the disk")
    return _stored(examined, folder, keep_pixels)


def _stored(examined: ImageColumns, folder: Path, keep_pixels: bool) -> Stored:
    return Stored(examined, examined.column("row"), folder, folder / PIXELS if keep_pixels else None)


def _signatures_in(folder: Path) -> Callable[[Digests], Iterator[bytes]]:
    """Reader of signatures, which are in the index alone: they are as large as all else, and seldom asked for."""

    def read(digests: Digests) -> Iterator[bytes]:
        if not len(digests):
            return
        try:
            with Ledger(folder, check=False) as ledger:
                yield from ledger.signatures(hexadecimal(digests))
        except (sqlite3.DatabaseError, KeyError, ValueError):
            raise DataError(f"{folder}: the index changed while in use; restart to repair it") from None

    return read


def _folder(name: str, image_format: ImageFormat, keep_pixels: bool) -> Path:
    key = sha256(encoded(f"{FORMAT} {name} {image_format} {keep_pixels}")).hexdigest()[:16]
    return cache_folder() / "decoded" / key
