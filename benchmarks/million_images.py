"""The data part of a training at ImageNet's size: a folder of as many small files, decoded, and started from the cache.

The files have ImageNet's names (n01440764/n01440764_10026.JPEG) and 1,000 classes. Each is a JPEG of 16 pixels with its
name behind it, so that all digests differ; rows of 16 x 16 x 3 bytes take little of the disk, and pictures of 16 pixels
are not compared for near copies. Everything else is done as `resnet-lab train` does it, each start in a process of its
own. Memory per image is what is resident while batches are read, less that of a few images, by the difference in
number.

usage: python benchmarks/million_images.py [--images 1300000] [--folder FOLDER] --json OUT.json
"""

import argparse
import gc
import io
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from itertools import islice
from pathlib import Path
from time import perf_counter, process_time
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image

CLASSES, SIDE, BATCH, BATCHES = 1000, 16, 256, 400
STARTED = perf_counter()

STEPS = {
    "listing": ("resnet_lab.train.preparation", "open_images"),
    "stamps": ("resnet_lab.data.preparation", "stamps_of"),
    "records of the cache, or decoding": ("resnet_lab.data.preparation", "store_at_one_depth"),
    "check of copies": ("resnet_lab.data.preparation", "group_copies"),
    "split": ("resnet_lab.data.split", "split"),
}
"""What is timed within a start, by the module that calls it and its name there."""


def main() -> None:
    """Measure everything and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_300_000)
    parser.add_argument("--folder", help="keep the files and the cache there, and use those that are there")
    parser.add_argument("--json", required=True)
    parser.add_argument("--start", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.start:
        Path(options.json).write_text(json.dumps(start(options.start)))
        return
    with ExitStack() as stack:
        few = max(10 * CLASSES, options.images // 100)
        folder = Path(options.folder or stack.enter_context(tempfile.TemporaryDirectory()))
        small, whole = (made(folder, number) for number in (few, options.images))
        measured = {name: in_a_process(source, folder) for name, source in (("small", small), ("first", whole))}
        again = [in_a_process(each, folder) for each in (small, whole, small, whole, small, whole)]
    content = {
        "setting": {
            "images": options.images, "few": few, "classes": CLASSES, "side": SIDE, "batch": BATCH, "batches": BATCHES,
            "bytes_per_name": measured["first"].pop("bytes_per_name"), "cores": len(os.sched_getaffinity(0)),
            "processor": processor(), "python": platform.python_version(), "numpy": np.__version__,
        },
        "first start, which decodes": measured["first"],
        "starts from the cache": again[1::2],
        "starts from the cache, few images": again[::2],
        "resident bytes per image": [
            (whole["resident_mib"] - small["resident_mib"]) * 2**20 / (options.images - few)
            for small, whole in zip(again[::2], again[1::2], strict=True)
        ],
    }  # fmt: skip
    Path(options.json).write_text(json.dumps(content, indent=1) + "\n")


def made(folder: Path, number: int) -> Path:
    """The folder of that many files, made unless it is there."""
    source = folder / f"images-{number}"
    if source.exists():
        return source
    random, bodies = np.random.default_rng(0), []
    for _ in range(64):
        content = io.BytesIO()
        pixels = random.integers(0, 256, (2, 2, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BILINEAR).save(content, "JPEG", quality=60)
        bodies.append(content.getvalue())
    partly = source.with_suffix(".partly")
    synsets = np.sort(random.choice(np.arange(1_440_764, 15_075_141), CLASSES, replace=False))
    for place, synset in enumerate(synsets.tolist()):
        name = f"n{synset:08}"
        own = range(number * place // CLASSES, number * (place + 1) // CLASSES)
        (partly / name).mkdir(parents=True)
        for each in np.sort(random.choice(30_000, len(own), replace=False)).tolist():
            (partly / name / f"{name}_{each}.JPEG").write_bytes(bodies[each % 64] + f"{name} {each}".encode())
    return partly.rename(source)


def in_a_process(source: Path, folder: Path) -> dict[str, Any]:
    """`start` in a process of its own, with its cache in a folder."""
    out = folder / "start.json"
    environment = {**os.environ, "RESNET_LAB_CACHE": str(folder / "cache")}
    command = [sys.executable, __file__, "--start", str(source), "--json", str(out)]
    subprocess.run(command, check=True, env=environment)
    found: dict[str, Any] = json.loads(out.read_text())
    print(source.name, json.dumps(found), flush=True)
    return found


def start(source: str) -> dict[str, Any]:
    """What `train` does up to its first step, and then batches as it reads them; seconds and MiB."""
    steps: dict[str, dict[str, float]] = {}

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        begun, own = perf_counter(), process_time()
        yield
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        seconds, of_processor = round(perf_counter() - begun, 3), round(process_time() - own, 3)
        steps[name] = {"seconds": seconds, "processor_seconds": of_processor, "peak_mib": round(peak, 1)}

    def timing(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*positional: Any, **named: Any) -> Any:
            with timed(name):
                return function(*positional, **named)

        return call

    with timed("imports"):
        from resnet_lab.core.allocator import give_back_freed_memory
        from resnet_lab.data.config import DataConfig
        from resnet_lab.data.split import to_csv
        from resnet_lab.device.processes import Processes
        from resnet_lab.network.plugins import default_registry
        from resnet_lab.network.zoo import get
        from resnet_lab.train.config import TrainConfig
        from resnet_lab.train.preparation import make_ready
        from resnet_lab.train.progress import TrainingWatcher
        from resnet_lab.train.record import describe_run

        registry = default_registry()
    config, data = TrainConfig(batch_size=BATCH, compile="off"), DataConfig(source=source)
    processes, spec = Processes(device="cpu"), get("resnet20").modified(input_size=SIDE)
    with ExitStack() as stack, timed("everything up to the first step"):
        for name, (module, function) in STEPS.items():
            found = getattr(import_module(module), function)
            stack.enter_context(patch(f"{module}.{function}", timing(name, found)))
        ready = make_ready(spec, data, config, registry, TrainingWatcher(), processes)
        with timed("fingerprint and record"):
            describe_run(ready, data, (), processes, registry)
        with timed("splits.csv"):
            for _ in to_csv(ready.data.images, ready.data.part_column):
                pass
        with timed("first batch"):
            give_back_freed_memory(even_if_kept=True)  # as the trainer does
            batches = ready.batches["train"].training(1)
            next(batches)
    seconds, processor_seconds = perf_counter() - STARTED, process_time()
    begun = perf_counter()
    number = sum(len(y) for *_, y in islice(batches, BATCHES))
    rate = number / (perf_counter() - begun)
    gc.collect()
    names = sum(len(path.encode("utf-8", "surrogateescape")) for path in ready.data.images.paths)
    status = Path("/proc/self/status").read_text().split()
    return {
        "steps": steps,
        "seconds": round(seconds, 2),
        "processor_seconds": round(processor_seconds, 2),
        "resident_mib": int(status[status.index("VmRSS:") + 1]) / 1024,
        "peak_mib": int(status[status.index("VmHWM:") + 1]) / 1024,
        "images_per_second": round(rate),
        "bytes_per_name": names / len(ready.data.images),
    }


def processor() -> str:
    """The name of the processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
