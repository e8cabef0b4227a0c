"""A pass over a set of images that brings a folder of the cache up to date; the folder is held by this process.

Legend: N images.
"""

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
from resnet_lab.data.image_columns import AT_ONCE, NOTHING, ImageTable, Records, hexadecimal
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.data.ledger import Ledger, LedgerRow, encoded
from resnet_lab.data.row_store import Checksums, RowStore
from resnet_lab.data.stamps import Stamps, hash_of
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
        table: records, of which some may have been replaced.
        known: number of the record in `table` by digest, of 32 bytes: of those that are as they were written.
        damaged: digests of the others.
    """

    def __init__(self, ledger: Ledger, channels: int) -> None:
        self.ledger = ledger
        self.table = ImageTable(channels)
        self.known: dict[bytes, int] = {}
        self.damaged: set[str] = set()
        for digest, record in ledger.records():
            if record is None:
                self.damaged.add(digest)
            else:
                self.known[bytes.fromhex(digest)] = self.table.add(record.examined, record.row, record.checksum)
        ledger.forget(self.damaged)
        self._rows_to_mend: dict[str, int] = {}
        self._next_row = 1 + int(self.table.records["row"].max(initial=NOTHING))

    def checksums(self) -> Checksums:
        """Checksums of all rows, in their order."""
        rows = self.table.records["row"]
        there = np.flatnonzero(rows != NOTHING)
        there = there[np.argsort(rows[there])]
        return rows[there].astype(np.int64), self.table.records["checksum"][there].astype(np.int64)

    def seal(self) -> str:
        return self.ledger.about().get("seal", "")

    def add(self, entries: Sequence[StoredFile]) -> None:
        new = [each.new for each in entries if each.new]
        self.ledger.add(new, {each.path: (each.stamp, each.digest) for each in entries})

    def forget(self, rows: Sequence[int]) -> None:
        records = self.table.records
        there = np.flatnonzero(np.isin(records["row"], rows))
        digests = dict(zip(hexadecimal(records["digest"][there]), records["row"][there].tolist(), strict=True))
        records["row"][there] = NOTHING
        self._rows_to_mend |= digests
        self.damaged |= set(digests)
        self._forget(digests)

    def forget_unusable(self) -> None:
        """Forget images that could not be used; another decoder may open them."""
        records, numbers = self.table.records, np.array(list(self.known.values()), dtype=np.int64)
        self._forget(hexadecimal(records["digest"][numbers[records["cause"][numbers] != 0]]))

    def record(self, examined: ImageInfo, content: bytes, checksum: int) -> LedgerRow:
        """The new record of an image that was decoded: its row is the one that it had, or the next; none without it."""
        row = self._rows_to_mend.get(examined.digest, self._next_row) if content else None
        record = LedgerRow(row, None if row is None else checksum, examined)
        self.known[bytes.fromhex(examined.digest)] = self.table.add(examined, row, record.checksum)
        self._next_row = max(self._next_row, -1 if row is None else row + 1)
        return record

    def _forget(self, digests: Collection[str]) -> None:
        self.ledger.forget(digests)
        for digest in digests:
            del self.known[bytes.fromhex(digest)]


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
        stamps: of the images (`stamps_of`); those of images that are read again are replaced.

    Attributes:
        numbers: of each image its record in `index.table`, shape (N,).
        may_pass: whether an image could not be used for a cause that may be gone next time.
    """

    def __init__(
        self,
        ledger: Ledger,
        pixels: Path,
        images: ImageSet,
        image_format: ImageFormat,
        keep_pixels: bool,
        stamps: Stamps | None,
        watcher: Watcher,
    ) -> None:
        self.index = ImageIndex(ledger, image_format.channels)
        self.store = RowStore(pixels, image_format.nbytes, self.index)
        self.images = images
        self.image_format = image_format
        self.keep_pixels = keep_pixels
        self.watcher = watcher
        self.stamps = stamps
        self.numbers = np.full(len(images), NOTHING, dtype=np.int64)
        self.may_pass = False

    def run(self) -> None:
        """Give every image the number of its record in the index's table."""
        ledger = self.index.ledger
        self.store.check("checking the cache", self.watcher)
        if self.index.damaged:
            self.watcher.say(f"{len(self.index.damaged)} damaged images in the cache are decoded again")
        if ledger.about().get("pillow") != PIL.__version__:
            self.index.forget_unusable()
        self._compare_stamps()
        missing = np.flatnonzero(self.numbers == NOTHING)
        if len(missing):
            self._decode(missing.tolist())
        ledger.set_facts(seal=self.store.seal(), pillow=PIL.__version__)

    def records(self) -> Iterator[Records]:
        """Record of every image, in pieces."""
        for start in range(0, len(self.numbers), AT_ONCE):
            yield self.index.table.records[self.numbers[start : start + AT_ONCE]]

    def _compare_stamps(self) -> None:
        """Number the images that did not change since they were stored."""
        if self.stamps is None:
            return
        for position, (path, stamp) in enumerate(zip(self.images.paths, self.stamps.tolist(), strict=True)):
            known = self.index.ledger.file(encoded(path))
            if known and stamp and stamp == hash_of(known[0]):
                self.numbers[position] = self.index.known.get(bytes.fromhex(known[1]), NOTHING)

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
                self.may_pass = True
                self.numbers[position] = self.index.table.add(ImageInfo("", examined.cause))
                continue
            if self.stamps is not None:
                self.stamps[position] = hash_of(encoded(stamp))
            digest, path = examined.digest, encoded(self.images.paths[position])
            new = bytes.fromhex(digest) not in self.index.known
            record = self.index.record(examined, content, checksum) if new else None
            self.numbers[position] = self.index.known[bytes.fromhex(digest)]
            yield StoredFile(path, encoded(stamp), digest, record, content if new else b"")

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
        if bytes.fromhex(digest) in self.index.known:
            return _Read(position, stamp, ImageInfo(digest))
        pixels, examined = decode(content, self.image_format, digest)
        if pixels is None or not self.keep_pixels:
            return _Read(position, stamp, examined)
        row = pixels.tobytes()
        return _Read(position, stamp, examined, row, zlib.crc32(row))
