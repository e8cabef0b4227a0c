"""Roofline of the device, and how far a network is from it.

Williams et al. 2009, "Roofline: An Insightful Visual Performance Model", doi:10.1145/1498765.1498785: an operator
takes at least its bytes over the bandwidth and its multiply-adds over their rate. Both are measured here, not read
from a sheet.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter

import torch

from resnet_lab.bench.operators import Operator

COPIED = 2**28
"""Bytes of the copy that shows the bandwidth, more than any cache holds."""

SIDES = {"cpu": (1024, 2048), "cuda": (4096, 8192)}
SECONDS, FEWEST = 0.7, 5
"""That a thing is repeated for, and how often at least; the best of it is what the device could do."""


@dataclass(frozen=True)
class Roof:
    """Peak rates of a device, per second.

    Attributes:
        bandwidth: bytes that a large copy reads and writes.
        macs: multiply-adds of a large matrix product, by the name of the type, such as `bfloat16`.
    """

    bandwidth: float
    macs: dict[str, float]

    def floor(self, operator: Operator, dtype: torch.dtype) -> float:
        """Seconds that an operator takes at least."""
        name = str(dtype).removeprefix("torch.")
        return max(operator.nbytes(dtype.itemsize) / self.bandwidth, operator.macs / self.macs[name])


def measure_roof(device: torch.device, dtypes: Sequence[torch.dtype]) -> Roof:
    """The best of a few large copies and matrix products."""
    source = torch.ones(COPIED // 4, device=device)
    target = torch.empty_like(source)
    bandwidth = 2 * COPIED / _best(lambda: target.copy_(source), device)
    rates = {}
    for dtype in dict.fromkeys(dtypes):
        products = [torch.randn(side, side, device=device).to(dtype) for side in SIDES[device.type]]
        rates[str(dtype).removeprefix("torch.")] = max(
            len(factor) ** 3 / _best(partial(torch.mm, factor, factor), device) for factor in products
        )
    return Roof(bandwidth, rates)


def floors(found: Sequence[Operator], roof: Roof, dtype: torch.dtype) -> tuple[float, float]:
    """Seconds that a forward pass takes at least: each operator by itself, and with perfect fusion.

    With perfect fusion all but convolutions and matrix products ride along with their neighbours and cost nothing.
    """
    alone = sum(roof.floor(operator, dtype) for operator in found)
    fused = sum(roof.floor(operator, dtype) for operator in found if operator.is_matrix)
    return alone, fused


def _best(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest call, after one that does not count."""
    seconds: list[float] = []
    while len(seconds) <= FEWEST or sum(seconds) < SECONDS:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(perf_counter() - start)
    return min(seconds[1:])
