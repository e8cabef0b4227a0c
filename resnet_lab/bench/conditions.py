"""Measurement conditions: load by other programs, and a CPU that slows down."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from statistics import median
from time import perf_counter
from typing import Any

import psutil
import torch

BUSY = 0.10
"""Share of the CPU that other programs may use in a round."""

DRIFT = 0.10
"""Change of the CPU's own speed over the rounds that is reported."""


class Conditions:
    """Watches rounds of measurements.

    Attributes:
        others: share of the CPU that other programs used, one per round.
        speeds: seconds of the same small piece of work, one per round.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.others: list[float] = []
        self.speeds: list[float] = []
        self.throttled: set[str] = set()
        self._process = psutil.Process()
        self._work = torch.randn(256, 256)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """One round."""
        start = perf_counter()
        for _ in range(20):
            torch.mm(self._work, self._work)
        self.speeds.append(perf_counter() - start)
        busy, own, wall = _busy(), self._own(), perf_counter()
        yield
        elapsed = (perf_counter() - wall) * (os.cpu_count() or 1)
        self.others.append(max(0.0, (_busy() - busy) - (self._own() - own)) / elapsed)

    def look(self) -> None:
        """Look at a GPU's clocks, while it is at work: an idle one has lowered them by itself."""
        self.throttled |= throttling(self.device)

    def _own(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def remarks(self) -> list[str]:
        """Notes on the conditions for the reader."""
        found = []
        disturbed = sum(share > BUSY for share in self.others)
        if disturbed:
            found.append(
                f"other programs used more than {BUSY:.0%} of the CPU in {disturbed} of {len(self.others)} "
                f"rounds (median {median(self.others):.0%})"
            )
        if len(self.speeds) >= 6:
            third = len(self.speeds) // 3
            change = median(self.speeds[-third:]) / median(self.speeds[:third]) - 1
            if abs(change) > DRIFT:
                word = "slower" if change > 0 else "faster"
                found.append(f"the CPU was {abs(change):.0%} {word} in the last rounds than in the first")
        found += [f"the GPU was throttled: {reason}" for reason in sorted(self.throttled)]
        return found


def _busy() -> float:
    """Seconds of CPU time since the system started."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


def throttling(device: torch.device) -> set[str]:
    """Why a GPU is throttled at the moment; nothing for a CPU, or without nvidia-ml-py."""
    nvml = _nvml(device)
    if nvml is None:
        return set()
    library, handle = nvml
    try:
        reasons = library.nvmlDeviceGetCurrentClocksEventReasons(handle)
    except library.NVMLError:  # as of GPUs that share a card, or of old ones: not supported
        return set()
    names = {
        "nvmlClocksEventReasonSwPowerCap": "power limit",
        "nvmlClocksThrottleReasonHwSlowdown": "hardware slowdown",
        "nvmlClocksEventReasonSwThermalSlowdown": "temperature",
    }
    return {word for name, word in names.items() if reasons & getattr(library, name, 0)}


def gpu_facts(device: torch.device) -> dict[str, object]:
    """Driver and power limit in watts of a GPU, as far as it tells; empty for a CPU, or without nvidia-ml-py."""
    nvml = _nvml(device)
    if nvml is None:
        return {}
    library, handle = nvml
    questions: dict[str, Callable[[], object]] = {
        "driver": library.nvmlSystemGetDriverVersion,
        "power_limit_watts": lambda: library.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000,
    }
    facts = {}
    for name, ask in questions.items():
        with suppress(library.NVMLError):  # not supported
            facts[name] = ask()
    return facts


def _nvml(device: torch.device) -> tuple[Any, Any] | None:
    """The library, and its handle of the device; None where there is none."""
    if device.type != "cuda":
        return None
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        index = torch.cuda.current_device() if device.index is None else device.index
        uuid = str(torch.cuda.get_device_properties(index).uuid)
        return pynvml, pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
    except pynvml.NVMLError:  # a driver without the library: then there is no remark
        return None
