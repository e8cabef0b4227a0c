"""Predictions of a trained network on labelled images. Legend: N images, K classes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from resnet_lab import checkpoint
from resnet_lab.checkpoint import Metadata
from resnet_lab.data.batches import Batches
from resnet_lab.data.config import DataConfig
from resnet_lab.data.decoding import SUFFIXES, Form
from resnet_lab.data.pixels import DecodedPixels, Pixels
from resnet_lab.data.preparation import Decoded, decode_all
from resnet_lab.data.sources import open_images
from resnet_lab.data.sources.folders import find_images, read_file
from resnet_lab.data.split import Part, from_csv
from resnet_lab.device import Placement
from resnet_lab.errors import CheckpointError, DataError
from resnet_lab.images import ImageSet
from resnet_lab.metrics import Scores, score
from resnet_lab.model import ResNet
from resnet_lab.plugins import Registry
from resnet_lab.run import Run
from resnet_lab.watcher import SILENT, Watcher

BATCH_SIZE = 64


@dataclass(frozen=True)
class Evaluation:
    """Predictions with what they should have been.

    Attributes:
        labels: true classes, shape (N,).
        probabilities: shape (N, K).
    """

    classes: tuple[str, ...]
    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]

    @property
    def scores(self) -> Scores:
        return score(self.labels, self.probabilities.argmax(1), self.classes)


@torch.inference_mode()
def logits(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], placement: Placement) -> Tensor:
    """Outputs of the network in evaluation mode for all batches: float32 on the CPU, shape (N, K)."""
    was_training = model.training
    model.eval()
    with placement.autocast():
        outputs = [model(x)[: len(y)] for x, y in batches]
    model.train(was_training)
    return torch.cat(outputs).float().cpu()


def evaluate(
    run: Path,
    placement: Placement,
    registry: Registry,
    *,
    part: Part = "test",
    source: str | None = None,
    watcher: Watcher = SILENT,
) -> Evaluation:
    """Score a run's best weights on a part of its own data, or on all of another source.

    Args:
        run: a run folder.
        source: another source, whose classes must be the network's.
        watcher: told of each image that is decoded.

    Raises:
        RunError: not a run folder.
        CheckpointError: no usable weights in it.
        DataError: the images are not those of the run, or have other classes.
    """
    opened = Run.open(run)
    metadata, model = load_for_images(opened.best, registry)
    recorded = opened.read()["data"]
    data = DataConfig(source=source or recorded["source"], cache=recorded["cache"])
    images = open_images(data.source, registry)
    _require_same_classes(images, metadata)
    decoded = decode_all(images, form_of(metadata), data, watcher)
    if source is None:
        positions = np.flatnonzero(from_csv(opened.splits, images) == part)
        _require_usable(decoded, positions)
    else:
        positions = np.flatnonzero(decoded.usable)
    batches = prepare(decoded.pixels, positions, images.labels[positions], metadata, placement)
    network = placement.for_inference(model, len(positions), watcher=watcher)
    outputs = logits(network, batches.in_order(), placement)
    return Evaluation(
        classes=metadata.classes,
        paths=tuple(images.paths[position] for position in positions),
        labels=images.labels[positions],
        probabilities=outputs.softmax(1).numpy(),
    )


def form_of(metadata: Metadata) -> Form:
    """What images are made into for a network, as they were when it was trained."""
    return Form(metadata.spec.input_size, metadata.spec.in_channels, metadata.fit)


def prepare(
    pixels: Pixels, positions: NDArray[np.int64], labels: NDArray[np.int64], metadata: Metadata, placement: Placement
) -> Batches:
    """Images at `positions`, with their labels, scaled as the network was trained on them."""
    return Batches(
        pixels,
        positions,
        labels,
        num_classes=len(metadata.classes),
        mean=metadata.mean,
        std=metadata.std,
        batch_size=BATCH_SIZE,
        placement=placement,
    )


def _require_usable(decoded: Decoded, positions: NDArray[np.int64]) -> None:
    for position in positions.tolist():
        if cause := decoded.examined[position].cause:
            raise DataError(
                f"{decoded.images.name}: {decoded.images.paths[position]} was scored by the run and cannot be used now "
                f"({cause}); put it back as it was"
            )


def load_for_images(path: Path, registry: Registry) -> tuple[Metadata, ResNet]:
    """A weights file and its network; raises `CheckpointError` also where the file names no classes or scaling."""
    metadata, tensors = checkpoint.read(path)
    if len(metadata.classes) != metadata.spec.head.num_classes or not metadata.mean:
        raise CheckpointError(
            f"{path}: the weights name no classes and normalisation, as those that `resnet-lab train` writes do; "
            "they cannot be used on images"
        )
    return metadata, checkpoint.restore(metadata, tensors, str(path), registry)


def _require_same_classes(images: ImageSet, metadata: Metadata) -> None:
    if images.classes != metadata.classes:
        missing = sorted(set(metadata.classes) - set(images.classes))
        unknown = sorted(set(images.classes) - set(metadata.classes))
        raise DataError(
            f"{images.name}: its classes are not the network's: missing {missing or 'none'}, "
            f"unknown {unknown or 'none'}; use a folder with the same class names"
        )


def predict(
    weights: Path,
    paths: Sequence[Path],
    placement: Placement,
    registry: Registry,
    *,
    top: int,
    watcher: Watcher = SILENT,
) -> list[tuple[str, list[tuple[str, float]]]]:
    """The `top` most probable classes of each image file, with probabilities; folders stand for the images in them.

    Args:
        weights: a run folder, whose best weights are taken, or a weights file.

    Raises:
        RunError, CheckpointError: no usable weights.
        DataError: a path holds no image, or one cannot be read.
    """
    metadata, model = load_for_images(Run.open(weights).best if weights.is_dir() else weights, registry)
    files = [file for path in paths for file in _image_files(path)]
    images = ImageSet(
        name="images",
        classes=metadata.classes,
        paths=tuple(str(file) for file in files),
        labels=np.zeros(len(files), dtype=np.int64),  # not known, and not used
        read=lambda index: read_file(files[index]),
    )
    batches = prepare(
        DecodedPixels(images, form_of(metadata)), np.arange(len(files)), images.labels, metadata, placement
    )
    watcher.begin("predicting", len(files))
    network = placement.for_inference(model, len(files), watcher=watcher)
    probabilities = logits(network, _told(batches.in_order(), watcher), placement).softmax(1)
    best = probabilities.topk(min(top, len(metadata.classes)), dim=1)
    return [
        (path, [(metadata.classes[k], p) for k, p in zip(classes, values, strict=True)])
        for path, classes, values in zip(images.paths, best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def _told(batches: Iterable[tuple[Tensor, Tensor]], watcher: Watcher) -> Iterator[tuple[Tensor, Tensor]]:
    for x, y in batches:
        yield x, y
        for _ in range(len(y)):
            watcher.advance()


def _image_files(path: Path) -> list[Path]:
    if not path.exists():
        raise DataError(f"{path}: no such image or folder")
    if not path.is_dir():
        return [path]
    try:
        files = find_images(path)
    except OSError as error:
        raise DataError(f"{error.filename or path}: cannot be listed: {error.strerror}") from None
    if not files:
        raise DataError(f"{path} holds no image; images end in {', '.join(sorted(SUFFIXES))}")
    return files
