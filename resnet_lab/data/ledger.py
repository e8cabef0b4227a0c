"""Index of a cache folder's rows, in index.sqlite: nothing damaged in it is taken for sound."""

import json
import os
import re
import sqlite3
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from sys import intern
from typing import Any

from resnet_lab.core.records import parse_json
from resnet_lab.data.decoding import ImageInfo

NAME = "index.sqlite"

TABLES = (
    "CREATE TABLE about (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID",
    "CREATE TABLE files (path BLOB PRIMARY KEY, stamp BLOB, digest TEXT) WITHOUT ROWID",
    "CREATE TABLE images (digest TEXT PRIMARY KEY, row INTEGER, checksum INTEGER, told TEXT, record_checksum INTEGER) "
    "WITHOUT ROWID",
)

_DIGEST = re.compile("[0-9a-f]{64}")

AROUND_IT = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
    }
)
"""Errors that are the disk's or the system's; all others mean that the file is damaged."""


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """An image whose content was seen.

    Attributes:
        row: in the file of pixels; None where there is none.
        checksum: CRC-32 of the row.
    """

    row: int | None
    checksum: int | None
    examined: ImageInfo


class Ledger:
    """The index of a folder, to be used as a context manager.

    Args:
        check: look for damage to the file first, which means reading all of it.

    Raises:
        sqlite3.DatabaseError: here and in every method; `is_damage` distinguishes the kinds.
    """

    def __init__(self, folder: Path, *, create: bool = False, check: bool = True) -> None:
        path = folder.absolute() / NAME
        if path.exists() and not path.stat().st_size:
            raise sqlite3.DatabaseError("the file is empty")
        self._index = sqlite3.connect(f"{path.as_uri()}?mode={'rwc' if create else 'rw'}", uri=True)
        self._index.text_factory = lambda text: text.decode(errors="replace")  # the checksum tells of damaged text
        try:
            if check:
                self._check()
        except BaseException:
            self._index.close()
            raise

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *exception: object) -> None:
        self._index.close()

    def _check(self) -> None:
        try:
            sound = self._index.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
            tables = [sql for (sql,) in self._index.execute("SELECT sql FROM sqlite_master ORDER BY name")]
        except UnicodeDecodeError:  # of a message about damaged text
            sound = False
        if not sound or tables not in ([], list(TABLES)):
            raise sqlite3.DatabaseError("the quick check failed")
        if not tables:
            with self._index:
                for table in TABLES:
                    self._index.execute(table)

    def records(self) -> Iterator[tuple[str, LedgerRow | None]]:
        """Digest and record of every image whose content was seen; None for a record that is not as it was written."""
        for digest, row, checksum, content, record_checksum in self._index.execute("SELECT * FROM images"):
            sound = _checksum(digest, row, checksum, content) == record_checksum
            yield digest, LedgerRow(row, checksum, _examined(digest, content)) if sound else None

    def file(self, path: bytes) -> tuple[bytes, str] | None:
        """Stamp and digest of a file as it was read; None where it was not."""
        known = self._index.execute("SELECT stamp, digest FROM files WHERE path = ?", (path,)).fetchone()
        if known is None or not isinstance(known[0], bytes) or not _DIGEST.fullmatch(str(known[1])):
            return None
        return known[0], known[1]

    def signatures(self, digests: Iterable[str]) -> Iterator[bytes]:
        """Signatures of images that were seen; raises `KeyError` for others."""
        for digest in digests:
            known = self._index.execute("SELECT told FROM images WHERE digest = ?", (digest,)).fetchone()
            if known is None:
                raise KeyError(digest)
            yield _examined(digest, known[0]).signature

    def about(self) -> dict[str, str]:
        """Facts that `set_facts` wrote."""
        rows = self._index.execute("SELECT * FROM about")
        return {key: decoded(value) for key, value in rows if isinstance(value, bytes)}

    def __len__(self) -> int:
        """Images whose content was seen."""
        return int(self._index.execute("SELECT count(*) FROM images").fetchone()[0])

    def add(self, records: Iterable[LedgerRow], files: Mapping[bytes, tuple[bytes, str]]) -> None:
        """Write all of these or none."""
        with self._index:
            self._index.executemany("INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?, ?)", map(_written, records))
            self._index.executemany(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?)", [(path, *known) for path, known in files.items()]
            )

    def forget(self, digests: Iterable[str]) -> None:
        with self._index:
            self._index.executemany("DELETE FROM images WHERE digest = ?", [(digest,) for digest in digests])

    def set_facts(self, **about: str) -> None:
        with self._index:
            self._index.executemany(
                "INSERT OR REPLACE INTO about VALUES (?, ?)", [(key, encoded(text)) for key, text in about.items()]
            )


def encoded(text: str) -> bytes:
    """Encode a path or a name, which on POSIX may be no UTF-8."""
    return text.encode("utf-8", "surrogateescape")


def decoded(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")


def is_damage(error: sqlite3.DatabaseError, folder: Path) -> bool:
    """Whether the index itself is at fault, and not what is around it."""
    if isinstance(error, sqlite3.ProgrammingError):
        return False
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF  # without it the extended part
    if code == sqlite3.SQLITE_READONLY:
        return os.access(folder, os.W_OK) and os.access(folder / NAME, os.W_OK)
    return code not in AROUND_IT


def _written(record: LedgerRow) -> tuple[str, int | None, int | None, str, int]:
    content = {field.name: getattr(record.examined, field.name) for field in fields(ImageInfo)}
    digest = content.pop("digest")
    text = json.dumps({**content, "signature": b64encode(record.examined.signature).decode()})
    return digest, record.row, record.checksum, text, _checksum(digest, record.row, record.checksum, text)


def _examined(digest: str, content: str) -> ImageInfo:
    found: dict[str, Any] = parse_json(content)
    tuples = {name: tuple(found[name]) for name in ("kinds", "sums", "squares")}
    shared = {"mode": intern(found["mode"])}
    return ImageInfo(digest, **{**found, **tuples, **shared, "signature": b64decode(found["signature"])})


def _checksum(*values: object) -> int:
    return zlib.crc32(repr(values).encode("utf-8", "backslashreplace"))
