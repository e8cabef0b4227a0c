"""Plant label errors in a set of images, rank all images by `data suspects`, and count the planted ones at the top.

usage: python benchmarks/planted_labels.py digits|FOLDER OUT.json [--seeds 0,1,2] [--size PX] [--epochs N] [--lr RATE]
    [--weights FILE] [--freeze STAGES] [--folds K] [--repeats N]

A planted error is a random image given a random other class, both drawn uniformly by the seed. Recall is the share of
planted errors in the first 10% of the list; its interval is Wilson's over all planted errors, which leaves out that
errors of one seed share networks, so that the values by seed are kept too.
"""

import argparse
import io
import json
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from resnet_lab.bench.results import machine
from resnet_lab.data.sources import open_images
from resnet_lab.device import choose
from resnet_lab.evaluation.metrics.proportions import wilson
from resnet_lab.evaluation.suspects import LABEL_QUALITIES, mean_of, rank_suspects
from resnet_lab.network import zoo
from resnet_lab.network.plugins import default_registry
from resnet_lab.train.config import TrainConfig, data_config, parse_freeze
from resnet_lab.train.held_out import cross_validate
from resnet_lab.train.progress import TrainingWatcher

PLANTED, FIRST = 0.05, 0.1
"""Share of the images whose label is changed, and of the list that is looked at."""


def true_labels(source: str) -> tuple[list[bytes], list[str]]:
    """File content and class of every image."""
    if source != "digits":
        images = open_images(source, default_registry())
        contents = [(Path(source) / path).read_bytes() for path in images.paths]
        return contents, [images.classes[k] for k in images.labels.tolist()]
    digits = load_digits()
    return [_as_png(pixels) for pixels in digits.images], [str(label) for label in digits.target]


def _as_png(pixels: NDArray[np.float64]) -> bytes:
    file = io.BytesIO()
    Image.fromarray((pixels * 255 / 16).round().astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def plant(labels: list[str], seed: int) -> tuple[list[str], set[int]]:
    """Labels with errors, and the positions of these."""
    draw, classes = np.random.default_rng(seed), sorted(set(labels))
    wrong = draw.choice(len(labels), round(PLANTED * len(labels)), replace=False).tolist()
    changed = list(labels)
    for position in wrong:
        changed[position] = str(draw.choice([name for name in classes if name != labels[position]]))
    return changed, set(wrong)


def measure(source: str, chosen: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Figures at one planted seed."""
    start = perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        contents, labels = true_labels(source)
        given, wrong = plant(labels, seed)
        images = Path(scratch) / "images"
        for number, (content, label) in enumerate(zip(contents, given, strict=True)):
            (images / label).mkdir(parents=True, exist_ok=True)
            (images / label / str(number)).with_suffix(".png" if source == "digits" else ".jpg").write_bytes(content)
        spec = zoo.get(chosen.network).modified(input_size=chosen.size, in_channels=1 if source == "digits" else 3)
        config = TrainConfig(
            epochs=chosen.epochs, lr=chosen.lr, seed=seed, weights=chosen.weights, threads=1,
            freeze=() if chosen.freeze is None else parse_freeze(chosen.freeze),
            augment=() if source == "digits" else ("flip",),
        )  # fmt: skip
        data = data_config({"source": str(images)}, "planted")
        found = cross_validate(
            spec, data, config, Path(scratch) / "trainings", default_registry(), TrainingWatcher(),
            folds=chosen.folds, repeats=chosen.repeats,
        )  # fmt: skip
        held_out = mean_of(found)
    numbers = [int(Path(path).stem) for path in held_out.paths]
    predicted = [held_out.classes[k] for k in held_out.probabilities.argmax(1).tolist()]
    figures: dict[str, Any] = {
        "seed": seed, "images": len(labels), "planted": len(wrong), "seconds": round(perf_counter() - start),
        "accuracy": float(np.mean([labels[number] == name for number, name in zip(numbers, predicted, strict=True)])),
    }  # fmt: skip
    for quality in LABEL_QUALITIES:
        ranked = rank_suspects(held_out, quality)
        hits = [int(Path(each.path).stem) in wrong for each in ranked]
        figures["first"] = round(FIRST * len(ranked))
        figures[quality] = sum(hits[: figures["first"]])
        figures["flagged"] = sum(each.flagged for each in ranked)
        figures["flagged_planted"] = sum(hit and each.flagged for hit, each in zip(hits, ranked, strict=True))
    return figures


def main(arguments: list[str]) -> None:
    """Measure seed by seed; the file has what is done so far."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--network", default="resnet20")
    parser.add_argument("--weights")
    parser.add_argument("--freeze")
    for name, kind, default in (
        ("size", int, 8), ("epochs", int, 15), ("folds", int, 5), ("repeats", int, 1), ("lr", float, 3e-3),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=kind, default=default)
    chosen = parser.parse_args(arguments)
    settings = {name: value for name, value in vars(chosen).items() if name not in ("source", "out", "seeds")}
    settings["weights"] = None if chosen.weights is None else Path(chosen.weights).name
    rows: list[dict[str, Any]] = []
    for seed in map(int, chosen.seeds.split(",")):
        rows.append(measure(chosen.source, chosen, seed))
        print(rows[-1], flush=True)
        total = sum(row["planted"] for row in rows)
        recalls = {}
        for quality in LABEL_QUALITIES:
            found = sum(row[quality] for row in rows)
            low, high = wilson(found / total, total, 0.95)
            recalls[quality] = {"found": found, "of": total, "recall": found / total, "low": low, "high": high}
        content = {
            "machine": machine(torch.device("cpu"), choose("cpu").name), "source": Path(chosen.source).name,
            "settings": settings, "first_tenth": recalls, "seeds": rows,
        }  # fmt: skip
        chosen.out.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
