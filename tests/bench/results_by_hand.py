"""Results of arms that never ran."""

from collections.abc import Sequence
from typing import Any

from resnet_lab.bench.arms import BenchArm
from resnet_lab.bench.measuring import Bench, BenchResult, Floor, Static
from resnet_lab.bench.roofline import Roof
from resnet_lab.bench.statistics import timing

PLACEMENT = {"type": "cpu", "name": "a processor", "dtype": "bfloat16", "precision": "bf16", "channels_last": True}


def result(arm: BenchArm, samples: Sequence[float], baseline: Sequence[float], macs: int = 10**9) -> BenchResult:
    """Results with inference times in milliseconds."""
    static = Static(1000, macs, 10, 10**6, 10**5, 1, 2, {"layer1": macs}, {"convolution 3x3": macs})
    found = BenchResult(arm, static, PLACEMENT, Floor(4.0, 2.0), [])
    found.timings["infer"] = timing(samples, baseline)
    found.memory["infer"] = 2**20
    return found


def bench(results: list[BenchResult]) -> Bench:
    """Bench with a control that equals the baseline."""
    samples = results[0].timings["infer"].samples
    roof = Roof(bandwidth=1e9, macs={"bf16": 1e10})
    return Bench(results, {"infer": timing(list(samples), samples)}, {"x": "why"}, ["a remark"], roof, len(samples))


def with_operators(content: dict[str, Any]) -> dict[str, Any]:
    """A bench as JSON whose arms' operators were timed: 4 ms, and 50% more in each later arm."""
    for number, arm in enumerate(content["arms"]):
        seconds = 0.004 * (1 + 0.5 * number)
        operators = [
            {"kind": "convolution 3x3", "calls": 3, "seconds": seconds, "floor": 0.004, "macs": 4 * 10**7,
             "nbytes": 2 * 10**6},
            {"kind": "relu", "calls": 2, "seconds": 0.001, "floor": 0.0, "macs": 0, "nbytes": 10**6},
        ]  # fmt: skip
        arm["profile"] = {"operators": operators, "stages": {"stem": 0.001, "layer1": seconds}}
    return content
