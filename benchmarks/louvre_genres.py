"""Train ResNet-18 on a folder of paintings over several seeds, and write what came of it as JSON.

usage: python benchmarks/louvre_genres.py FOLDER OUT.json [SEEDS]
"""

import json
import sys
import tempfile
from pathlib import Path
from statistics import mean, stdev

import pandas as pd

from resnet_lab import zoo
from resnet_lab.train.config import TrainConfig
from resnet_lab.train.session import train

SPEC = zoo.get("resnet18").modified(input_size=96)


def main(source: str, out: str, seeds: int = 3) -> None:
    """Train once a seed; the JSON has each run's record and metrics."""
    runs = []
    for seed in range(seeds):
        config = TrainConfig(epochs=15, lr=1e-3, batch_size=32, augment=("flip",), seed=seed)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "run"
            train(SPEC, source, config, folder=folder)
            record = json.loads((folder / "run.json").read_text())
            record["metrics"] = pd.read_csv(folder / "metrics.csv").to_dict("list")
        for private in ("command", "created"):
            del record[private]
        record["data"]["source"] = Path(source).name
        runs.append(record)
        print(f"seed {seed}: macro accuracy {record['test']['macro_accuracy']:.4f} in {record['seconds']:.0f} s")
    scores = [run["test"]["macro_accuracy"] for run in runs]
    summary = {"macro_accuracy": {"mean": mean(scores), "sd": stdev(scores), "n": len(scores), "values": scores}}
    Path(out).write_text(json.dumps({**summary, "runs": runs}, indent=1))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 3)
