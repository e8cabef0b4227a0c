"""A pass over a set of images that brings a folder of the cache up to date; the folder's lock is held."""

import os
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import NamedTuple

import PIL

from resnet_lab.core.images import ImageSet
from resnet_lab.core.watcher import Watcher
from resnet_lab.data.decoding import NO_MEMORY, Examined, Form, UnreadableError, decode, digest_of, without_warnings
from resnet_lab.data.ledger import Ledger, Record, encoded
from resnet_lab.data.rows import Rows, Write
from resnet_lab.data.threads import in_order

IMAGES_A_TRANSACTION = 256


class _Read(NamedTuple):
    """An image that was read, and decoded where its content is new: its pixels as bytes, and their checksum."""

    position: int
    stamp: str
    examined: Examined
    pixels: bytes = b""
    checksum: int = 0


class Filling:
    """One pass.

    Args:
        keep_pixels: store rows too, and not only what decoding tells.
    """

    def __init__(
        self, ledger: Ledger, rows: Rows, images: ImageSet, form: Form, keep_pixels: bool, watcher: Watcher
    ) -> None:
        self.ledger = ledger
        self.rows = rows
        self.images = images
        self.form = form
        self.keep_pixels = keep_pixels
        self.watcher = watcher
        self.known: dict[str, Record] = {}
        self.rows_to_mend: dict[str, int] = {}
        self.next_row = 0
        self.digests = [""] * len(images)
        self.causes: dict[int, str] = {}

    def run(self) -> list[Record]:
        """A record of every image."""
        self._load()
        self._compare_stamps()
        missing = [position for position, digest in enumerate(self.digests) if not digest]
        if missing:
            self._decode(missing)
        self.ledger.tell(seal=self.rows.seal(), pillow=PIL.__version__)
        return [
            self.known[digest] if digest else Record(None, None, Examined("", self.causes[position]))
            for position, digest in enumerate(self.digests)
        ]

    def _load(self) -> None:
        """Learn what is known, but for rows that are damaged and for causes that another Pillow gave."""
        about = self.ledger.about()
        records, damaged = self.ledger.records()
        at = {record.row: digest for digest, record in records.items() if record.row is not None}
        self.next_row = 1 + max(at, default=-1)
        if not at:
            self.rows.path.unlink(missing_ok=True)  # of an index that is lost: who reads it has it open still
            self.rows.path.touch()
        if at and about.get("seal") != (self.rows.seal() or "unknown"):
            self.watcher.begin("checking the cache", len(at))
            checksums = [(row, records[digest].checksum or 0) for row, digest in at.items()]
            self.rows_to_mend = {at[row]: row for row in self.rows.damaged(checksums, self.watcher.advance)}
            damaged |= set(self.rows_to_mend)
        if damaged:
            self.watcher.say(f"{len(damaged)} damaged images in the cache are decoded again")
        if about.get("pillow") != PIL.__version__:
            damaged |= {digest for digest, record in records.items() if record.examined.cause}
        self.ledger.forget(damaged)
        self.known = {digest: record for digest, record in records.items() if digest not in damaged}

    def _compare_stamps(self) -> None:
        """Fill in the digests of images that did not change since they were stored."""
        if self.images.stamp is None:
            return
        files = self.ledger.files()
        for position, path in enumerate(self.images.paths):
            stamp, digest = files.get(encoded(path), (b"", ""))
            try:
                if digest in self.known and encoded(self.images.stamp(position)) == stamp:
                    self.digests[position] = digest
            except OSError:
                continue  # gone or locked up since it was listed: reading it will say why

    def _decode(self, missing: Sequence[int]) -> None:
        """Fill in the digests of all other images, or the causes of those that could not even be read."""
        self.watcher.begin("decoding", len(missing))
        records: list[Record] = []
        files: dict[bytes, tuple[bytes, str]] = {}
        with self.rows.writing() as write, without_warnings():
            try:
                with (
                    ThreadPoolExecutor(1 + (os.cpu_count() or 1)) as pool,
                    closing(in_order(pool, self._read, missing)) as read,
                ):
                    for position, stamp, examined, pixels, checksum in read:
                        self.watcher.advance()
                        if not examined.digest or examined.cause == NO_MEMORY:  # which may be otherwise next time
                            self.causes[position] = examined.cause
                            continue
                        digest = self.digests[position] = examined.digest
                        if digest not in self.known:
                            self.known[digest] = self._kept(examined, pixels, checksum, write)
                            records.append(self.known[digest])
                        files[encoded(self.images.paths[position])] = encoded(stamp), digest
                        if len(files) == IMAGES_A_TRANSACTION:
                            self.ledger.add(records, files)
                            records, files = [], {}
            finally:  # an interruption keeps what was done
                self.ledger.add(records, files)

    def _read(self, position: int) -> _Read:
        """In a thread."""
        try:
            stamp = self.images.stamp(position) if self.images.stamp else ""
            content = self.images.read(position)
            digest = digest_of(content)
        except OSError as error:
            return _Read(position, "", Examined("", error.strerror or str(error)))
        except UnreadableError as error:
            return _Read(position, "", Examined("", str(error)))
        if digest in self.known:
            return _Read(position, stamp, self.known[digest].examined)
        pixels, examined = decode(content, self.form, digest)
        if pixels is None or not self.keep_pixels:
            return _Read(position, stamp, examined)
        content_of_row = pixels.tobytes()
        return _Read(position, stamp, examined, content_of_row, zlib.crc32(content_of_row))

    def _kept(self, examined: Examined, pixels: bytes, checksum: int, write: Write) -> Record:
        """The image's record, its pixels written to the row that it had or to a new one."""
        if not pixels:
            return Record(None, None, examined)
        row = self.rows_to_mend.get(examined.digest, self.next_row)
        write(row, pixels)
        self.next_row = max(self.next_row, row + 1)
        return Record(row, checksum, examined)
