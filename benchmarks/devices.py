"""The device of a benchmark: `--device cuda:1` anywhere among its arguments."""

import argparse
from collections.abc import Callable
from time import perf_counter

import torch

from resnet_lab.device.placement import wait_for


def device_of(arguments: list[str], default: str = "cpu") -> tuple[str, list[str]]:
    """The device that was asked for, as `device.choose` takes it, and the other arguments."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--device", default=default)
    found, others = parser.parse_known_args(arguments)
    return found.device, others


def seconds_of(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of a call with all that it has the device do."""
    wait_for(device)
    start = perf_counter()
    call()
    wait_for(device)
    return perf_counter() - start
