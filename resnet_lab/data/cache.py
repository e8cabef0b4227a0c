"""Decoded images on disk: every picture is decoded once, whatever happens to the process that does it.

A folder of the cache belongs to one source in one image format and holds

    pixels.u8       one row of S x S x C bytes per image, appended (`row_store`)
    index.sqlite    digest -> row, checksum and what decoding found; path -> stamp and digest (`ledger`)
    copies.json     which images are near copies, once they were looked for (`known_copies`)

Rows are found by their content's digest: a file that changed gets a new one, a file that was renamed or copied finds
the old.
"""

import json
import shutil
import sqlite3
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnet_lab.core.images import ImageSet
from resnet_lab.core.watcher import SILENT, Watcher
from resnet_lab.data.bit_depth import DEPTHS
from resnet_lab.data.cache_folders import PIXELS, cache_folder, held
from resnet_lab.data.decoding import ImageInfo
from resnet_lab.data.filling import Filling
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.data.ledger import Ledger, encoded, is_damage

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

    examined: tuple[ImageInfo, ...]
    rows: NDArray[np.int64]
    folder: Path
    pixels: Path | None


def store(
    images: ImageSet, image_format: ImageFormat, *, keep_pixels: bool = True, watcher: Watcher = SILENT
) -> Stored:
    """Bring the cache up to date with a set: decode what is new or changed, check what is there.

    Raises:
        DataError: the cache cannot be written, or the disk is full; what was decoded so far is kept.
    """
    folder = _folder(images.name, image_format, keep_pixels)
    with held(folder, watcher):
        try:
            return _store(images, image_format, folder, keep_pixels, watcher)
        except sqlite3.DatabaseError as error:
            if not is_damage(error, folder):
                raise
            watcher.say(f"the index of the cache is damaged ({error}); all images are decoded again")
            shutil.rmtree(folder)  # with the pixels: whoever reads the old ones has them open still
            folder.mkdir()
            return _store(images, image_format, folder, keep_pixels, watcher)


def store_at_one_depth(
    images: ImageSet, image_format: ImageFormat, *, keep_pixels: bool = True, watcher: Watcher = SILENT
) -> tuple[Stored, ImageFormat]:
    """`store`, with pictures of 16 bits scaled by the bits in use of all of them; the image format with that depth.

    Raises:
        DataError: as `store`.
    """
    stored = store(images, image_format, keep_pixels=keep_pixels, watcher=watcher)
    used = [each.depth for each in stored.examined if each.depth is not None]
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


def bytes_needed(images: ImageSet, image_format: ImageFormat) -> int:
    """An upper bound of what storing a set would add to the disk: the images whose files are new or changed."""
    try:
        with Ledger(_folder(images.name, image_format, keep_pixels=True)) as ledger:
            seen = ledger.files()
    except (sqlite3.DatabaseError, OSError):
        seen = {}  # missing or damaged: `store` rebuilds it

    def is_stored(position: int) -> bool:
        stamp, _ = seen.get(encoded(images.paths[position]), (None, ""))
        try:
            return stamp is not None and (images.stamp is None or encoded(images.stamp(position)) == stamp)
        except OSError:
            return False

    return sum(not is_stored(position) for position in range(len(images))) * image_format.nbytes


def _store(images: ImageSet, image_format: ImageFormat, folder: Path, keep_pixels: bool, watcher: Watcher) -> Stored:
    pixels = folder / PIXELS
    with Ledger(folder, create=True) as ledger:
        used = datetime.now(UTC).isoformat(timespec="seconds")
        ledger.tell(source=images.name, form=json.dumps(asdict(image_format)), used=used)
        records = Filling(ledger, pixels, images, image_format, keep_pixels, watcher).run()
    return Stored(
        examined=tuple(record.examined for record in records),
        rows=np.array([-1 if record.row is None else record.row for record in records], dtype=np.int64),
        folder=folder,
        pixels=pixels if keep_pixels else None,
    )


def _folder(name: str, image_format: ImageFormat, keep_pixels: bool) -> Path:
    key = sha256(encoded(f"{FORMAT} {name} {image_format} {keep_pixels}")).hexdigest()[:16]
    return cache_folder() / "decoded" / key
