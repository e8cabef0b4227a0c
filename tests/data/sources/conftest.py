"""Common fixtures for tests of sources: image files, and a registry of the program's own data sets."""

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from resnet_lab.network.plugins import Registry, load

Fill = Callable[..., Path]


@pytest.fixture(scope="session")
def registry() -> Registry:
    return load(only=[])


@pytest.fixture
def fill() -> Fill:
    """Writes a tiny PNG, red by its number, under each name below a root, and gives back the root."""

    def fill(root: Path, *names: str) -> Path:
        for number, name in enumerate(names):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 3), (number, 0, 0)).save(root / name, format="PNG")
        return root

    return fill


@pytest.fixture
def redness() -> Callable[[bytes], int]:
    """The number that `fill` wrote into an image."""

    def redness(content: bytes) -> int:
        with Image.open(io.BytesIO(content)) as image:
            return image.getpixel((0, 0))[0]  # type: ignore[index,return-value]

    return redness


@pytest.fixture
def lock(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Makes a folder unlistable, for root too."""
    scandir = os.scandir

    def lock(folder: Path) -> None:
        def refuse(path: str | os.PathLike[str]) -> object:
            if os.path.realpath(path) == os.path.realpath(folder):
                raise PermissionError(13, "Permission denied", str(path))
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refuse)

    return lock
