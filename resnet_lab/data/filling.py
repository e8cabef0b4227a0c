"""A pass over a set of images that brings a folder of the cache up to date; the folder is held by this process."""

import os
import zlib
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL

from resnet_lab.core.images import ImageSet
from resnet_lab.core.watcher import Watcher
from resnet_lab.data.decoding import NO_MEMORY, ImageInfo, UnreadableError, decode, digest_of, without_warnings
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.data.ledger import Ledger, LedgerRow, encoded
from resnet_lab.data.row_store import Checksums, RowStore
from resnet_lab.data.threads import in_order

IMAGES_A_TRANSACTION = 256


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An image file whose content is known.

    Attributes:
        new: the record of a content that was not known before.
        content: of the row that this has, if any.
    """

    path: bytes
    stamp: bytes
    digest: str
    new: LedgerRow | None = None
    content: bytes = b""

    @property
    def row(self) -> int | None:
        return self.new.row if self.new else None


class ImageIndex:
    """The ledger of a folder as the index of its rows.

    Attributes:
        known: records by digest: those that are as they were written.
        damaged: digests of the others.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.known, self.damaged = ledger.records()
        ledger.forget(self.damaged)
        self._digests = {record.row: digest for digest, record in self.known.items() if record.row is not None}
        self._rows_to_mend: dict[str, int] = {}
        self._next_row = 1 + max(self._digests, default=-1)

    def checksums(self) -> Checksums:
        rows = np.array(list(self._digests), dtype=np.int64)
        return rows, np.array([self.known[digest].checksum for digest in self._digests.values()], dtype=np.int64)

    def seal(self) -> str:
        return self.ledger.about().get("seal", "")

    def add(self, entries: Sequence[StoredFile]) -> None:
        new = [each.new for each in entries if each.new]
        self.ledger.add(new, {each.path: (each.stamp, each.digest) for each in entries})

    def forget(self, rows: Sequence[int]) -> None:
        digests = {self._digests.pop(row): row for row in rows}
        self._rows_to_mend |= digests
        self.damaged |= set(digests)
        self._forget(digests)

    def forget_unusable(self) -> None:
        """Forget images that could not be used; another decoder may open them."""
        self._forget([digest for digest, record in self.known.items() if record.examined.cause])

    def record(self, examined: ImageInfo, content: bytes, checksum: int) -> LedgerRow:
        """The new record of an image that was decoded: its row is the one that it had, or the next; none without it."""
        row = self._rows_to_mend.get(examined.digest, self._next_row) if content else None
        record = self.known[examined.digest] = LedgerRow(row, None if row is None else checksum, examined)
        self._next_row = max(self._next_row, -1 if row is None else row + 1)
        return record

    def _forget(self, digests: Collection[str]) -> None:
        self.ledger.forget(digests)
        for digest in digests:
            del self.known[digest]


class _Read(NamedTuple):
    """An image that was read, and decoded where its content is new: its pixels as bytes, and their checksum."""

    position: int
    stamp: str
    examined: ImageInfo
    content: bytes = b""
    checksum: int = 0


class Filling:
    """One pass.

    Args:
        pixels: the file of rows.
        keep_pixels: store rows too, and not only the properties found while decoding.
    """

    def __init__(
        self,
        ledger: Ledger,
        pixels: Path,
        images: ImageSet,
        image_format: ImageFormat,
        keep_pixels: bool,
        watcher: Watcher,
    ) -> None:
        self.index = ImageIndex(ledger)
        self.store = RowStore(pixels, image_format.nbytes, self.index)
        self.images = images
        self.image_format = image_format
        self.keep_pixels = keep_pixels
        self.watcher = watcher
        self.digests = [""] * len(images)
        self.causes: dict[int, str] = {}

    def run(self) -> list[LedgerRow]:
        """A record of every image."""
        ledger = self.index.ledger
        self.store.check("checking the cache", self.watcher)
        if self.index.damaged:
            self.watcher.say(f"{len(self.index.damaged)} damaged images in the cache are decoded again")
        if ledger.about().get("pillow") != PIL.__version__:
            self.index.forget_unusable()
        self._compare_stamps()
        missing = [position for position, digest in enumerate(self.digests) if not digest]
        if missing:
            self._decode(missing)
        ledger.tell(seal=self.store.seal(), pillow=PIL.__version__)
        return [
            self.index.known[digest] if digest else LedgerRow(None, None, ImageInfo("", self.causes[position]))
            for position, digest in enumerate(self.digests)
        ]

    def _compare_stamps(self) -> None:
        """Fill in the digests of images that did not change since they were stored."""
        if self.images.stamp is None:
            return
        files = self.index.ledger.files()
        for position, path in enumerate(self.images.paths):
            stamp, digest = files.get(encoded(path), (b"", ""))
            try:
                if digest in self.index.known and encoded(self.images.stamp(position)) == stamp:
                    self.digests[position] = digest
            except OSError:
                continue  # gone or locked up since it was listed: reading it will say why

    def _decode(self, missing: Sequence[int]) -> None:
        """Fill in the digests of all other images, or the causes of those that could not even be read."""
        self.watcher.begin("decoding", len(missing))
        with (
            without_warnings(),
            ThreadPoolExecutor(1 + (os.cpu_count() or 1)) as pool,
            closing(in_order(pool, self._read, missing)) as read,
        ):
            files = self._files(read)
            while self.store.fill(islice(files, IMAGES_A_TRANSACTION)):
                pass

    def _files(self, read: Iterator[_Read]) -> Iterator[StoredFile]:
        for position, stamp, examined, content, checksum in read:
            self.watcher.advance()
            if not examined.digest or examined.cause == NO_MEMORY:  # which may be otherwise next time
                self.causes[position] = examined.cause
                continue
            digest = self.digests[position] = examined.digest
            path = encoded(self.images.paths[position])
            if digest in self.index.known:
                yield StoredFile(path, encoded(stamp), digest)
            else:
                record = self.index.record(examined, content, checksum)
                yield StoredFile(path, encoded(stamp), digest, record, content)

    def _read(self, position: int) -> _Read:
        """Read rows, in a thread."""
        try:
            stamp = self.images.stamp(position) if self.images.stamp else ""
            content = self.images.read(position)
            digest = digest_of(content)
        except OSError as error:
            return _Read(position, "", ImageInfo("", error.strerror or str(error)))
        except UnreadableError as error:
            return _Read(position, "", ImageInfo("", str(error)))
        known = self.index.known.get(digest)
        if known:
            return _Read(position, stamp, known.examined)
        pixels, examined = decode(content, self.image_format, digest)
        if pixels is None or not self.keep_pixels:
            return _Read(position, stamp, examined)
        row = pixels.tobytes()
        return _Read(position, stamp, examined, row, zlib.crc32(row))
