"""Sets of small image files, whose reads are counted."""

from pathlib import Path

import numpy as np
from PIL import Image

from resnet_lab.core.images import ImageSet
from resnet_lab.core.watcher import Watcher


def fill(folder: Path, number: int, seed: int = 0, size: int = 10) -> Path:
    """Noise as PNG files."""
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(seed)
    for position in range(number):
        image = Image.fromarray(random.integers(0, 256, (size, size, 3), dtype=np.uint8))
        image.save(folder / f"{position:04}.png")
    return folder


def set_of(folder: Path, reads: list[str] | None = None, *, stamped: bool = True) -> ImageSet:
    """All files of a folder, as one class."""
    files = sorted(path for path in folder.iterdir() if path.is_file())

    def read(position: int) -> bytes:
        if reads is not None:
            reads.append(files[position].name)
        return files[position].read_bytes()

    def stamp(position: int) -> str:
        status = files[position].stat()
        return f"{status.st_size} {status.st_mtime_ns}"

    paths = tuple(str(path) for path in files)
    labels = np.zeros(len(files), np.int64)
    return ImageSet(str(folder), ("one",), paths, labels, read, stamp if stamped else None)


class Listener(Watcher):
    """Keeps all messages."""

    def __init__(self) -> None:
        self.phases: list[tuple[str, int]] = []
        self.steps = 0
        self.notes: list[str] = []

    def begin(self, what: str, total: int, done: int = 0) -> None:
        self.phases.append((what, total))

    def advance(self) -> None:
        self.steps += 1

    def say(self, text: str) -> None:
        self.notes.append(text)
