"""Number of threads that torch computes with."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from resnet_lab.core.processor import allowed_cores


@contextmanager
def using_threads(number: int | None) -> Iterator[None]:
    """That many inside, and as many as before afterwards; None changes nothing."""
    before = torch.get_num_threads()
    try:
        if number is not None:
            torch.set_num_threads(number)
        yield
    finally:
        torch.set_num_threads(before)


def threads_each(processes: int) -> int:
    """Threads of each of several processes that share the cores that this one may use; no more than torch has here."""
    return max(1, min(torch.get_num_threads(), allowed_cores() // processes))
