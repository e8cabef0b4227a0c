"""The same bits each time, on the CPU and on one GPU."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from resnet_lab.core.errors import ConfigError

NO_WAY = "does not have a deterministic implementation"
"""Part of torch's message for it."""


def reserve_workspace(wanted: bool) -> None:
    """Have cuBLAS compute deterministically, where that is wanted; it reads so at the first product of a process."""
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """While it is entered, torch takes deterministic operators alone; nothing is changed where that is not wanted.

    Raises:
        ConfigError: an operator of the network has no such form.
    """
    if not wanted:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    reserve_workspace(wanted)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    except RuntimeError as error:
        if NO_WAY not in str(error):
            raise
        operator = str(error).split(NO_WAY)[0].strip()
        raise ConfigError(
            f"--deterministic: {operator} has no deterministic form here; replace the part of the network that uses "
            "it, or leave --deterministic out"
        ) from error
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]
