import gc
import os
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
        return EntryPoints(point for point in points if point.dist.name not in INSTALLED)

    return found


metadata.entry_points = _without_installed(metadata.entry_points)  # before the program is imported


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RESNET_LAB_CACHE", str(tmp_path_factory.mktemp("cache")))
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
                make(folder)
                done.touch()
        return folder

    return folder_of


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of a file stay in one process, with its fixtures; slow ones go where there is room."""
    for item in items:
        if item.get_closest_marker("slow") is None:
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))


def pytest_collection_finish() -> None:
    """What was imported stays: collections of garbage need not go through it, of which some libraries ask for many."""
    gc.freeze()
