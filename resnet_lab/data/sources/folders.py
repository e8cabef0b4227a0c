"""Image files on disk: found below a folder without opening any, and read with a bound."""

import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from resnet_lab.data import decoding
from resnet_lab.data.decoding import SUFFIXES

ENDINGS = ", ".join(sorted(SUFFIXES))

LEFT_BY_SYSTEMS = frozenset({"thumbs.db", "desktop.ini", "__macosx"})

Identity = tuple[int, int]
"""Device and inode: the same for all paths to a folder."""


def find_images(folder: Path) -> list[Path]:
    """All image files below a folder, by their ending, hidden ones and those in hidden folders left out, sorted.

    Raises:
        OSError: a folder cannot be listed.
    """
    listing = Listing(folder)
    found = listing.images("")
    for error in listing.locked.values():
        raise error
    return [folder / path for path in found]


def folder_by_folder(path: str) -> str:
    """Key that sorts paths as folders are walked: no character of a name comes before NUL, which no name has."""
    return path.replace("/", "\0")


def is_image(name: str) -> bool:
    """Whether a file's name ends like an image's."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def is_hidden(name: str) -> bool:
    """Whether a file or folder is ignored: by a leading dot, or because a system left it there."""
    return name.startswith(".") or name.lower() in LEFT_BY_SYSTEMS


class Listing:
    """Finds the image files of folders below `root`, and keeps what it could not take.

    All paths are from the root, with `/`.

    Attributes:
        left_out: path and cause.
        locked: folders that could not be listed.
        loops: links that lead back to a folder they lie in.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.left_out: list[tuple[str, str]] = []
        self.locked: dict[str, OSError] = {}
        self.loops: set[str] = set()

    def images(self, folder: str) -> list[str]:
        """The image files below a folder, sorted; links to folders are followed."""
        found: list[str] = []
        pending: list[tuple[str, frozenset[Identity] | None]] = [(folder, None)]
        while pending:
            here, above = pending.pop()
            try:
                above = self._above(here) if above is None else above
                identity = _identity(self.root / here)
                if identity in above:
                    self.loops.add(here)
                    self.left_out.append((here, "a link back to a folder that it lies in"))
                    continue
                pending += [(below, above | {identity}) for below in self._scan(here, found)]
            except OSError as error:
                self.locked[here] = error
                self.left_out.append((here, f"cannot be listed: {error.strerror}"))
        return sorted(found, key=folder_by_folder)

    def _scan(self, folder: str, found: list[str]) -> list[str]:
        """Add the images directly in a folder to `found`; the folders in it come back."""
        folders, above = [], f"{folder}/" if folder else ""
        with os.scandir(self.root / folder) as entries:
            for entry in entries:
                name = entry.name
                if is_hidden(name):
                    continue
                path, cause = above + name, ""
                try:
                    if entry.is_dir():
                        folders.append(path)
                        continue
                    if not entry.is_file():
                        cause = "a link to nothing" if entry.is_symlink() else "not a regular file"
                except OSError as error:  # a link that runs in circles, or through a locked folder
                    cause = error.strerror or str(error)
                if not cause and name[name.rfind(".") :].lower() not in SUFFIXES:
                    cause = f"its name does not end like an image's ({ENDINGS})"
                if cause:
                    self.left_out.append((path, cause))
                else:
                    found.append(path)
        return folders

    def _above(self, folder: str) -> frozenset[Identity]:
        """Identities of a folder's parents, below the root and above it."""
        within = [self.root / parent for parent in PurePosixPath(folder).parents]
        return frozenset(_identity(parent) for parent in (*within, *self.root.resolve().parents))


def _identity(folder: Path) -> Identity:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def read_file(path: str | os.PathLike[str]) -> bytes:
    """The content of a regular file; anything else, such as a pipe, would be waited for.

    Raises:
        OSError: it cannot be read, is no regular file, or is larger than `decoding.MAX_BYTES`.
    """
    with open(path, "rb", opener=_without_waiting) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError("not a regular file")
        if status.st_size > decoding.MAX_BYTES:
            raise OSError(f"a file of {status.st_size} bytes, more than {decoding.MAX_BYTES}")
        return file.read(status.st_size)


def stamp_of(path: str | os.PathLike[str]) -> str:
    """Size, time of the last change in nanoseconds, and inode.

    Raises:
        OSError: there is no such file.
    """
    status = os.stat(path)
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"


def access(root: str, paths: Sequence[str]) -> tuple[Callable[[int], bytes], Callable[[int], str]]:
    """`ImageSet.read` and `ImageSet.stamp` of files, given by their paths from `root`."""
    within = os.path.join(root, "")

    def read(index: int) -> bytes:
        return read_file(within + paths[index])

    def stamp(index: int) -> str:
        return stamp_of(within + paths[index])

    return read, stamp


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
