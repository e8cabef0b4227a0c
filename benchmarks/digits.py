"""Train the default command's network on digits over several seeds, and write what came of it as JSON.

usage: python benchmarks/digits.py OUT.json [SEEDS]
"""

import json
import sys
import tempfile
from pathlib import Path
from statistics import mean, median

from resnet_lab.network import zoo
from resnet_lab.train.config import TrainConfig
from resnet_lab.train.training import train


def main(out: str, seeds: int = 10) -> None:
    """Train once a seed; the JSON has each run's test scores, training seconds and device."""
    runs = []
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "run"
            train(zoo.get("resnet20").modified(input_size=16), "digits", TrainConfig(seed=seed), folder=folder)
            record = json.loads((folder / "run.json").read_text())
        runs.append({key: record[key] for key in ("seconds", "best_epoch", "test", "device", "versions", "spec_hash")})
        print(f"seed {seed}: macro accuracy {record['test']['macro_accuracy']:.4f} in {record['seconds']:.1f} s")
    scores = [run["test"]["macro_accuracy"] for run in runs]
    summary = {
        "macro_accuracy": {"mean": mean(scores), "min": min(scores), "n": len(scores)},
        "seconds": {"median": median(run["seconds"] for run in runs), "max": max(run["seconds"] for run in runs)},
    }
    Path(out).write_text(json.dumps({**summary, "runs": runs}, indent=1))
    print(summary)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 10)
