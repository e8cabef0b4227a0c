"""Writing files so that a reader sees the whole new content or the old, whatever happens in between."""

import os
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from resnet_lab.core.errors import RunError


def write_atomically(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Write to a temporary name next to `path`, sync, and rename over it.

    Args:
        content: all bytes, or pieces of them.

    Raises:
        RunError: the file cannot be written; an earlier file is unchanged.
    """
    with replaced(path) as file, writing(path):
        file.writelines([content] if isinstance(content, bytes) else content)


@contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """A file under a temporary name next to `path`, which is synced and renamed to it where the block succeeds.

    Raises:
        RunError: it cannot be made or renamed; an earlier file is unchanged, as it is where the block raises.
    """
    with writing(path):
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            with writing(path):
                file.flush()
                permit_as_usual(descriptor, 0o666)
                os.fsync(descriptor)
        with writing(path):
            os.replace(temporary, path)
            _sync_folder(path.parent)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise `RunError`, that `path` cannot be written, for an `OSError` in the block."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror}") from None


def write_new(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Write a file that must not exist yet; raises `RunError` where it does, or cannot be written."""
    refuse_existing(path)
    write_atomically(path, content)


def make_folder(folder: Path) -> None:
    """Make a folder and those it lies in, unless it is there; raises `RunError` where it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder}: the folder cannot be made: {error.strerror}") from None


def refuse_existing(path: Path) -> None:
    """Raise `RunError` where `path` exists."""
    if os.path.lexists(path):
        raise RunError(f"{path} exists already and is left as it is; choose another name or remove it")


def refuse_other(folder: Path, record: str) -> None:
    """Raise `RunError` where a folder is neither new nor empty, and lacks the record that marks it as one of ours.

    Hidden files, and the folder of trials, may be what a process left that was killed before it wrote the record.
    """
    names = os.listdir(folder) if os.path.isdir(folder) else []
    if record not in names and any(name != "trials" and not name.startswith(".") for name in names):
        raise RunError(f"{folder} is a folder of something else: it holds no {record}; name a new one with --out")


def refuse_unwritable(path: Path) -> None:
    """Raise `RunError` where no file can be written at `path`; nothing is left behind, and a file there stays."""
    if os.path.isdir(path):
        raise RunError(f"{path} is a folder; name the file to write")
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}."):
            return
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror}") from None


def refuse_unwritable_folder(folder: Path) -> None:
    """Raise `RunError` where `make_folder` could not make a folder, or no file can be written in it."""
    place, missing = folder, []
    while not os.path.lexists(place) and place != place.parent:
        missing.append(place.name)
        place = place.parent
    try:
        for name in missing:  # one may be too long, or the place be closed or no folder
            with suppress(FileNotFoundError):
                os.lstat(place / name)
        with tempfile.TemporaryFile(dir=place):
            return
    except OSError as error:
        raise RunError(f"{folder}: the folder cannot be made or written: {error.strerror}") from None


def refuse_ways_out(folder: Path) -> None:
    """Raise `RunError` where something in a folder, which may be untrusted, is not in it.

    That is a link to what lies elsewhere, which would be read, replaced or passed on; and what is neither file nor
    folder, which can wait for ever for a reader.
    """
    if not os.path.isdir(folder):
        return
    root = os.path.realpath(folder)
    for place, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = os.path.join(place, name)
            try:
                mode = os.lstat(path).st_mode
            except FileNotFoundError:
                continue  # another process works in the folder
            if stat.S_ISLNK(mode):
                target = os.path.realpath(path)
                if os.path.commonpath([root, target]) != root:
                    raise RunError(f"{path} is a link out of {folder}, to {target}; put the file itself in its place")
            elif not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise RunError(f"{path} is neither a file nor a folder; remove it")


def permit_as_usual(file: Path | int, mode: int) -> None:
    """Give a file that was made for its owner alone the permissions of any new one; Windows has no such modes."""
    if sys.platform == "win32":
        return
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(file, mode & ~mask)


def _sync_folder(folder: Path) -> None:
    if sys.platform == "win32":  # which opens no folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
