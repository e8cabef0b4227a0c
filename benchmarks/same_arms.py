"""Benches of a network with itself: `python benchmarks/same_arms.py OUT.json [RUNS] [--device DEVICE]`.

Each run is a bench of one arm with its control, a second copy of it, at the default settings. Of twenty runs the ratio
should be within 2% of 1, and the interval hold 1, in nineteen.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from devices import device_of

from resnet_lab.bench.arms import arms_of
from resnet_lab.bench.config import ROUNDS, Mode
from resnet_lab.bench.measuring import bench
from resnet_lab.bench.results import machine
from resnet_lab.bench.timed_networks import placement_of
from resnet_lab.network import zoo
from resnet_lab.network.plugins import default_registry

ARMS = arms_of([zoo.get("resnet18").modified(input_size=64)], {}, batches=[16])
MODES: tuple[Mode, ...] = ("infer", "train")


def main(out: str, runs: int = 20, device: str = "auto") -> None:
    """Measure and write every run as JSON."""
    found = []
    for run in benches(runs, device):
        found.append(run)
        print({mode: (run[mode]["ratio"], run[mode]["interval"], run[mode]["verdict"]) for mode in MODES}, flush=True)
    print(json.dumps(summary(found), indent=1))
    placement = placement_of(ARMS[0], device, default_registry())
    content = {"machine": machine(placement.device, placement.name), "summary": summary(found), "runs": found}
    Path(out).write_text(json.dumps(content, indent=1))


def benches(runs: int, device: str, rounds: int = ROUNDS) -> Iterator[dict[str, Any]]:
    """The control's timings of each run, by mode."""
    for _ in range(runs):
        result = bench(ARMS, default_registry(), modes=MODES, rounds=rounds, device=device)
        yield {mode: asdict(timing) for mode, timing in result.control.items()} | {"remarks": result.remarks}


def summary(found: Sequence[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Number of runs by what they came to."""
    return {
        mode: {
            "within 2%": sum(abs(run[mode]["ratio"] - 1) < 0.02 for run in found),
            "interval holds 1": sum(run[mode]["interval"][0] <= 1 <= run[mode]["interval"][1] for run in found),
            "told apart": sum(run[mode]["verdict"] in ("faster", "slower") for run in found),
            "runs": len(found),
        }
        for mode in MODES
    }


if __name__ == "__main__":
    device, arguments = device_of(sys.argv[1:], "auto")
    main(arguments[0], int(arguments[1]) if len(arguments) > 1 else 20, device)
