import gc
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata
from importlib.metadata import EntryPoints
from pathlib import Path

import pytest
from filelock import FileLock

if "PYTEST_XDIST_WORKER" in os.environ:  # several processes: a thread each, or they wait for one another
    os.environ.setdefault("OMP_NUM_THREADS", "1")


GROUP = "resnet_lab"
INSTALLED = {point.dist.name for point in metadata.entry_points(group=GROUP) if point.dist}
"""Distributions with plugins beside the program, of which no test is to see anything."""


def _without_installed(entry_points: Callable[..., EntryPoints]) -> Callable[..., EntryPoints]:
    def found(**parameters: str) -> EntryPoints:
        points = entry_points(**parameters)
        if parameters.get("group") != GROUP:
            return points
        return EntryPoints(point for point in points if not (point.dist and point.dist.name in INSTALLED))

    return found


metadata.entry_points = _without_installed(metadata.entry_points)  # before the program is imported


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the user's cache, and no process that a test starts loads an installed plugin."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RESNET_LAB_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", f"{tempfile.gettempdir()}/resnet-lab-compiled-by-tests")
        patch.setenv("RESNET_LAB_PLUGINS", "")
        yield


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Gives the folder of a name, made by the first of pytest's processes that asks for it; it is not to be changed."""
    base = tmp_path_factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def folder_of(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = root / f"once-{name}", root / f"once-{name}.done"
        with FileLock(root / f"once-{name}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of one that failed
                make(folder)
                done.touch()
        return folder

    return folder_of


def pytest_collection_finish() -> None:
    """Freeze imported objects: garbage collection, which some libraries run often, need not go through them."""
    gc.freeze()
