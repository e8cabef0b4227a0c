"""Benches of a network with itself: `python benchmarks/same_arms.py OUT.json [RUNS] [--device DEVICE]`.

Each run is a bench of one arm with its control, a second copy of it, at the default settings. Of twenty runs the ratio
should be within 2% of 1, and the interval hold 1, in nineteen.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from devices import device_of

from resnet_lab.bench.arms import arms_of
from resnet_lab.bench.measuring import bench
from resnet_lab.bench.results import machine
from resnet_lab.bench.timed_networks import placement_of
from resnet_lab.network import zoo
from resnet_lab.network.plugins import default_registry


def main(out: str, runs: int = 20, device: str = "auto") -> None:
    """Measure and write every run as JSON."""
    arms = arms_of([zoo.get("resnet18").modified(input_size=64)], {}, batches=[16])
    found = []
    for _ in range(runs):
        result = bench(arms, default_registry(), modes=["infer", "train"], device=device)
        found.append({mode: asdict(timing) for mode, timing in result.control.items()} | {"remarks": result.remarks})
        print(
            {
                mode: (run["ratio"], run["interval"], run["verdict"])
                for mode, run in found[-1].items()
                if mode != "remarks"
            },
            flush=True,
        )
    summary = {
        mode: {
            "within 2%": sum(abs(run[mode]["ratio"] - 1) < 0.02 for run in found),
            "interval holds 1": sum(run[mode]["interval"][0] <= 1 <= run[mode]["interval"][1] for run in found),
            "told apart": sum(run[mode]["verdict"] in ("faster", "slower") for run in found),
            "runs": runs,
        }
        for mode in ("infer", "train")
    }
    print(json.dumps(summary, indent=1))
    placement = placement_of(arms[0], device, default_registry())
    content = {"machine": machine(placement.device, placement.name), "summary": summary, "runs": found}
    Path(out).write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    device, arguments = device_of(sys.argv[1:], "auto")
    main(arguments[0], int(arguments[1]) if len(arguments) > 1 else 20, device)
