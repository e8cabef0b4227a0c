"""Seconds to equal accuracy, and accuracy in equal time: the recipe `paintings-quick` beside the usual way.

The usual way is torchvision's ResNet-18 in float32 with `ImageFolder`, a `DataLoader` of a worker for each core, two at
most, flips, Adam and a cosine. Both classify the images of a folder at one size, with the same split, and validate
after each epoch; decoding into an empty cache counts. Batch size and rate are tuned for each, of as many candidates in
as much time, on a seed that is not compared.
Then the trainings of a seed take turns: the usual one; ours in fewer epochs, for the seconds until validation reaches
what the usual way ends with (the median over seeds); ours in as many epochs as fit the usual one's time, for the
difference on the test part, judged as a study judges two arms.

usage: python benchmarks/time_to_accuracy.py FOLDER OUT.json [SIZE] [SEEDS] [PRECISION] [EPOCHS] [ARMS]

EPOCHS are the usual way's; ARMS are "usual,quick,equal time", of which the last may be left out.
"""

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import torch
import torchvision
from sklearn.metrics import balanced_accuracy_score
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torch.utils.data import Subset as Chosen
from torchvision.transforms import v2

from resnet_lab.bench.results import machine
from resnet_lab.data.config import DataConfig
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.data.preparation import prepare
from resnet_lab.data.sources import open_images
from resnet_lab.device import choose
from resnet_lab.evaluation.predictions import Origin, Predictions
from resnet_lab.network import zoo
from resnet_lab.network.plugins import default_registry
from resnet_lab.recipes.recipe import read_recipe
from resnet_lab.recipes.settings import apply_settings
from resnet_lab.study.contrasts import arm_contrasts
from resnet_lab.study.estimand import SeedImages, image_blocks
from resnet_lab.study.grid import Grid
from resnet_lab.study.statistics import judge
from resnet_lab.train.config import data_config, train_config
from resnet_lab.train.training import train

MODEL = "resnet18"
WORKERS = min(2, len(os.sched_getaffinity(0)))
QUICK = 0.55
"""Of the epochs that fit the usual way's time, the share that ours is given for equal accuracy."""

TUNED_ON = 1000


@dataclass(frozen=True)
class Choice:
    """What is tuned of a training."""

    batch: int
    rate: float

    def __str__(self) -> str:
        return f"batch {self.batch}, rate {self.rate}"


CANDIDATES = {
    "usual": (Choice(32, 3e-4), Choice(32, 1e-3), Choice(16, 2e-4), Choice(16, 5e-4)),
    "ours": (Choice(32, 1e-3), Choice(32, 2e-3), Choice(16, 1e-3), Choice(16, 2e-3)),
}


@dataclass(frozen=True)
class Split:
    """The parts of a folder that both train on, and are tested on.

    Attributes:
        files: of all images, relative to the folder.
        positions: of each part, among `torchvision.datasets.ImageFolder`'s images.
    """

    classes: tuple[str, ...]
    files: tuple[str, ...]
    targets: tuple[int, ...]
    digests: tuple[str, ...]
    positions: dict[str, list[int]]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, folder: str, size: int, seed: int) -> "Split":
        """The program's split of a seed."""
        data = prepare(open_images(folder, default_registry()), ImageFormat(size), DataConfig(source=folder), seed)
        listed = torchvision.datasets.ImageFolder(folder)
        number = {os.path.relpath(path, folder): position for position, (path, _) in enumerate(listed.samples)}
        digest = dict(zip(data.images.paths, (each.digest for each in data.examined), strict=True))
        parts = {
            part: [number[data.images.paths[position]] for position in data.positions(part)]
            for part in ("train", "val", "test")
        }
        files = tuple(number)
        return cls(
            tuple(listed.classes), files, tuple(listed.targets), tuple(digest[file] for file in files), parts,
            *data.statistics(),
        )  # fmt: skip

    def labels(self, part: str) -> list[int]:
        """Classes of a part's images."""
        return [self.targets[position] for position in self.positions[part]]

    def predictions(self, probabilities: np.ndarray[Any, Any]) -> Predictions:
        """Predictions on the test part, shape (N, K)."""
        tested = self.positions["test"]
        origin = Origin(weights="", source="", part="test", device={}, epoch=None, created="", versions={})
        return Predictions(
            self.classes,
            tuple(self.files[position] for position in tested),
            tuple(self.digests[position] for position in tested),
            np.array(self.labels("test")),
            probabilities,
            origin,
        )


@dataclass(frozen=True)
class Training:
    """A training's epochs, with macro-averaged accuracies.

    Attributes:
        seconds: since the start, at the end of each epoch.
        validation: after each epoch.
        test: of the best epoch by validation, for each seed's own test part.
    """

    seconds: list[float]
    validation: list[float]
    test: float
    predictions: Predictions | None = None

    def reaches(self, target: float) -> float | None:
        """Seconds until validation first reaches the target."""
        return next((each for each, found in zip(self.seconds, self.validation, strict=True) if found >= target), None)

    def record(self) -> dict[str, Any]:
        """Everything but the predictions."""
        return {key: value for key, value in asdict(self).items() if key != "predictions"}


def usual(folder: str, size: int, choice: Choice, seed: int, split: Split, epochs: int) -> Training:
    """Train the usual way."""
    torch.manual_seed(seed)
    start = perf_counter()
    final = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(split.mean, split.std)]
    plain = v2.Compose([v2.Resize((size, size)), *final])
    flipped = v2.Compose([v2.Resize((size, size)), v2.RandomHorizontalFlip(), *final])
    parts = {
        part: Chosen(torchvision.datasets.ImageFolder(folder, flipped if part == "train" else plain), positions)
        for part, positions in split.positions.items()
    }
    loaders = {
        part: DataLoader(
            images,
            choice.batch,
            shuffle=part == "train",
            num_workers=WORKERS,
            persistent_workers=part != "test",
            drop_last=part == "train" and len(images) % choice.batch == 1,  # refused at 1 x 1 pixels
        )
        for part, images in parts.items()
    }
    model = torchvision.models.resnet18(num_classes=len(split.classes))
    optimizer = torch.optim.Adam(model.parameters(), choice.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(loaders["train"]))

    @torch.inference_mode()
    def probabilities(part: str) -> torch.Tensor:
        model.eval()
        return torch.cat([model(x).softmax(1) for x, _ in loaders[part]])

    seconds, validation, best = [], [], {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for _ in range(epochs):
        model.train()
        for x, y in loaders["train"]:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
            schedule.step()
        found = float(balanced_accuracy_score(split.labels("val"), probabilities("val").argmax(1)))
        if found > max(validation, default=-1.0):
            best = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        validation.append(found)
        seconds.append(perf_counter() - start)
    model.load_state_dict(best)
    predicted = probabilities("test").numpy()
    score = float(balanced_accuracy_score(split.labels("test"), predicted.argmax(1)))
    return Training(seconds, validation, score, split.predictions(predicted))


def ours(folder: str, size: int, choice: Choice, seed: int, epochs: int, precision: str) -> Training:
    """Train by the recipe `paintings-quick`, with an empty cache."""
    settings = (
        f"data.source={folder}", f"model.model={MODEL}", f"model.input_size={size}",
        f"train.batch_size={choice.batch}", f"train.lr={choice.rate}", f"train.seed={seed}", f"train.epochs={epochs}",
        f"train.precision={precision}",
    )  # fmt: skip
    tables = apply_settings(read_recipe("paintings-quick").tables, settings)
    network = zoo.from_choices(tables["model"], "paintings-quick")
    data, config = data_config(tables["data"], folder), train_config(tables["train"], folder)
    with tempfile.TemporaryDirectory() as scratch:
        before = os.environ.get("RESNET_LAB_CACHE")
        os.environ["RESNET_LAB_CACHE"] = str(Path(scratch) / "cache")
        try:
            start = perf_counter()
            run = Path(scratch) / "run"
            train(network, data, config, folder=run, curves=False)
            whole = perf_counter() - start
            record = json.loads((run / "run.json").read_text())
            predicted = Predictions.read(next((run / "predictions").glob("*.safetensors")))
        finally:
            os.environ.pop("RESNET_LAB_CACHE")
            if before is not None:
                os.environ["RESNET_LAB_CACHE"] = before
        of_epochs = np.cumsum(pd.read_csv(run / "times.csv")["seconds"])
        first = max(0.0, whole - float(of_epochs.iloc[-1]))  # opening, decoding, and the test, all before the first
        validation = pd.read_csv(run / "metrics.csv")["val_macro_accuracy"].tolist()
    return Training((of_epochs + first).tolist(), validation, record["test"]["macro_accuracy"], predicted)


def tuned(folder: str, size: int, precision: str, usual_epochs: int) -> dict[str, Any]:
    """Batch, rate and epochs of each: the highest validation accuracy in the last three epochs, on a seed of its own.

    Ours has as many epochs as take the same time by a short training of each; from the seconds of all these trainings
    it then follows how many take the usual way's.
    """
    split, own = Split.of(folder, size, TUNED_ON), epochs_in_equal_time(folder, size, precision, usual_epochs)
    found: dict[str, Any] = {"epochs": {"usual": usual_epochs, "ours": own}}
    for name, choices in CANDIDATES.items():
        found[name] = {"tried": {}, "seconds": []}
        for choice in choices:
            run = (
                usual(folder, size, choice, TUNED_ON, split, usual_epochs)
                if name == "usual"
                else ours(folder, size, choice, TUNED_ON, own, precision)
            )
            accuracy = float(np.mean(run.validation[-3:]))
            print(f"{name}, {choice}: validation {accuracy:.3f}, {run.seconds[-1]:.0f} s", flush=True)
            found[name]["tried"][str(choice)] = accuracy
            found[name]["seconds"].append(run.seconds[-1])
    return found


def epochs_in_equal_time(folder: str, size: int, precision: str, epochs: int) -> int:
    """Epochs of ours that take as long as so many of the usual way's, by one short training of each."""
    split = Split.of(folder, size, TUNED_ON)
    theirs = usual(folder, size, CANDIDATES["usual"][0], TUNED_ON, split, epochs=3)
    own = ours(folder, size, CANDIDATES["ours"][0], TUNED_ON, 6, precision)
    whole = (theirs.seconds[-1] - theirs.seconds[0]) / 2 * epochs
    return max(1, round((whole - (own.seconds[0])) / ((own.seconds[-1] - own.seconds[0]) / 5)))


def main(
    folder: str,
    out: str,
    size: int = 96,
    seeds: int = 6,
    precision: str = "auto",
    usual_epochs: str = "15",
    arms: str = "usual,quick,equal time",
) -> None:
    """Measure, and write after each seed; what is tuned, and epochs, are those of OUT.json where it exists."""
    path = Path(out)
    tuning = json.loads(path.read_text())["tuning"] if path.exists() else None
    if tuning is None:
        tuning = tuned(folder, size, precision, int(usual_epochs))
    chosen = {
        name: max(choices, key=lambda choice, tried=tuning[name]["tried"]: tried.get(str(choice), -1.0))
        for name, choices in CANDIDATES.items()
    }
    ratio = median(tuning["usual"]["seconds"]) / median(tuning["ours"]["seconds"])
    in_equal_time = max(1, round(ratio * tuning["epochs"]["ours"]))
    epochs = {
        "usual": tuning["epochs"]["usual"], "quick": max(1, round(QUICK * in_equal_time)), "equal time": in_equal_time,
    }  # fmt: skip
    content: dict[str, Any] = {
        "machine": machine(torch.device("cpu"), choose("cpu").name), "folder": Path(folder).name, "size": size,
        "precision": choose(precision=precision).precision,  # type: ignore[arg-type]
        "cores": len(os.sched_getaffinity(0)), "tuning": tuning, "epochs": epochs,
        "chosen": {name: asdict(choice) for name, choice in chosen.items()}, "seeds": [],
    }  # fmt: skip
    path.write_text(json.dumps(content, indent=1))
    runs: list[dict[str, Training]] = []
    names = arms.split(",")
    for seed in range(seeds):
        split, found = Split.of(folder, size, seed), dict[str, Training]()
        for name in names if seed % 2 else reversed(names):
            if name == "usual":
                found[name] = usual(folder, size, chosen["usual"], seed, split, epochs[name])
            else:
                found[name] = ours(folder, size, chosen["ours"], seed, epochs[name], precision)
            run = found[name]
            print(f"seed {seed}, {name}: test {run.test:.3f} after {run.seconds[-1]:.0f} s", flush=True)
        runs.append(found)
        content["seeds"].append({name: run.record() for name, run in found.items()})
        content["summary"] = summary(runs)
        path.write_text(json.dumps(content, indent=1))
    print(json.dumps(content["summary"], indent=1))


def summary(runs: Sequence[dict[str, Training]]) -> dict[str, Any]:
    """What was asked: the seconds of each to the usual way's final accuracy, and the difference in equal time."""
    target = median(run["usual"].validation[-1] for run in runs)
    reached = {name: [run[name].reaches(target) for run in runs] for name in ("usual", "quick")}
    answer: dict[str, Any] = {"target": target, "seconds to it": reached}
    pairs = [pair for pair in zip(reached["quick"], reached["usual"], strict=True) if None not in pair]
    answer["ratios where both reach it"] = [first / second for first, second in pairs]  # type: ignore[operator]
    answer["whole training, quick by usual"] = [run["quick"].seconds[-1] / run["usual"].seconds[-1] for run in runs]
    arms = tuple(name for name in ("usual", "quick", "equal time") if name in runs[0])
    answer["test"] = {name: [run[name].test for run in runs] for name in arms}
    if len(runs) > 1:
        grid = Grid.filled(range(len(runs)), arms, lambda arm, seed: runs[seed][arm].predictions)
        images = SeedImages(image_blocks(grid, "macro_accuracy"))
        scores = np.array([[run[name].test for name in arms] for run in runs])
        [effects] = judge(scores, [arm_contrasts(arms)], population="new", images=images)
        answer["beside the usual way"] = [
            {
                "effect": effect.name, "mean": effect.difference, "interval": effect.interval, "p": effect.p_holm,
                "verdict": effect.verdict,
            }
            for effect in effects
        ]  # fmt: skip
    return answer


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:5]), *sys.argv[5:8])
