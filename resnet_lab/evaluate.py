"""A run's network on the images of its data or another source. Legend: N images, K classes."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from resnet_lab import checkpoint
from resnet_lab.checkpoint import Metadata
from resnet_lab.data.batches import Batches
from resnet_lab.data.config import DataConfig
from resnet_lab.data.decoding import Form
from resnet_lab.data.pixels import Pixels
from resnet_lab.data.preparation import Decoded, decode_all
from resnet_lab.data.sources import open_images
from resnet_lab.data.split import Part, from_csv
from resnet_lab.device import Placement
from resnet_lab.errors import CheckpointError, DataError, RunError
from resnet_lab.images import ImageSet
from resnet_lab.metrics import Summary, summarise
from resnet_lab.model import ResNet
from resnet_lab.plugins import Registry
from resnet_lab.predictions import Origin, Predictions, weights_digest
from resnet_lab.run import Run
from resnet_lab.watcher import SILENT, Watcher
from resnet_lab.weights.adopting import Adopted

BATCH_SIZE = 64


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
    again: bool = False,
    watcher: Watcher = SILENT,
) -> Predictions:
    """Predictions of a run's best weights on a part of its own data, or on all of another source.

    They are kept in the run folder. Those that are there already are read, if the weights, the images and how the
    network runs are still the same.

    Args:
        run: a run folder.
        source: another source, whose classes must be the network's.
        again: make them in any case.
        watcher: told of each image that is decoded.

    Raises:
        RunError: not a run folder, or one without weights yet; predictions that cannot be written.
        CheckpointError: no usable weights in it, or a network whose outputs are not numbers.
        DataError: the images are not those of the run, have other classes, or are none.
    """
    opened = Run.open(run)
    opened.require_weights()
    metadata, model = load_for_images(opened.best, registry)
    record = opened.read()
    if source is None and record.get("status") == "imported":
        raise RunError(f"{run} holds imported weights, which have no images of their own; name some with --data")
    data = DataConfig(source=source or record["data"]["source"], cache=record["data"]["cache"])
    images = open_images(data.source, registry)
    _require_same_classes(images, metadata)
    decoded = decode_all(images, form_of(metadata), data, watcher)
    if source is None:
        positions = np.flatnonzero(from_csv(opened.splits, images) == part)
        _require_usable(decoded, positions)
    else:
        positions = np.flatnonzero(decoded.usable)
    if not len(positions):
        raise DataError(f"{opened.splits}: no image is in the {part} part; name a part that has some with --split")
    whole = "all" if source is not None else part
    origin = origin_of(opened, images.name, whole, placement, record.get("best_epoch"))
    digests = tuple(decoded.examined[position].digest for position in positions)
    kept = opened.predictions(origin.part, "" if source is None else images.name)
    if not again and (found := _kept(kept, origin, digests)) is not None:
        watcher.say(f"predictions of {found.origin.created} are taken from {kept}")
        return found
    batches = prepare(decoded.pixels, positions, images.labels[positions], metadata, placement)
    watcher.begin("predicting", len(positions))
    network = placement.for_inference(model, len(positions), watcher=watcher)
    predictions = Predictions(
        classes=metadata.classes,
        paths=tuple(images.paths[position] for position in positions),
        digests=digests,
        labels=images.labels[positions],
        probabilities=probabilities_of(network, told(batches.in_order(), watcher), placement, str(opened.best)),
        origin=origin,
    )
    predictions.write(kept)
    return predictions


def evaluate_weights(
    adopted: Adopted,
    source: str,
    placement: Placement,
    registry: Registry,
    *,
    download: bool = False,
    watcher: Watcher = SILENT,
) -> Predictions:
    """Predictions of pretrained weights as they are on all images of a source; they are kept nowhere.

    Classes are matched by name; the source may have some of the weights' classes.

    Raises:
        DataError: the source cannot be read, or has a class that is none of the weights', or an ambiguous one.
    """
    images = open_images(source, registry, download=download)
    outputs = np.array(adopted.positions_of(images.classes, images.name))
    metadata = adopted.metadata
    decoded = decode_all(images, form_of(metadata), DataConfig(source=source), watcher)
    positions = np.flatnonzero(decoded.usable)
    labels = outputs[images.labels]
    batches = prepare(decoded.pixels, positions, labels[positions], metadata, placement)
    watcher.begin("predicting", len(positions))
    network = placement.for_inference(adopted.model, len(positions), watcher=watcher)
    where = adopted.coverage.source
    return Predictions(
        classes=metadata.classes,
        paths=tuple(images.paths[position] for position in positions),
        digests=tuple(decoded.examined[position].digest for position in positions),
        labels=labels[positions],
        probabilities=probabilities_of(network, told(batches.in_order(), watcher), placement, where),
        origin=Origin(
            weights=where,
            source=images.name,
            part="all",
            device=placement.record(),
            epoch=None,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            versions=_versions(),
        ),
    )


def origin_of(run: Run, source: str, part: str, placement: Placement, epoch: int | None) -> Origin:
    """What makes predictions of a run's best weights now; raises `CheckpointError` where there are none."""
    return Origin(
        weights=weights_digest(run.best),
        source=source,
        part=part,
        device=placement.record(),
        epoch=epoch,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=_versions(),
    )


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("resnet-lab", "torch", "torchvision")}


def stored(run: Run, part: Part = "test") -> Predictions | None:
    """What `evaluate` kept of the run's present best weights; None where there is nothing.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = run.predictions(part)
    if not (path.exists() and run.best.exists()):
        return None
    found = Predictions.read(path)
    return found if found.origin.weights == weights_digest(run.best) else None


def summary_of(run: Run, predictions: Predictions) -> Summary:
    """All figures, with the run's numbers of training images."""
    return summarise(
        predictions.labels, predictions.probabilities, predictions.classes, run.training_images(predictions.classes)
    )


def probabilities_of(
    network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], placement: Placement, where: str
) -> NDArray[np.float32]:
    """Softmax of the network's outputs, shape (N, K); raises `CheckpointError` where they are not numbers."""
    found: NDArray[np.float32] = logits(network, batches, placement).softmax(1).numpy()
    if not np.isfinite(found).all():
        raise CheckpointError(
            f"{where}: the network answers with values that are not numbers; with fp16, try --precision fp32, "
            "else train it anew with a lower learning rate"
        )
    return found


def told(batches: Iterable[tuple[Tensor, Tensor]], watcher: Watcher) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches, each told when the next is asked for."""
    for x, y in batches:
        yield x, y
        for _ in range(len(y)):
            watcher.advance()


def _kept(path: Path, origin: Origin, digests: tuple[str, ...]) -> Predictions | None:
    """The predictions at `path` if they are what would be made now; a damaged file is made anew."""
    try:
        found = Predictions.read(path)
    except CheckpointError:
        return None
    return found if found.digests == digests and _made_alike(found.origin, origin) else None


def _made_alike(one: Origin, other: Origin) -> bool:
    same = ("weights", "source", "part")
    how = ("type", "dtype", "precision")
    return all(getattr(one, name) == getattr(other, name) for name in same) and all(
        one.device.get(name) == other.device.get(name) for name in how
    )


def form_of(metadata: Metadata) -> Form:
    """What images are made into for a network, as they were when it was trained."""
    return Form(metadata.spec.input_size, metadata.spec.in_channels, metadata.fit, metadata.resize)


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
