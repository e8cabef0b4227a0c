"""Training speed: beside the usual way from image files, and beside a bare PyTorch loop on the same batches.

The usual way: torchvision's ResNet-18 in float32, or timm's with GELU and CBAM, `ImageFolder`, a `DataLoader` with two
workers. Ours: the program's loop on its cache, in the precision that it chooses and in float32, eager, and compiled
as it is where enough training remains. The two take turns in
one process, an epoch each (of some images of a folder, at 224 pixels, batches of 32), each with its own settings of the
C library's memory, and a figure is the median of the ratios of neighbouring rounds.

usage: python benchmarks/training_speed.py FOLDER OUT.json [ROUNDS] [--device DEVICE]

The variable IMAGES sets how many an epoch trains on; a sixth of them are validated.
"""

import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import timm
import torch
import torchvision
from devices import device_of, seconds_of
from inference_speed import kept, stock
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torch.utils.data import Subset as Chosen
from torchvision.transforms import v2

import resnet_lab
from resnet_lab.core.choices import Compile
from resnet_lab.data.augmentations import parse_augmentations
from resnet_lab.data.config import DataConfig
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.data.image_loader import image_loader
from resnet_lab.data.loader import Batch, Loader
from resnet_lab.data.order import Order, Subset
from resnet_lab.data.preparation import Prepared, prepare
from resnet_lab.data.sources import open_images
from resnet_lab.device import Placement, choose, compile_for_training
from resnet_lab.network.plugins import default_registry
from resnet_lab.train.config import TrainConfig
from resnet_lab.train.learner import Learner
from resnet_lab.train.loop import epochs
from resnet_lab.train.optimisation import make_loss
from resnet_lab.train.state import Progress
from resnet_lab.train.tally import Tally

BATCH, CLASSES = 32, 4
IMAGES = int(os.environ.get("IMAGES", "384"))
VALIDATED = IMAGES // 6
MEAN, STD = (0.5, 0.45, 0.4), (0.25, 0.24, 0.23)

NETWORKS: dict[str, tuple[dict[str, Any], Callable[[], nn.Module]]] = {
    "ResNet-18": ({}, lambda: torchvision.models.resnet18(num_classes=CLASSES)),
    "ResNet-18 with GELU and CBAM": (
        {"act": "gelu", "attn": "cbam"},
        lambda: timm.create_model("resnet18", num_classes=CLASSES, act_layer="gelu", block_args={"attn_layer": "cbam"}),
    ),
}
"""Changes of ours, and the network of the usual way."""
MODES: dict[Compile, str] = {"off": "", "on": ", compiled,"}


def main(folder: str, out: str, rounds: int = 5, device: str = "auto") -> None:
    """Measure both and write them as JSON."""
    placement = choose(device)
    start = perf_counter()
    content: dict[str, Any] = {
        f"epoch of {name} in {each.precision}{suffix} beside the usual way": beside_the_usual_way(
            folder, name, replace(each, compile=mode), rounds
        )
        for each in {choice.precision: choice for choice in (placement, choose(device, "fp32"))}.values()
        for name in NETWORKS
        for mode, suffix in MODES.items()
    }
    content["loop beside a bare one"] = beside_a_bare_loop(placement, 6 * rounds)
    content["seconds"] = perf_counter() - start
    content["setting"] = {
        "batch": BATCH, "images": IMAGES, "placement": str(placement), "device": placement.name,
        "threads": torch.get_num_threads(),
        "processor": torch.cpu.get_capabilities().get("cpu_name", platform.machine()),
        "python": platform.python_version(), "torch": torch.__version__, "torchvision": torchvision.__version__,
    }  # fmt: skip
    Path(out).write_text(json.dumps(content, indent=1))
    print(json.dumps(content, indent=1))


def beside_the_usual_way(folder: str, name: str, placement: Placement, rounds: int) -> dict[str, Any]:
    """Images per second in whole training epochs with validation."""
    changes, theirs = NETWORKS[name]
    data = prepare(open_images(folder, default_registry()), ImageFormat(224), DataConfig(source=folder), seed=0)
    chosen = np.random.default_rng(0).permutation(np.flatnonzero(data.usable))
    train, val = served(data, chosen[:IMAGES], placement), served(data, chosen[IMAGES : IMAGES + VALIDATED], placement)
    network = resnet_lab.build("resnet18", num_classes=CLASSES, **changes)
    model = placement.place(network)
    called = compile_for_training(model, placement, name, (BATCH, 3, 224, 224))
    ours = ours_epoch(model, called, train, val, placement)
    usual = usual_epoch(folder, chosen, theirs(), placement.device)
    return compared(ours, usual, IMAGES, rounds, placement.device)


def beside_a_bare_loop(placement: Placement, rounds: int) -> dict[str, Any]:
    """Images per second of the loop alone, on 10 batches of 64 pixels that are there already."""
    draw = torch.Generator().manual_seed(0)
    batches = [
        Batch(
            np.arange(number * BATCH, (number + 1) * BATCH),
            placement.layout(torch.randn(BATCH, 3, 64, 64, generator=draw)),
            torch.randint(CLASSES, (BATCH,), generator=draw).to(placement.device),
        )
        for number in range(10)
    ]
    resident = Resident(batches)
    model, bare = (placement.place(resnet_lab.build("resnet18", num_classes=CLASSES)) for _ in range(2))
    ours = ours_epoch(model, model, resident, Resident(batches[:1]), placement)
    optimizer = torch.optim.Adam(bare.parameters(), 1e-3, fused=True)

    def epoch() -> None:
        bare.train()
        for _, x, y in batches:
            with placement.products():
                with placement.autocast():
                    loss = F.cross_entropy(bare(x), y)
                loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        bare.eval()
        with torch.inference_mode(), placement.autocast():
            bare(batches[0].x)

    return compared(ours, epoch, 10 * BATCH, rounds, placement.device)


class Resident:
    """Batches in memory, with what the loop asks of a `Loader`."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches = batches
        labels = torch.cat([y for *_, y in batches]).cpu().numpy()
        self.images = Subset(np.arange(len(labels)), labels, CLASSES)
        self.order = Order(self.images, BATCH)
        self.transform = SimpleNamespace(sizes=None)

    def __len__(self) -> int:
        return len(self.batches)

    def training(self, epoch: int, first_step: int = 0) -> Any:
        return iter(self.batches[first_step:])

    def evaluation(self) -> Any:
        return iter(self.batches)


def served(data: Prepared, positions: Any, placement: Placement) -> Loader:
    """Batches as a training gets them."""
    order = Order(Subset(positions, data.images.labels[positions], CLASSES), BATCH)
    return image_loader(data.pixels, order, MEAN, STD, placement, parse_augmentations(["rotate90"]))


def ours_epoch(model: nn.Module, called: nn.Module, train: Any, val: Any, placement: Placement) -> Callable[[], None]:
    """A function that trains one epoch more, and validates."""
    config = TrainConfig(epochs=10**6, lr=1e-3, batch_size=BATCH, schedule="constant")
    loss = make_loss(config, train.images.labels, CLASSES, placement.device)
    progress = Progress(Tally(CLASSES, placement.device))
    going = epochs(Learner(model, called, loss, config, placement), train, val, config, placement, progress)
    return lambda: void(next(going))


def usual_epoch(folder: str, chosen: Any, model: nn.Module, device: torch.device) -> Callable[[], None]:
    """The same, written the usual way."""
    turns = [v2.Lambda(lambda image, turn=turn: image.rotate(90 * turn)) for turn in range(4)]
    final = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    turned = v2.Compose([v2.Resize((224, 224)), v2.RandomChoice(turns), *final])
    plain = v2.Compose([v2.Resize((224, 224)), *final])
    train = Chosen(torchvision.datasets.ImageFolder(folder, turned), chosen[:IMAGES].tolist())
    val = Chosen(torchvision.datasets.ImageFolder(folder, plain), chosen[IMAGES : IMAGES + VALIDATED].tolist())
    loaders = [
        DataLoader(
            part, BATCH, shuffle=shuffle, num_workers=2, persistent_workers=True, pin_memory=device.type == "cuda"
        )
        for part, shuffle in ((train, True), (val, False))
    ]
    model = model.to(device)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)

    def epoch() -> None:
        model.train()
        for x, y in loaders[0]:
            optimizer.zero_grad()
            x, y = (each.to(device, non_blocking=True) for each in (x, y))
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            for x, _ in loaders[1]:
                model(x.to(device, non_blocking=True))

    return epoch


def compared(
    ours: Callable[[], None], theirs: Callable[[], None], images: int, rounds: int, device: torch.device
) -> dict[str, Any]:
    """Images per second in interleaved rounds (A B B A), and their ratio; the first round of each is not counted."""
    pairs = []
    for number in range(rounds + 1):
        found = {}
        for name in ("ours", "theirs") if number % 2 else ("theirs", "ours"):
            with kept() if name == "ours" else stock():
                found[name] = images / seconds_of(ours if name == "ours" else theirs, device)
        pairs.append((found["ours"], found["theirs"]))
    ratios = [a / b for a, b in pairs[1:]]
    low, _, high = quantiles(ratios, n=4)
    return {
        "ours": [a for a, _ in pairs[1:]],
        "theirs": [b for _, b in pairs[1:]],
        "ratio": {"median": median(ratios), "low": low, "high": high, "n": len(ratios)},
    }


def void(_: object) -> None:
    """Nothing."""


if __name__ == "__main__":
    device, arguments = device_of(sys.argv[1:], "auto")
    main(arguments[0], arguments[1], int(arguments[2]) if len(arguments) > 2 else 5, device)
