"""Data rate: our batches beside torchvision's ImageFolder and a DataLoader, from the same folder.

Both give float32 batches at 224 pixels, turned by random quarter turns and normalised. The two take turns in one
process, and a figure is the median of the ratios of neighbouring rounds. Also measured: the bare gather of uint8 images
beside a copy of memory, what batches add to a training step, and the memory of the process at 1,000 and 20,000 images.

With a GPU both copy their batches there; torchvision's are made by its workers on the CPU, from pinned memory.

usage: python benchmarks/data_rate.py FOLDER OUT.json [ROUNDS] [--device DEVICE]
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, repeat
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torchvision
from devices import device_of
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision.transforms import v2

import resnet_lab
from resnet_lab.data.augmentations import parse_augmentations
from resnet_lab.data.config import DataConfig
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.data.image_loader import image_loader
from resnet_lab.data.loader import Loader
from resnet_lab.data.order import Order, Subset
from resnet_lab.data.preparation import Prepared, prepare
from resnet_lab.data.sources import open_images
from resnet_lab.device import choose
from resnet_lab.device.placement import wait_for
from resnet_lab.network.plugins import default_registry

SIZE, BATCH, WORKERS = 224, 32, 2
MEAN, STD = (0.5, 0.45, 0.4), (0.25, 0.24, 0.23)
FORM = ImageFormat(SIZE)
DEVICE, ARGUMENTS = device_of(sys.argv[1:])
PLACEMENT = choose(DEVICE)


def main(folder: str, out: str, rounds: int = 7) -> None:
    """Measure everything; the figures are written as JSON whenever there are more."""
    data = prepared(folder)
    theirs, ours = image_folder(folder), batches(data)
    content: dict[str, Any] = {
        "setting": {
            "size": SIZE, "batch": BATCH, "workers": WORKERS, "images": len(ours.images),
            "threads": torch.get_num_threads(), "precision": PLACEMENT.precision, "device": PLACEMENT.name,
            "processor": torch.cpu.get_capabilities().get("cpu_name", platform.machine()),
            "python": platform.python_version(), "torch": torch.__version__, "torchvision": torchvision.__version__,
        }
    }  # fmt: skip
    parts: dict[str, Callable[[], Any]] = {
        "warm": lambda: compared(lambda: images_per_second(ours), lambda: images_per_second(theirs), rounds),
        "gather": lambda: gather(data, rounds),
        "cold": lambda: cold(folder, rounds),
        "training_step": lambda: training_step(ours, rounds),
        "memory": lambda: {number: resident(number) for number in (1000, 20000)},
    }
    for name, measure in parts.items():
        start = perf_counter()
        content[name] = {**measure(), "seconds": perf_counter() - start}
        Path(out).write_text(json.dumps(content, indent=1))
        print(name, json.dumps(content[name].get("ratio", content[name])), flush=True)


def prepared(source: str) -> Prepared:
    """All images in the cache."""
    return prepare(open_images(source, default_registry()), FORM, DataConfig(source=source), seed=0)


def batches(data: Prepared) -> Loader:
    """Every image, as a training gets them."""
    images = Subset(np.flatnonzero(data.usable), data.images.labels[data.usable], len(data.images.classes))
    placement, augment = choose(DEVICE, "fp32"), parse_augmentations(["rotate90"])
    return image_loader(data.pixels, Order(images, BATCH), MEAN, STD, placement, augment)


def image_folder(folder: str) -> "DataLoader[Any]":
    """The usual way."""
    turns = [v2.Lambda(lambda image, turn=turn: image.rotate(90 * turn)) for turn in range(4)]
    transform = v2.Compose(
        [
            v2.Resize((SIZE, SIZE)), v2.RandomChoice(turns),
            v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD),
        ]
    )  # fmt: skip
    data = torchvision.datasets.ImageFolder(folder, transform)
    return DataLoader(
        data,
        BATCH,
        shuffle=True,
        num_workers=WORKERS,
        persistent_workers=True,
        pin_memory=PLACEMENT.device.type == "cuda",
    )


def images_per_second(source: Any) -> float:
    """Images per second over one epoch, the first batch included."""
    start, number = perf_counter(), 0
    for *_, x, y in source.training(int(start * 1e6)) if isinstance(source, Loader) else source:
        number += len(y.to(PLACEMENT.device, non_blocking=True))
        x.to(PLACEMENT.device, non_blocking=True)  # ours is there
    wait_for(PLACEMENT.device)
    return number / (perf_counter() - start)


def cold(folder: str, rounds: int) -> dict[str, Any]:
    """First epochs per second: ours with an empty cache, theirs with workers to start."""

    def ours() -> float:
        with tempfile.TemporaryDirectory() as empty, patch.dict(os.environ, RESNET_LAB_CACHE=empty):
            start = perf_counter()
            images_per_second(batches(prepared(folder)))
            return 1 / (perf_counter() - start)

    def theirs() -> float:
        start = perf_counter()
        images_per_second(image_folder(folder))
        return 1 / (perf_counter() - start)

    return compared(ours, theirs, rounds)


def compared(ours: Callable[[], float], theirs: Callable[[], float], rounds: int) -> dict[str, Any]:
    """Rates in interleaved rounds (A B B A), and their ratio."""
    ours(), theirs()
    pairs = []
    for number in range(rounds):
        if number % 2:
            second = theirs()
            pairs.append((ours(), second))
        else:
            pairs.append((ours(), theirs()))
    return {"ours": [a for a, _ in pairs], "theirs": [b for _, b in pairs], "ratio": spread([a / b for a, b in pairs])}


def spread(values: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, _, high = quantiles(values, n=4)
    return {"median": median(values), "low": low, "high": high, "n": len(values)}


def gather(data: Prepared, rounds: int) -> dict[str, Any]:
    """Bytes per second of gathers alone of uint8 batches, beside a copy of as much memory by as many threads."""
    pixels, positions = data.pixels, np.flatnonzero(data.usable)
    workers, own = ThreadPoolExecutor(torch.get_num_threads()), threading.local()
    nbytes = BATCH * FORM.nbytes
    source = torch.zeros(2**28, dtype=torch.uint8)
    target = torch.empty_like(source)
    draw = np.random.default_rng(0)

    def memory() -> "np.ndarray[Any, np.dtype[np.uint8]]":
        if not hasattr(own, "array"):
            own.array = np.empty((BATCH, *FORM.shape), dtype=np.uint8)
        return own.array

    def gathers() -> float:
        order = draw.permutation(positions)
        chunks = [order[i : i + BATCH] for i in range(0, len(order) - BATCH + 1, BATCH)]
        start = perf_counter()
        for _ in workers.map(lambda chunk: pixels.gather(chunk, memory()), chunks):
            pass
        return len(chunks) * nbytes / (perf_counter() - start)

    def copies() -> float:
        start = perf_counter()
        for _ in range(4):
            target.copy_(source)
        return 4 * source.numel() / (perf_counter() - start)

    return compared(gathers, copies, 3 * rounds)


def training_step(ours: Any, rounds: int) -> dict[str, Any]:
    """Steps of a ResNet-18 on our batches beside steps on one batch that is there already, 10 steps a round."""
    model = PLACEMENT.place(resnet_lab.build("resnet18", num_classes=4))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    _, x, y = next(ours.training(0))

    def steps(source: Iterator[tuple[Tensor, Tensor]]) -> float:
        wait_for(PLACEMENT.device)
        start = perf_counter()
        for _ in range(10):
            step(model, optimizer, *next(source))
        wait_for(PLACEMENT.device)
        return 10 / (perf_counter() - start)

    stream = ((x, y) for epoch in count(1) for _, x, y in ours.training(epoch))
    return compared(lambda: steps(stream), lambda: steps(repeat((x, y))), max(rounds, 9))


def step(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    """One step of training, in the precision that the program would take."""
    with PLACEMENT.products():
        with PLACEMENT.autocast():
            loss = F.cross_entropy(model(PLACEMENT.layout(x)), y)
        loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def resident(number: int) -> dict[str, float]:
    """Peak resident memory of a process that prepares and goes through a synthetic set once, in MiB."""
    with tempfile.TemporaryDirectory() as empty:
        code = (
            "import sys; sys.path.insert(0, sys.argv[1]); import data_rate as d;"
            f"d.images_per_second(d.batches(d.prepared('synthetic(images={number})')));"
            "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
        )
        command = [sys.executable, "-c", code, str(Path(__file__).parent)]
        environment = {**os.environ, "RESNET_LAB_CACHE": empty}
        printed = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    return {"peak_mib": int(printed) / 1024}


if __name__ == "__main__":
    main(ARGUMENTS[0], ARGUMENTS[1], int(ARGUMENTS[2]) if len(ARGUMENTS) > 2 else 7)
