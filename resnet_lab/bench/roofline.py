"""Roofline of the device, and how far a network is from it.

Williams et al. 2009, "Roofline: An Insightful Visual Performance Model", doi:10.1145/1498765.1498785: an operator
takes at least its bytes over the bandwidth and its multiply-adds over their rate. Both are measured here, not read
from a sheet.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from resnet_lab.bench.clocks import clock_of
from resnet_lab.bench.operators import Operator
from resnet_lab.device.placement import DTYPES, float32_products

COPIED = 2**28
"""Bytes of the copy that shows the bandwidth, more than any cache holds."""

SIDES = {"cpu": (1024, 2048), "gpu": (4096, 8192)}
SECONDS, FEWEST = 0.7, 5
"""That a thing is repeated for, and how often at least; the best of it is what the device could do."""

LONG = 0.02
"""Seconds of calls that a GPU gets in one measurement, so that it does not wait for the host in between."""


@dataclass(frozen=True)
class Roof:
    """Peak rates of a device, per second.

    Attributes:
        bandwidth: bytes that a large copy reads and writes.
        macs: multiply-adds of a large matrix product, by precision, such as `bf16`.
    """

    bandwidth: float
    macs: dict[str, float]

    def floor(self, operator: Operator, precision: str) -> float:
        """Seconds that an operator takes at least."""
        itemsize = DTYPES[precision].itemsize
        return max(operator.nbytes(itemsize) / self.bandwidth, operator.macs / self.macs[precision])


def measure_roof(device: torch.device, precisions: Sequence[str]) -> Roof:
    """The best of a few large copies and matrix products."""
    source = torch.ones(COPIED // 4, device=device)
    target = torch.empty_like(source)
    bandwidth = 2 * COPIED / _best(lambda: target.copy_(source), device)
    rates = {}
    sides = SIDES["cpu" if device.type == "cpu" else "gpu"]
    for precision in dict.fromkeys(precisions):
        products = [torch.randn(side, side, device=device).to(DTYPES[precision]) for side in sides]
        with float32_products(device, tf32=precision == "tf32"):
            rates[precision] = max(
                len(factor) ** 3 / _best(partial(torch.mm, factor, factor), device) for factor in products
            )
    return Roof(bandwidth, rates)


def floors(found: Sequence[Operator], roof: Roof, precision: str) -> tuple[float, float]:
    """Seconds that a forward pass takes at least: each operator by itself, and with perfect fusion.

    With perfect fusion all but convolutions and matrix products ride along with their neighbours and cost nothing.
    """
    alone = sum(roof.floor(operator, precision) for operator in found)
    fused = sum(roof.floor(operator, precision) for operator in found if operator.is_matrix)
    return alone, fused


def _best(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest call, after one that does not count."""
    clock = clock_of(device)
    clock(call, 1)
    repeats = 1 if device.type == "cpu" else max(1, round(LONG / max(*clock(call, 1), 1e-9)))
    seconds: list[float] = []
    while len(seconds) < FEWEST or repeats * sum(seconds) < SECONDS:
        seconds += clock(call, repeats)
    return min(seconds)
