"""Gain from storing the output of frozen parts: ResNet-50 at 224 pixels, quarter turns, batches of 32, Adam.

Epochs with and without the store take turns in one process, each of training and a look at the validation part; a
figure is the median of the ratios of neighbouring epochs. The same losses come out, to 1e-5 in float32.

usage: python benchmarks/frozen_speed.py FOLDER OUT.json [IMAGES] [ROUNDS] [--device DEVICE]
       IMAGES of the training part, and an eighth as many of the validation part; 0 takes all
"""

import json
import os
import platform
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import numpy as np
import torch
from devices import device_of, seconds_of
from torch import nn
from torch.nn import functional as F

import resnet_lab
from resnet_lab.bench.results import machine
from resnet_lab.core.columns import CategoryColumn
from resnet_lab.data.augmentations import parse_augmentations
from resnet_lab.data.config import DataConfig
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.data.image_loader import image_loader
from resnet_lab.data.loader import Loader
from resnet_lab.data.order import Order, Subset
from resnet_lab.data.preparation import Prepared, prepare
from resnet_lab.data.sources import open_images
from resnet_lab.data.split import Part
from resnet_lab.device import Placement, choose
from resnet_lab.evaluation.inference import logits
from resnet_lab.network import zoo
from resnet_lab.network.checkpoint import Metadata
from resnet_lab.network.plugins import default_registry
from resnet_lab.train.config import parse_freeze
from resnet_lab.train.freezing import PartlyFrozen, freeze
from resnet_lab.train.frozen_cache import cache_features

SIZE, BATCH, RATE = 224, 32, 3e-4
CASES = (("1-3", "bf16"), ("1-4", "bf16"), ("1-3", "fp32"), ("1-4", "fp32"))


def main(folder: str, out: str, images: int = 0, rounds: int = 7, device: str = "cpu") -> None:
    """Measure every case and write all as JSON, after each of them."""
    data = few(
        prepare(open_images(folder, default_registry()), ImageFormat(SIZE), DataConfig(source=folder), seed=0), images
    )
    content: dict[str, Any] = {"setting": setting(choose(device))}
    for stages, precision in CASES:
        content[f"freeze {stages}, {precision}"] = measured(data, stages, choose(device, precision), rounds)
        Path(out).write_text(json.dumps(content, indent=1))
        print(stages, precision, json.dumps(content[f"freeze {stages}, {precision}"]), flush=True)


def few(data: Prepared, images: int) -> Prepared:
    """Evenly chosen images of the training part, and an eighth as many of the validation part."""
    if not images:
        return data
    parts = np.full_like(data.parts, "")
    for part, number in (("train", images), ("val", images // 8)):
        positions = np.flatnonzero(data.parts == part)
        parts[positions[np.linspace(0, len(positions) - 1, number).astype(int)]] = part
    return replace(data, part_column=CategoryColumn(parts.tolist()))


def setting(placement: Placement) -> dict[str, Any]:
    """All that the figures depend on."""
    return machine(placement.device, placement.name) | {
        "network": "resnet50", "size": SIZE, "batch": BATCH, "augment": "rotate90", "optimizer": "Adam, fused",
        "processors": os.cpu_count(),
        "processor": torch.cpu.get_capabilities().get("cpu_name", platform.machine()),
    }  # fmt: skip


def measured(
    data: Prepared, stages: str, placement: Placement, rounds: int, network: str = "resnet50", batch: int = BATCH
) -> dict[str, Any]:
    """Seconds of epochs with and without the store, the ratio of neighbours, and how far losses are apart."""
    mean, std = data.statistics()
    images = {part: batches(data, part, mean, std, placement, batch) for part in ("train", "val")}
    spec = zoo.get(network).modified(num_classes=len(data.images.classes))
    plain, stored = (Arm(spec, images, stages, placement) for _ in range(2))
    metadata = Metadata(spec=spec, classes=data.images.classes, mean=mean, std=std)
    with tempfile.TemporaryDirectory() as cache:
        before, os.environ["RESNET_LAB_CACHE"] = os.environ.get("RESNET_LAB_CACHE"), cache
        start = perf_counter()
        stored.batches = cache_features(stored.model, images, data, metadata, requested="on", epochs=rounds)
        filling = perf_counter() - start
        nbytes = sum(path.stat().st_size for path in Path(cache).rglob("*") if path.is_file())
        os.environ.pop("RESNET_LAB_CACHE") if before is None else os.environ.update(RESNET_LAB_CACHE=before)
        load = [os.getloadavg()[0]]
        pairs = []
        for number in range(rounds + 1):  # the first is for warming up
            arms = (plain, stored) if number % 2 else (stored, plain)
            seconds = {id(arm): seconds_of(partial(arm.epoch, number), placement.device) for arm in arms}
            pairs.append((seconds[id(plain)], seconds[id(stored)]))
            load.append(os.getloadavg()[0])
    apart = [abs(a - b) / abs(a) for a, b in zip(plain.losses, stored.losses, strict=True)]
    return {
        "seconds without": [a for a, _ in pairs[1:]], "seconds with": [b for _, b in pairs[1:]],
        "ratio": spread([a / b for a, b in pairs[1:]]),
        "images": {part: len(each.images) for part, each in images.items()},
        "filling seconds": filling, "stored bytes": nbytes, "load": load,
        "losses": plain.losses, "largest relative difference of a loss": max(apart),
    }  # fmt: skip


def batches(data: Prepared, part: Part, mean: Any, std: Any, placement: Placement, batch: int = BATCH) -> Loader:
    """Batches as a training has them."""
    chosen = data.positions(part)
    order = Order(Subset(chosen, data.images.labels[chosen], len(data.images.classes)), batch)
    return image_loader(data.pixels, order, mean, std, placement, parse_augmentations(["rotate90"]))


class Arm:
    """A network in training. Its losses are those of all its steps, and of the validation part after each epoch."""

    def __init__(self, spec: Any, images: dict[Part, Loader], stages: str, placement: Placement) -> None:
        self.batches, self.placement = images, placement
        network = resnet_lab.build(spec)
        with_statistics(placement.place(network), images["train"])
        self.model: PartlyFrozen = freeze(network, parse_freeze(stages))
        learning = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.Adam(learning, RATE, fused=True)
        self.losses: list[float] = []

    def epoch(self, number: int) -> None:
        """One of training and validation."""
        self.model.train()
        losses = []
        for _, x, y in self.batches["train"].training(number):
            with self.placement.products():
                with self.placement.autocast():
                    loss = F.cross_entropy(self.model(x).float(), y)
                loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            losses.append(loss.detach())  # read at the end: on a GPU each look would be waited for
        self.losses += torch.stack(losses).tolist()
        val = self.batches["val"]
        outputs = logits(self.model, val.evaluation(), self.placement)
        self.losses.append(F.cross_entropy(outputs, torch.from_numpy(val.images.labels)).item())


@torch.no_grad()
def with_statistics(network: nn.Module, images: Loader) -> None:
    """Batch norm's of one batch, as no pretrained weights are at hand: with those of a new network numbers explode."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    network.train()(next(images.evaluation()).x)
    for norm in norms:
        norm.momentum = 0.1


def spread(values: list[float]) -> dict[str, Any]:
    """Median and quartiles, with a warning where these lie apart."""
    low, middle, high = quantiles(values, n=4)
    found = {"median": median(values), "low": low, "high": high, "n": len(values)}
    return found | ({"warning": "the quartiles are more than 10% apart"} if high - low > 0.1 * middle else {})


if __name__ == "__main__":
    device, arguments = device_of(sys.argv[1:])
    main(arguments[0], arguments[1], *(int(number) for number in arguments[2:4]), device=device)
