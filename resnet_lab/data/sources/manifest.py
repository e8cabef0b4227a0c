"""A table of images: the columns `path`, `label` and, where its owner has split them, `split`."""

import csv
import os
import posixpath
import stat
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from resnet_lab.data.sources.assembly import PART_OF, numbered, require_classes, require_label, settled_parts, some
from resnet_lab.data.sources.folders import access
from resnet_lab.errors import DataError
from resnet_lab.images import ImageSet

SUFFIXES = (".csv", ".parquet")

Columns = tuple[list[str], list[str], list[str]]
"""Paths, labels and splits, of equal length."""


def open_manifest(manifest: Path, fewest: int = 2) -> ImageSet:
    """The images that a table names; other columns are ignored, and empty splits are left open.

    Paths are relative to the manifest's folder and must stay within it, wherever links lead.

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
        if split and split not in PART_OF:
            raise DataError(
                f"{manifest}: {paths[splits.index(split)]}: unknown split {split!r}; "
                f"allowed are {', '.join(PART_OF)}, or nothing"
            )
    parts = [PART_OF.get(split, "") for split in splits]
    paths = [_within(path, manifest) for path in paths]
    _require_once(paths, manifest)
    _require_files(paths, manifest)
    classes, numbers = numbered(labels)
    require_classes(classes, str(manifest), fewest)
    settled, notes = settled_parts(parts)
    read_image, stamp = access(str(manifest.parent.resolve()), paths)
    return ImageSet(
        name=str(manifest.parent.resolve() / manifest.name),
        classes=classes,
        paths=tuple(paths),
        labels=numbers,
        read=read_image,
        stamp=stamp,
        parts=settled,
        notes=(*_rewritten(given, labels), *notes),
    )


def _rewritten(given: Sequence[str], labels: Sequence[str]) -> list[str]:
    """What to say of labels that look alike, and so are one class."""
    spellings: dict[str, set[str]] = {}
    for text, label in zip(given, labels, strict=True):
        spellings.setdefault(label, set()).add(text)
    several = [label for label, texts in spellings.items() if len(texts) > 1]
    return [f"labels that differ in spaces or in Unicode form are one class: {some(several)}"] if several else []


def _from_csv(manifest: Path) -> Columns:
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file, strict=True)
            header = next(rows, [])
            places = _places(header, manifest)
            columns: Columns = ([], [], [])
            for row in rows:
                if not row:
                    continue  # an empty line
                if len(row) != len(header):
                    raise DataError(
                        f"{manifest}, line {rows.line_num}: {len(row)} values for {len(header)} columns; "
                        "a value with a comma stands in double quotes"
                    )
                for column, place in zip(columns, places, strict=True):
                    column.append("" if place is None else row[place])
            return columns
    except UnicodeDecodeError:
        raise DataError(f"{manifest} is not UTF-8; save it as CSV in UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{manifest}, line {rows.line_num}: not CSV ({error})") from None
    except OSError as error:
        raise DataError(f"{manifest}: cannot be read: {error.strerror}") from None


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
    """Where `path`, `label` and, if it is there, `split` stand among the columns."""
    if not header:
        raise DataError(f"{manifest} is empty; a manifest has the columns path, label and, if it is split, split")
    for name in ("path", "label", "split"):
        if header.count(name) > 1:
            raise DataError(f"{manifest} has two columns {name!r}; remove one")
    for name in ("path", "label"):
        if name not in header:
            got = ", ".join(map(repr, header))
            raise DataError(f"{manifest} has no column {name!r}; got {got}, with commas between, as its first line")
    return header.index("path"), header.index("label"), header.index("split") if "split" in header else None


def _within(path: str, manifest: Path) -> str:
    """The path without detours."""
    if not path:
        raise DataError(f"{manifest}: a row has no path")
    if os.path.isabs(path) or ".." in path.split("/") or "\0" in path:
        raise DataError(
            f"{manifest}: {path!r} is not a path within its folder; "
            "paths are relative to the manifest's folder, without '..'"
        )
    return posixpath.normpath(path)


def _require_once(paths: Sequence[str], manifest: Path) -> None:
    seen: set[str] = set()
    for path in paths:
        if path in seen:
            raise DataError(f"{manifest} names {path} twice; an image has one row")
        seen.add(path)


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
    """Where a path leads after all links."""
    real = os.path.realpath(whole)
    if os.path.commonpath([root, real]) != root:
        raise DataError(f"{manifest}: {path!r} leads out of its folder through a link, to {real}")
    return real


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
