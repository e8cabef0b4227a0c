"""A whole training: images to a run folder."""

import csv
import io
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from importlib.metadata import version
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from resnet_lab import checkpoint
from resnet_lab.builder import assemble, plugins_needed
from resnet_lab.checkpoint import Metadata
from resnet_lab.data.augmentations import parse_augmentations
from resnet_lab.data.batches import Batches
from resnet_lab.data.config import DataConfig
from resnet_lab.data.decoding import Form
from resnet_lab.data.preparation import Prepared, prepare
from resnet_lab.data.sources import open_images
from resnet_lab.data.split import PARTS, Part, to_csv
from resnet_lab.device import Placement, choose
from resnet_lab.errors import ConfigError, ResNetLabError
from resnet_lab.evaluate import logits
from resnet_lab.files import refuse_existing, write_atomically
from resnet_lab.metrics import Scores, score
from resnet_lab.model import ResNet
from resnet_lab.plugins import Registry, default_registry
from resnet_lab.run import Run
from resnet_lab.spec import ModelSpec
from resnet_lab.train.config import TrainConfig
from resnet_lab.train.curves import draw_curves
from resnet_lab.train.interruption import Interrupted, Interruption
from resnet_lab.train.loop import Epoch, epochs
from resnet_lab.watcher import Watcher


class TrainingWatcher(Watcher):
    """Is told of epochs too."""

    def epoch(self, epoch: Epoch, best: Epoch) -> None:
        """An epoch is over."""


@dataclass(frozen=True)
class Result:
    """What a training came to."""

    run: Path
    best_epoch: int
    test: Scores


@dataclass(frozen=True)
class _Ready:
    """Everything that a training needs, checked."""

    data: Prepared
    batches: dict[Part, Batches]
    metadata: Metadata
    model: ResNet


def train(
    spec: ModelSpec,
    data: DataConfig | str,
    config: TrainConfig | None = None,
    *,
    folder: str | Path,
    registry: Registry | None = None,
    command: Sequence[str] = (),
    watcher: TrainingWatcher | None = None,
) -> Result:
    """Train a network on a source of images and score its best epoch on the test part, once.

    Args:
        spec: the network; its classes are set to those of the source.
        data: where the images come from and how they are made ready; a text is the source alone.
        folder: where to put the run; it must not exist.
        command: what the user typed, for the record.

    Raises:
        ResNetLabError: anything that is wrong with the input is found before the folder is made.
        Interrupted: SIGINT or SIGTERM came; the weights of the moment are in the folder.
    """
    config, watcher, registry = config or TrainConfig(), watcher or TrainingWatcher(), registry or default_registry()
    data = DataConfig(source=data) if isinstance(data, str) else data
    refuse_existing(Path(folder))
    placement = choose(config.device, config.precision)
    ready = _prepare(spec, data, config, placement, registry, watcher)
    run = Run.create(Path(folder))
    record = _record(ready, data, config, placement, command)
    run.write({"status": "running", **record})
    write_atomically(run.splits, to_csv(ready.data.images, ready.data.parts).encode("utf-8", "surrogateescape"))
    try:
        history, best = _fit(ready, config, placement, run, watcher)
    except (Interrupted, ResNetLabError) as error:
        run.write({"status": str(error), **record})
        raise
    test = _test(ready, placement, run, registry)
    outcome = {"best_epoch": best.epoch, "seconds": sum(epoch.seconds for epoch in history), "test": test.headline()}
    run.write({"status": "finished", **record, **outcome})
    return Result(run.folder, best.epoch, test)


def _prepare(
    spec: ModelSpec,
    data: DataConfig,
    config: TrainConfig,
    placement: Placement,
    registry: Registry,
    watcher: Watcher,
) -> _Ready:
    images = open_images(data.source, registry, download=data.download)
    spec = spec.modified(num_classes=len(images.classes))
    built = assemble(spec, registry, seed=config.seed, zero_init_residual=config.zero_init_residual)
    for note in built.notes:
        watcher.say(note)
    form = Form(spec.input_size, spec.in_channels, data.fit)
    prepared = prepare(images, form, data, config.seed, watcher)
    _refuse_single_images(spec, len(prepared.positions("train")), config.batch_size, registry)
    watcher.say(f"{int(prepared.usable.sum())} images of {len(images.classes)} classes; training on {placement}")
    mean, std = prepared.statistics()
    batches = {
        part: Batches(
            prepared.pixels,
            chosen := prepared.positions(part),
            images.labels[chosen],
            num_classes=len(images.classes),
            mean=mean,
            std=std,
            batch_size=config.batch_size,
            placement=placement,
            augment=parse_augmentations(config.augment),
            balanced=config.balance == "sampling",
            chunks=None if images.chunks is None else images.chunks[chosen],
            seed=config.seed,
        )
        for part in PARTS
    }
    plugins = plugins_needed(spec, registry)
    metadata = Metadata(spec=spec, classes=images.classes, mean=mean, std=std, fit=data.fit, plugins=plugins)
    return _Ready(prepared, batches, metadata, built.model)


def _refuse_single_images(spec: ModelSpec, images: int, batch_size: int, registry: Registry) -> None:
    """Batch norm has no variance to take over one image at one pixel; better said now than at the first step."""
    if images // ceil(images / batch_size) > 1:
        return
    x = torch.empty(1, spec.in_channels, spec.input_size, spec.input_size, device="meta")
    try:
        assemble(spec, registry, device="meta").model.train()(x)
    except ValueError as error:
        raise ConfigError(f"this network cannot learn from a single image: {error}; raise batch_size") from None


def _fit(
    ready: _Ready,
    config: TrainConfig,
    placement: Placement,
    run: Run,
    watcher: TrainingWatcher,
) -> tuple[list[Epoch], Epoch]:
    """Train, writing metrics, weights and curves after each epoch; all epochs, and the best."""
    model = placement.place(ready.model)
    batches, metadata = ready.batches, ready.metadata
    history: list[Epoch] = []
    best: Epoch | None = None

    with Interruption() as interruption:

        def after_step() -> None:
            watcher.advance()
            interruption.check()

        title = f"{metadata.spec.name} on {Path(ready.data.images.name).name}"
        watcher.begin("training", config.epochs * len(batches["train"]))
        classes = len(metadata.classes)
        try:
            for epoch in epochs(model, batches["train"], batches["val"], config, placement, classes, after_step):
                history.append(epoch)
                write_atomically(run.metrics, _table(history).encode())
                checkpoint.write(run.last, model, metadata)
                if best is None or epoch.merit > best.merit:
                    best = epoch
                    checkpoint.write(run.best, model, metadata)
                write_atomically(run.curves, draw_curves(history, title, best.epoch))
                watcher.epoch(epoch, best)
        except Interrupted:
            checkpoint.write(run.last, model, metadata)
            raise
    assert best is not None
    return history, best


def _test(ready: _Ready, placement: Placement, run: Run, registry: Registry) -> Scores:
    model = placement.place(checkpoint.load(run.best, registry))
    batches = ready.batches["test"]
    predictions = logits(model, batches.in_order(), placement).argmax(1).numpy()
    return score(batches.labels, predictions, ready.metadata.classes)


def _table(history: Sequence[Epoch]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Epoch)], lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: f"{value:.6g}" for key, value in asdict(epoch).items()} for epoch in history)
    return text.getvalue()


def _record(
    ready: _Ready,
    data: DataConfig,
    config: TrainConfig,
    placement: Placement,
    command: Sequence[str],
) -> dict[str, Any]:
    """What run.json says of how the run was made: enough to repeat it."""
    prepared, metadata = ready.data, ready.metadata
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": list(command),
        "config": config.model_dump(mode="json"),
        "spec": metadata.spec.model_dump(mode="json"),
        "spec_hash": metadata.spec.hash,
        "data": {
            **data.model_dump(mode="json"),
            "source": prepared.images.name,
            "fingerprint": prepared.fingerprint,
            "images": {part: int(np.sum(prepared.parts == part)) for part in PARTS},
            "bad": [{"path": path, "cause": cause} for path, cause in prepared.bad],
            "copies": len(prepared.copies),
            "classes": list(metadata.classes),
            "mean": metadata.mean,
            "std": metadata.std,
        },
        "plugins": metadata.plugins,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("resnet-lab", "torch", "torchvision", "numpy", "pillow")},
        },
        "device": {
            "type": placement.device.type,
            "name": _device_name(placement.device),
            "dtype": str(placement.dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
        },
    }


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return str(capabilities.get("cpu_name", platform.machine()))
