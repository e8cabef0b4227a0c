"""A table of images: the columns `path`, `label` and, where its owner has split them, `split`."""

import codecs
import io
import os
import posixpath
import re
import stat
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from resnet_lab.core.columns import TextColumn
from resnet_lab.core.errors import DataError
from resnet_lab.core.images import ImageSet
from resnet_lab.core.records import read_bytes
from resnet_lab.core.tables import csv_table
from resnet_lab.data.sources.assembly import (
    PART_OF,
    numbered,
    part_of,
    require_classes,
    require_label,
    settled_parts,
    some,
)
from resnet_lab.data.sources.folders import access

SUFFIXES = (".csv", ".tsv", ".parquet")

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}

FIRST_LINE = "its first line names the columns path, label and, if it is split, split"
LARGEST = 2**30
"""Bytes of a manifest, at most: some ten million images."""

Columns = tuple[list[str], list[str], list[str]]
"""Paths, labels and splits, of equal length."""


def open_manifest(manifest: Path, fewest: int = 2) -> ImageSet:
    """The images that a table names; other columns are ignored, and empty splits are left open.

    Paths are relative to the manifest's folder, or absolute below it, and must stay within it, wherever links lead. In
    CSV the columns stand between commas, semicolons, tabs or bars, in UTF-8 or UTF-16.

    Args:
        fewest: classes that there have to be.

    Raises:
        DataError: no readable table, a column missing or there twice, a path outside the folder or there twice, a file
            that is missing, a label that cannot be written, an unknown split, or a single class.
    """
    read = _from_parquet if manifest.suffix.lower() == ".parquet" else _from_csv
    paths, given, splits = read(manifest)
    if not paths:
        raise DataError(f"{manifest} names no image")
    labels = [unicodedata.normalize("NFC", label).strip() for label in given]
    for label in dict.fromkeys(labels):
        require_label(label, f"{manifest}: {paths[labels.index(label)]}")
    for split in dict.fromkeys(splits):
        if split.strip() and not part_of(split):
            raise DataError(
                f"{manifest}: {paths[splits.index(split)]}: unknown split {split!r}; "
                f"allowed are {', '.join(PART_OF)}, or nothing"
            )
    parts = [part_of(split) for split in splits]
    paths = [_within(path, manifest) for path in paths]
    _require_once(paths, labels, parts, manifest)
    _require_files(paths, manifest)
    classes, numbers = numbered(labels)
    require_classes(classes, str(manifest), fewest)
    settled, notes = settled_parts(parts)
    column = TextColumn(paths)
    read_image, stamp = access(str(manifest.parent.resolve()), column)
    return ImageSet(
        name=str(manifest.parent.resolve() / manifest.name),
        classes=classes,
        paths=column,
        labels=numbers,
        read=read_image,
        stamp=stamp,
        parts=settled,
        notes=(*_rewritten(given, labels), *notes),
    )


def _rewritten(given: Sequence[str], labels: Sequence[str]) -> list[str]:
    """Remarks on labels that look alike, and so are one class."""
    spellings: dict[str, set[str]] = {}
    for text, label in zip(given, labels, strict=True):
        spellings.setdefault(label, set()).add(text)
    several = [label for label, texts in spellings.items() if len(texts) > 1]
    return [f"labels that differ in spaces or in Unicode form are one class: {some(several)}"] if several else []


def _from_csv(manifest: Path) -> Columns:
    text = _text_of(manifest)
    delimiter, text = _delimiter(text, manifest)
    spaced = f'{delimiter} "' in text  # a quote counts at the beginning of a value alone
    remedy = f"a value with a {DELIMITERS.get(delimiter, repr(delimiter))} is quoted"
    header, rows = csv_table(
        io.StringIO(text, newline=""),
        manifest,
        DataError,
        remedy,
        delimiter=delimiter,
        skipinitialspace=spaced,
        strict=True,
    )
    places = _places(header, manifest)
    columns: Columns = ([], [], [])
    for _, values in rows:
        for column, place in zip(columns, places, strict=True):
            column.append("" if place is None else values[place])
    return columns


def _text_of(manifest: Path) -> str:
    """UTF-8 or UTF-16, which spreadsheets write too, with or without a mark at the beginning."""
    content = read_bytes(manifest, LARGEST, DataError)
    encoding = "utf-8-sig"
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif len(start := content[:64]) > 3:  # of letters in ASCII every other byte is 0
        for order, zeros in (("utf-16-le", start[1::2]), ("utf-16-be", start[::2])):
            if zeros.count(0) > len(zeros) / 2:
                encoding = order
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        raise DataError(f"{manifest} is not UTF-8; save it as CSV in UTF-8") from None


def _delimiter(text: str, manifest: Path) -> tuple[str, str]:
    """Delimiter of the columns, and the text without a first line that names it, as Excel writes it.

    It is the one that makes columns `path` and `label` of the first line; the comma where none does.
    """
    if declared := re.match(r'sep=([^\s"]|\t)\r?\n', text):
        return declared[1], text[declared.end() :]
    line = text.partition("\n")[0].rstrip("\r")
    for delimiter in DELIMITERS:
        names = set(map(_column, csv_table([line], manifest, DataError, FIRST_LINE, delimiter=delimiter)[0]))
        if {"path", "label"} <= names:
            return delimiter, text
    return ",", text


def _from_parquet(manifest: Path) -> Columns:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise DataError(
            f'{manifest}: Parquet is read with pyarrow, which is not installed; pip install "resnet-lab[parquet]"'
        ) from None
    try:
        with parquet.ParquetFile(manifest) as file:
            places = _places(file.schema_arrow.names, manifest)
            names = [None if place is None else file.schema_arrow.names[place] for place in places]
            table = file.read(columns=[name for name in names if name])

            def texts(name: str | None) -> list[str]:
                if name is None:
                    return [""] * table.num_rows
                return [text or "" for text in table.column(name).cast(pa.string()).to_pylist()]

            return texts(names[0]), texts(names[1]), texts(names[2])
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"{manifest}: not a readable Parquet file of texts ({_first_line(error)})") from None
    except OSError as error:
        raise DataError(f"{manifest}: cannot be read: {error.strerror or _first_line(error)}") from None


def _places(header: Sequence[str], manifest: Path) -> tuple[int, int, int | None]:
    """Indices of the columns `path`, `label` and, if present, `split`, in any case."""
    if not header:
        raise DataError(f"{manifest} is empty; a manifest has the columns path, label and, if it is split, split")
    names = [_column(name) for name in header]
    for name in ("path", "label", "split"):
        if names.count(name) > 1:
            raise DataError(f"{manifest} has two columns {name!r}; remove one")
    for name in ("path", "label"):
        if name not in names:
            got = ", ".join(map(repr, header))
            raise DataError(f"{manifest} has no column {name!r}; got {got}, with commas between, as its first line")
    return names.index("path"), names.index("label"), names.index("split") if "split" in names else None


def _column(name: str) -> str:
    return name.strip().lower()


def _within(path: str, manifest: Path) -> str:
    """The path from the manifest's folder, without detours.

    Spaces around it and backslashes are taken as they are where there is such a file.
    """
    if path != path.strip() or "\\" in path:
        path = path if "\0" not in path and os.path.isfile(manifest.parent / path) else path.strip().replace("\\", "/")
    if not path:
        raise DataError(f"{manifest}: a row has no path")
    whole = path
    if os.path.isabs(path):
        for folder in (manifest.parent.absolute(), manifest.parent.resolve()):
            if path.startswith(f"{folder}/"):
                path = path.removeprefix(f"{folder}/")
                break
    if os.path.isabs(path) or re.match("[A-Za-z]:/", path) or ".." in path.split("/") or "\0" in path:
        raise DataError(
            f"{manifest}: {whole!r} is not a path within its folder; "
            "paths are relative to the manifest's folder, without '..'"
        )
    return posixpath.normpath(path)


def _require_once(paths: Sequence[str], labels: Sequence[str], parts: Sequence[str], manifest: Path) -> None:
    first: dict[str, int] = {}
    twice = [
        (number, earlier) for number, path in enumerate(paths) if (earlier := first.setdefault(path, number)) < number
    ]
    for what, values in (("labels", labels), ("parts", parts)):
        conflicts = [(number, earlier) for number, earlier in twice if values[number] != values[earlier]]
        if conflicts:
            number, earlier = conflicts[0]
            more = f" and {len(conflicts) - 1} more like it" if len(conflicts) > 1 else ""
            raise DataError(
                f"{manifest}: a conflict of {what}: {paths[number]} is there as {values[earlier]!r} and as "
                f"{values[number]!r}{more}; leave the right row of each image"
            )
    if twice:
        raise DataError(f"{manifest} names {paths[twice[0][0]]} twice; an image has one row")


def _require_files(paths: Sequence[str], manifest: Path) -> None:
    """Raise `DataError` where a file is not there, or a link leads to one outside the manifest's folder."""
    root = os.path.realpath(manifest.parent)
    real_folder: dict[str, str] = {}
    missing: list[tuple[str, str]] = []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in real_folder:
            real_folder[folder] = _real(path, os.path.join(root, folder), root, manifest)
        whole = os.path.join(real_folder[folder], name)
        try:
            mode = os.lstat(whole).st_mode
            if stat.S_ISLNK(mode):
                mode = os.stat(_real(path, whole, root, manifest)).st_mode
        except OSError as error:
            missing.append((path, error.strerror or str(error)))
        else:
            if not stat.S_ISREG(mode):
                missing.append((path, "not a regular file"))
    if missing:
        first, cause = missing[0]
        raise DataError(
            f"{manifest}: {len(missing)} of {len(paths)} files cannot be found, the first {first} ({cause}); "
            "paths are relative to the manifest's folder"
        )


def _real(path: str, whole: str, root: str, manifest: Path) -> str:
    """Path after following all links."""
    real = os.path.realpath(whole)
    if os.path.commonpath([root, real]) != root:
        raise DataError(f"{manifest}: {path!r} leads out of its folder through a link, to {real}")
    return real


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
