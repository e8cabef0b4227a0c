"""Files that take their name only when they are whole and checked."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from resnet_lab.core.errors import RunError
from resnet_lab.core.files import permit_as_usual, refuse_existing, refuse_unwritable


@contextmanager
def draft(path: Path, *, force: bool = False) -> Iterator[Path]:
    """A name of the same end to write under; when the block ends without an error, what was written takes its place.

    Files beside it, such as `model.onnx.data`, come along. After an error nothing is left.

    Args:
        force: whether an existing file is overwritten.

    Raises:
        RunError: it exists, or the file cannot be written.
    """
    if not force:
        refuse_existing(path)
    refuse_unwritable(path)
    try:
        folder = TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror}") from None
    with folder as name:
        try:
            yield Path(name, path.name)
            for file in sorted(Path(name).iterdir(), reverse=True):  # model.onnx last, when its data are there
                _settle(file, path.parent / file.name, force=force)
        except OSError as error:
            raise RunError(f"{path}: cannot be written: {error.strerror or error}") from None


def _settle(file: Path, place: Path, *, force: bool) -> None:
    if not force:
        refuse_existing(place)
    with file.open("r+b") as content:  # Windows syncs no file that is open for reading alone
        permit_as_usual(content.fileno(), 0o666)
        os.fsync(content.fileno())
    os.replace(file, place)
