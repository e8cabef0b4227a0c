"""Cores of the processor that the system lets this process have, and those that others keep busy."""

import os

from resnet_lab.core.system_memory import control_groups

WATCHED = 0.3
"""Seconds that other programs are watched for."""


def allowed_cores() -> int:
    """Cores by the process's affinity and the quotas of its control groups, at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *map(int, _quotas())]))


def busy_cores() -> float:
    """Cores that other programs keep busy, on the whole machine, while this process sleeps for a moment."""
    import psutil

    return float(psutil.cpu_percent(WATCHED)) / 100 * (os.cpu_count() or 1)


def free_cores(busy: float) -> int:
    """Cores left to this process by others that keep so many busy, at least 1."""
    return max(1, min(allowed_cores(), round((os.cpu_count() or 1) - busy)))


def _quotas() -> list[float]:
    """Cores' worth of time that each control group may use."""
    found = []
    for folder, is_second_version in control_groups("cpu"):
        try:
            if is_second_version:
                quota, period = (folder / "cpu.max").read_text().split()
            else:
                quota, period = ((folder / f"cpu.cfs_{each}_us").read_text() for each in ("quota", "period"))
            if float(quota) > 0:
                found.append(float(quota) / float(period))
        except (OSError, ValueError):  # there is none, or it is "max"
            continue
    return found
