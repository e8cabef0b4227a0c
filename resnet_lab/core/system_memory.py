"""Memory that the system lets this process have, in bytes."""

import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")
"""Root of /proc and /sys."""

GROUPS = Path("sys/fs/cgroup")
VERSION_2 = ("memory.max", "memory.current", "inactive_file")
VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
"""Files of Linux's control groups, which bound containers: limit, use, and the droppable part of the use."""


def total_memory() -> int:
    """Total memory of the machine, or of the container."""
    return min([_of_machine()[0], *(limit for limit, _ in _limits())])


def free_memory() -> int:
    """Memory that can be allocated without swapping."""
    return min([_of_machine()[1], *(limit - used for limit, used in _limits())])


def peak_memory() -> int:
    """The most memory that this process held so far.

    A trap: what `getrusage` reports for a new process on Linux begins with its parent's peak.
    """
    try:
        return _table(ROOT / "proc/self/status")["VmHWM:"] * 1024
    except (OSError, KeyError):
        pass
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def control_groups(controller: str) -> Iterator[tuple[Path, bool]]:
    """Folders of the control groups that this process is in, and whether they are of version 2."""
    try:
        groups = [line.split(":", 2) for line in (ROOT / "proc/self/cgroup").read_text().splitlines()]
    except OSError:
        return
    for number, controllers, path in groups:
        if number == "0" or controller in controllers.split(","):
            mount = ROOT / GROUPS if number == "0" else ROOT / GROUPS / controller
            for folder in {mount / path.lstrip("/"), mount}:  # the latter as a container sees its own
                yield folder, number == "0"


def _limits() -> Iterator[tuple[int, int]]:
    """Limit and use of each control group that this process is in."""
    for folder, is_second_version in control_groups("memory"):
        limit, use, droppable = VERSION_2 if is_second_version else VERSION_1
        try:
            used = int((folder / use).read_text()) - _table(folder / "memory.stat").get(droppable, 0)
            yield int((folder / limit).read_text()), used
        except (OSError, ValueError):  # there is none, or it is "max"
            continue


def _of_machine() -> tuple[int, int]:
    """Total and available memory, without the bounds of control groups."""
    try:
        table = _table(ROOT / "proc/meminfo")
        return table["MemTotal:"] * 1024, table["MemAvailable:"] * 1024
    except (OSError, KeyError):
        import psutil

        found = psutil.virtual_memory()
        return int(found.total), int(found.available)


def _table(path: Path) -> dict[str, int]:
    """Names and numbers of a file such as /proc/meminfo."""
    lines = (line.split() for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdigit()}
