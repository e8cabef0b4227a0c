"""Clocks of calls: the CPU's, and on CUDA devices their own."""

from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import TypeAlias

import torch

from resnet_lab.device.placement import wait_for

Clock: TypeAlias = Callable[[Callable[[], object], int], list[float]]
"""Seconds of so many calls one after the other: of each on the CPU; elsewhere their mean, since a device that is waited
for after each call stands still between them."""


def clock_of(device: torch.device, during: Callable[[], object] = lambda: None) -> Clock:
    """The clock of a device.

    Args:
        during: called once a measurement, while a CUDA device is at work on it; never on others.
    """
    if device.type == "cuda":
        return partial(_cuda_clock, device, during)
    return _cpu_clock if device.type == "cpu" else partial(_waiting_clock, device)


def _cpu_clock(call: Callable[[], object], repeats: int) -> list[float]:
    if repeats > 1:
        call()  # which brings back what the other arms drove from the caches
    seconds = []
    for _ in range(repeats):
        start = perf_counter()
        call()
        seconds.append(perf_counter() - start)
    return seconds


def _waiting_clock(device: torch.device, call: Callable[[], object], repeats: int) -> list[float]:
    if repeats > 1:
        call()
    wait_for(device)
    start = perf_counter()
    for _ in range(repeats):
        call()
    wait_for(device)
    return [(perf_counter() - start) / repeats]


def _cuda_clock(
    device: torch.device, during: Callable[[], object], call: Callable[[], object], repeats: int
) -> list[float]:
    with torch.cuda.device(device):  # whose stream events are recorded on
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        if repeats > 1:
            call()
        wait_for(device)
        begin.record()
        for _ in range(repeats):
            call()
        end.record()
        during()
        wait_for(device)
        return [float(begin.elapsed_time(end)) / 1000 / repeats]
