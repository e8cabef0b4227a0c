"""Growth of cost with depth, resolution or batch size, for extrapolation."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from resnet_lab.bench.config import Mode
from resnet_lab.bench.measuring import BenchResult
from resnet_lab.bench.statistics import median_interval

FEWEST = 3
"""Values of a quantity that an exponent is fitted to, at least."""


@dataclass(frozen=True)
class Exponent:
    """A time that grows as a power of a quantity, all else being equal.

    Attributes:
        quantity: `size` (pixels per side), `batch` (images) or `depth` (layers in the network's name).
        values: that were measured.
        exponent: the median over rounds of least squares on logarithms, with its bootstrap interval over rounds.
        misfit: the largest distance of a median time from the fitted power, as a factor.
    """

    mode: Mode
    quantity: str
    values: tuple[int, ...]
    exponent: float
    interval: tuple[float, float] | None
    misfit: float


def exponents(results: Sequence[BenchResult], mode: Mode) -> list[Exponent]:
    """One for each quantity of which the arms have several values and nothing else differs among those compared.

    Where arms differ in other things too, those that are like the first in all of them are compared.
    """
    timed = [result for result in results if mode in result.timings]
    found = []
    for quantity in ("size", "batch", "depth"):
        alike = [result for result in timed if _others(result, quantity) == _others(timed[0], quantity)]
        points = {value: result for result in alike if (value := _value(result, quantity)) is not None}
        if len(points) >= FEWEST:
            found.append(_fitted(mode, quantity, points))
    return found


def _fitted(mode: Mode, quantity: str, points: dict[int, BenchResult]) -> Exponent:
    values = sorted(points)
    x = np.log(values)
    shared = min(points[value].timings[mode].n for value in values)
    rounds = np.log([points[value].timings[mode].samples[:shared] for value in values])  # (values, rounds)
    slopes = np.polyfit(x, rounds, 1)[0]
    medians = np.log([points[value].timings[mode].median_ms for value in values])
    line = np.polyval(np.polyfit(x, medians, 1), x)
    return Exponent(
        mode=mode,
        quantity=quantity,
        values=tuple(values),
        exponent=float(np.median(slopes)),
        interval=median_interval(slopes.tolist()),
        misfit=float(np.exp(np.abs(medians - line).max())),
    )


def _value(result: BenchResult, quantity: str) -> int | None:
    if quantity == "size":
        return result.arm.spec.input_size
    if quantity == "batch":
        return result.arm.batch
    digits = re.search(r"resnet(\d+)", result.arm.spec.name)
    return int(digits.group(1)) if digits else None


def _others(result: BenchResult, quantity: str) -> tuple[object, ...]:
    """Everything about an arm but one quantity."""
    arm, spec = result.arm, result.arm.spec
    network: object = spec.model_copy(update={"name": "", "input_size": 1}).hash
    if quantity == "depth":
        network = (re.sub(r"\d+", "", spec.name), tuple(str(stage.block) for stage in spec.stages))
    return (
        network,
        None if quantity == "size" else spec.input_size,
        None if quantity == "batch" else arm.batch,
        arm.maker, arm.precision, arm.compile, arm.channels_last, arm.recomputes,
    )  # fmt: skip
