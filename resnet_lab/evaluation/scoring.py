"""A run's network on the images of its data or another source. Legend: N images, K classes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from resnet_lab.core.errors import CheckpointError, DataError, RunError
from resnet_lab.core.run_folder import Run
from resnet_lab.core.watcher import SILENT, Watcher
from resnet_lab.data.class_names import match_classes
from resnet_lab.data.config import DataConfig
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.data.image_loader import image_loader
from resnet_lab.data.loader import Batch, Loader
from resnet_lab.data.order import Order, Subset
from resnet_lab.data.pixels import Pixels
from resnet_lab.data.preparation import Decoded, decode_all
from resnet_lab.data.sources import open_images
from resnet_lab.data.sources.assembly import some
from resnet_lab.data.split import Part, from_csv_as_far_as_there
from resnet_lab.device import Placement, optimize_for_inference
from resnet_lab.evaluation.metrics import Summary, summarise
from resnet_lab.evaluation.predictions import Origin, Predictions, weights_digest
from resnet_lab.network import checkpoint
from resnet_lab.network.checkpoint import Metadata
from resnet_lab.network.model import ResNet
from resnet_lab.network.plugins import Registry
from resnet_lab.network.weights.adopting import Adopted

BATCH_SIZE = 64


@torch.inference_mode()
def logits(model: nn.Module, batches: Iterable[Batch], placement: Placement) -> Tensor:
    """Outputs of the network in evaluation mode for all batches: float32 on the CPU, shape (N, K)."""
    was_training = model.training
    model.eval()
    with placement.autocast():
        outputs = [model(x)[: len(indices)] for indices, x, _ in batches]
    model.train(was_training)
    return torch.cat(outputs).float().cpu()


def evaluate(
    run: Path,
    placement: Placement,
    registry: Registry,
    *,
    part: Part = "test",
    source: str | None = None,
    class_map: Mapping[str, str] | None = None,
    again: bool = False,
    watcher: Watcher = SILENT,
) -> Predictions:
    """Predictions of a run's best weights on a part of its own data, or on all of another source.

    They are kept in the run folder. Those that are there already are read, if the weights, the images and how the
    network runs are still the same. Classes are matched by name, in any order. What is scored is what is there: images
    that are gone, and classes that another source has none of, are reported to the watcher and recorded.

    Args:
        run: a run folder.
        source: another source, whose classes must be among the network's.
        class_map: names of classes by what they are called on the other side; see `match_classes`.
        again: make them in any case.
        watcher: notified of each image that is decoded.

    Raises:
        RunError: not a run folder, or one without weights yet; predictions that cannot be written.
        CheckpointError: no usable weights in it, or a network whose outputs are not numbers.
        DataError: the images are not those of the run, have other classes, or are none.
    """
    opened = Run.open(run)
    opened.require_weights()
    metadata, model = load_for_images(opened.best, registry)
    record = opened.read()
    if (status := record.get("status")) not in ("finished", "imported"):
        watcher.say(f"{run}: the training has not finished ({status}); scored are its best weights so far")
    if source is None and status == "imported":
        raise RunError(f"{run} holds imported weights, which have no images of their own; name some with --data")
    data = DataConfig(source=source or record["data"]["source"], cache=record["data"]["cache"])
    images = open_images(data.source, registry, fewest=1)
    match = match_classes(images.classes, metadata.classes, class_map)
    labels = np.array(match.numbers, dtype=np.int64)[images.labels]
    decoded = decode_all(images, form_of(metadata), data, watcher)
    gone: list[str] = []
    if source is None:
        parts, missing = from_csv_as_far_as_there(opened.splits, images)
        gone = [path for path, of_part in missing if of_part == part]
        positions = np.flatnonzero(parts == part)
        _require_usable(decoded, positions)
        unknown = [name for name in match.unknown if name in {images.classes[k] for k in images.labels[positions]}]
    else:
        positions, unknown = np.flatnonzero(decoded.usable & (labels >= 0)), list(match.unknown)
    _require_known(unknown, match.missing, images.name)
    if not len(positions):
        raise DataError(
            f"{images.name}: all {len(gone)} images of the {part} part are gone; put them back"
            if gone
            else f"{opened.splits}: no image is in the {part} part; name a part that has some with --split"
            if source is None
            else f"{images.name}: no image is left to score; see `resnet-lab data check` and --class-map"
        )
    whole = "all" if source is not None else part
    origin = origin_of(opened, images.name, whole, placement, record.get("best_epoch")).model_copy(
        update={"gone": len(gone), "absent": match.missing if source is not None else ()}
    )
    _tell_what_is_scored(match.remarks, gone, origin, len(metadata.classes), watcher)
    digests = tuple(decoded.examined[position].digest for position in positions)
    labels = labels[positions]
    kept = kept_at(opened, origin)
    if not again and (found := _kept(kept, origin, digests, labels)) is not None:
        watcher.say(f"predictions of {found.origin.created} are taken from {kept}")
        return found
    batches = prepare(decoded.pixels, positions, metadata, placement, labels)
    watcher.begin("predicting", len(positions))
    network = optimize_for_inference(model, placement, len(positions), watcher=watcher)
    predictions = Predictions(
        classes=metadata.classes,
        paths=tuple(images.paths[position] for position in positions),
        digests=digests,
        labels=labels,
        probabilities=probabilities_of(
            network, with_progress(batches.evaluation(), watcher), placement, str(opened.best)
        ),
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
    batches = prepare(decoded.pixels, positions, metadata, placement, labels[positions])
    watcher.begin("predicting", len(positions))
    network = optimize_for_inference(adopted.model, placement, len(positions), watcher=watcher)
    where = adopted.coverage.source
    return Predictions(
        classes=metadata.classes,
        paths=tuple(images.paths[position] for position in positions),
        digests=tuple(decoded.examined[position].digest for position in positions),
        labels=labels[positions],
        probabilities=probabilities_of(network, with_progress(batches.evaluation(), watcher), placement, where),
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
    """Origin of new predictions of a run's best weights; raises `CheckpointError` where there are none."""
    return Origin(
        weights=weights_digest(run.best),
        source=source,
        part=part,
        device=placement.record(),
        epoch=epoch,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=_versions(),
    )


def kept_at(run: Run, origin: Origin) -> Path:
    """Path of a run folder's predictions; those of a part with missing images never replace those of all of it."""
    source = origin.source if origin.part == "all" else ""
    return run.predictions(origin.part, source, whole=not origin.gone)


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("resnet-lab", "torch", "torchvision")}


def stored(run: Run, part: Part = "test") -> Predictions | None:
    """Predictions that `evaluate` kept of the run's present best weights; None where there are none.

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
    network: nn.Module, batches: Iterable[Batch], placement: Placement, where: str
) -> NDArray[np.float32]:
    """Softmax of the network's outputs, shape (N, K); raises `CheckpointError` where they are not numbers."""
    outputs = logits(network, batches, placement)
    if not outputs.isfinite().all():
        raise CheckpointError(
            f"{where}: the network's outputs are non-finite; with fp16, try --precision fp32, "
            "otherwise train it again with a lower learning rate"
        )
    found: NDArray[np.float32] = outputs.softmax(1).numpy()
    return found


def with_progress(batches: Iterable[Batch], watcher: Watcher) -> Iterator[Batch]:
    """The batches; each advances the watcher when the next is asked for."""
    for batch in batches:
        yield batch
        for _ in batch.indices:
            watcher.advance()


def _kept(path: Path, origin: Origin, digests: tuple[str, ...], labels: NDArray[np.int64]) -> Predictions | None:
    """The predictions at `path` if they would be the same now; a damaged file is recomputed."""
    try:
        found = Predictions.read(path)
    except CheckpointError:
        return None
    same = found.digests == digests and np.array_equal(found.labels, labels) and _made_alike(found.origin, origin)
    return found if same else None


def _made_alike(one: Origin, other: Origin) -> bool:
    same = ("weights", "source", "part")
    how = ("type", "dtype", "precision")
    return all(getattr(one, name) == getattr(other, name) for name in same) and all(
        one.device.get(name) == other.device.get(name) for name in how
    )


def form_of(metadata: Metadata) -> ImageFormat:
    """Image format of a network, as it was in training."""
    spec = metadata.spec
    return ImageFormat(spec.input_size, spec.in_channels, metadata.fit, depth=metadata.depth, resize=metadata.resize)


def prepare(
    pixels: Pixels,
    positions: NDArray[np.int64],
    metadata: Metadata,
    placement: Placement,
    labels: NDArray[np.int64] | None = None,
) -> Loader:
    """Images at `positions`, scaled as the network was trained on them; all of label 0 where none are given."""
    labels = np.zeros(len(positions), dtype=np.int64) if labels is None else labels
    order = Order(Subset(positions, labels, len(metadata.classes)), BATCH_SIZE)
    return image_loader(pixels, order, metadata.mean, metadata.std, placement)


def _require_usable(decoded: Decoded, positions: NDArray[np.int64]) -> None:
    for position in positions.tolist():
        if cause := decoded.examined[position].cause:
            raise DataError(
                f"{decoded.images.name}: {decoded.images.paths[position]} was scored by the run and cannot be used now "
                f"({cause}); restore it"
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


def _require_known(unknown: Sequence[str], missing: Sequence[str], name: str) -> None:
    if unknown:
        raise DataError(
            f"{name}: its classes are not the network's: missing {sorted(missing) or 'none'}, unknown "
            f"{sorted(unknown)}; use a folder with the same class names, or say which is which with "
            f"--class-map '{unknown[0]}={missing[0] if missing else 'CLASS'}' (or '{unknown[0]}=' to leave it out)"
        )


def _tell_what_is_scored(
    remarks: Sequence[str], gone: Sequence[str], origin: Origin, classes: int, watcher: Watcher
) -> None:
    for remark in remarks:
        watcher.say(f"{origin.source}: {remark}")
    if gone:
        watcher.say(
            f"{origin.source}: {len(gone)} images of the {origin.part} part are gone ({some(gone)}); the others are "
            "scored"
        )
    if origin.absent:
        watcher.say(
            f"{origin.source} has no image of {len(origin.absent)} of the network's {classes} classes "
            f"({some(origin.absent)}); the others are scored"
        )
