"""Train ResNet-18 on a folder of paintings over several seeds, and write what came of it as JSON and as a plot.

usage: python benchmarks/louvre_genres.py FOLDER OUT.json [SEEDS]
"""

import json
import sys
import tempfile
from pathlib import Path
from statistics import mean, stdev

import pandas as pd
from matplotlib.figure import Figure

from resnet_lab.network import zoo
from resnet_lab.train.config import TrainConfig
from resnet_lab.train.training import train

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
    draw([run["metrics"] for run in runs], Path(out).with_suffix(".png"))


def draw(metrics: list[dict[str, list[float]]], path: Path) -> None:
    """Losses and macro-averaged accuracies of all seeds against epochs."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    figure.suptitle(f"ResNet-18 at 96 pixels on four genres of Louvre paintings, {len(metrics)} seeds")
    for panel, label, keys in zip(
        figure.subplots(1, 2),
        ("cross-entropy (nats)", "macro-averaged accuracy"),
        (("train_loss", "val_loss"), ("train_macro_accuracy", "val_macro_accuracy")),
        strict=True,
    ):
        for name, key, colour in zip(("training", "validation"), keys, ("#0072B2", "#D55E00"), strict=True):
            for number, run in enumerate(metrics):
                panel.plot(run["epoch"], run[key], color=colour, label=name if number == 0 else None, alpha=0.8)
        panel.set(xlabel="epoch", ylabel=label)
        panel.grid(alpha=0.3)
        panel.legend(frameon=False)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 3)
