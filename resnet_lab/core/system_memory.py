"""Memory that the system lets this process have, in bytes."""

import os
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
    return min([os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *(limit for limit, _ in _limits())])


def free_memory() -> int:
    """Memory that can be allocated without swapping; half of the total where the system does not report it."""
    try:
        available = _table(ROOT / "proc/meminfo")["MemAvailable:"] * 1024
    except (OSError, KeyError):
        available = total_memory() // 2
    return min([available, *(limit - used for limit, used in _limits())])


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


def _table(path: Path) -> dict[str, int]:
    """Names and numbers of a file such as /proc/meminfo."""
    return {name: int(number) for name, number, *_ in map(str.split, path.read_text().splitlines())}
