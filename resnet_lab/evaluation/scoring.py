"""A run's network on the images of its data or another source. Legend: N images, K classes."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_lab.core.errors import CheckpointError, ConfigError, DataError, RunError
from resnet_lab.core.files import make_folder, refuse_unwritable
from resnet_lab.core.images import ImageSet
from resnet_lab.core.records import shortened
from resnet_lab.core.run_folder import Run
from resnet_lab.core.watcher import SILENT, Watcher
from resnet_lab.core.wording import counted, shell_word
from resnet_lab.data.class_names import match_classes, require_known
from resnet_lab.data.config import DataConfig
from resnet_lab.data.image_columns import hexadecimal
from resnet_lab.data.preparation import Decoded, decode_all
from resnet_lab.data.sources import open_images
from resnet_lab.data.sources.assembly import some
from resnet_lab.data.split import Part, from_csv_as_far_as_there
from resnet_lab.device import Placement, optimize_for_inference
from resnet_lab.evaluation.embedding_file import refuse_embedding_file, write_embeddings
from resnet_lab.evaluation.inference import AS_IT_IS, image_format_of, prepare, probabilities_of, with_progress
from resnet_lab.evaluation.metrics import Summary, summarise
from resnet_lab.evaluation.opened_run import OpenedRun, Sources
from resnet_lab.evaluation.predictions import Origin, Predictions, weights_digest
from resnet_lab.evaluation.views import Views
from resnet_lab.network.plugins import Registry
from resnet_lab.network.weights.adopting import Adopted


def evaluate(
    run: Path,
    placement: Placement,
    registry: Registry,
    *,
    part: Part = "test",
    source: str | None = None,
    class_map: Mapping[str, str] | None = None,
    other_classes: Collection[str] = (),
    again: bool = False,
    views: Views = AS_IT_IS,
    features_out: Path | None = None,
    watcher: Watcher = SILENT,
) -> Predictions:
    """Predictions of a run's best weights on a part of its own data, or on all of another source.

    They are kept in the run folder. Those that are there already are read, if the weights, the images and how the
    network runs are still the same. Classes are matched by name, in any order. Images that
    are gone or unreadable, and classes that another source lacks, are left out, reported to the watcher and recorded.

    Args:
        run: a run folder.
        source: another source, whose classes must be among the network's.
        class_map: names of classes by what they are called on the other side; see `match_classes`.
        other_classes: those that `class_map` may name beside the network's and the source's.
        again: make them in any case.
        views: over which probabilities are averaged; such predictions are kept in files of their own.
        features_out: a new Parquet file, which gets the embedding of each image.
        watcher: notified of each image that is decoded.

    Raises:
        RunError: not a run folder, or one without weights yet; predictions or embeddings that cannot be written.
        CheckpointError: no usable weights in it, or a network whose outputs are not numbers.
        ConfigError: `class_map` names a class that there is not; `features_out` is no .parquet file, or pyarrow is not
            installed.
        DataError: the images are not those of the run, have other classes, or are none.
    """
    if features_out is not None:
        refuse_embedding_file(features_out)
    opened = OpenedRun(run, Sources(registry, watcher))
    predictions = predictions_of(
        opened,
        placement,
        part=part,
        source=source,
        class_map=class_map,
        other_classes=other_classes,
        again=again,
        views=views,
    )
    if features_out is not None:
        write_embeddings(opened, predictions, placement, features_out)
    return predictions


def predictions_of(
    opened: OpenedRun,
    placement: Placement,
    *,
    part: Part = "test",
    source: str | None = None,
    class_map: Mapping[str, str] | None = None,
    other_classes: Collection[str] = (),
    again: bool = False,
    views: Views = AS_IT_IS,
) -> Predictions:
    """Evaluate an open run, like `evaluate`."""
    run, watcher = opened.run, opened.sources.watcher
    metadata, model = opened.network
    record = opened.record
    if (status := record.get("status")) not in ("finished", "imported"):
        watcher.say(f"{opened.folder}: the training has not finished ({status}); scored are its best weights so far")
    if source is None and status == "imported":
        raise RunError(
            f"{opened.folder} holds imported weights, which have no images of their own; name some with --data"
        )
    named = source or record["data"]["source"]
    images = opened.sources.images(named)
    require_known(class_map or {}, {*images.classes, *metadata.classes, *other_classes})
    match = match_classes(images.classes, metadata.classes, class_map)
    labels = np.array(match.numbers, dtype=np.int64)[images.labels]
    decoded = opened.own_images() if source is None else opened.decoded(named)
    gone: list[str] = []
    unreadable: list[str] = []
    if source is None:
        parts, missing = from_csv_as_far_as_there(run.splits, images)
        gone = [path for path, of_part in missing if of_part == part]
        positions = np.flatnonzero(parts == part)
        unreadable = [_with_cause(decoded, position) for position in positions[~decoded.usable[positions]].tolist()]
        positions = positions[decoded.usable[positions]]
        unknown = [name for name in match.unknown if name in {images.classes[k] for k in images.labels[positions]}]
    else:
        positions, unknown = np.flatnonzero(decoded.usable & (labels >= 0)), list(match.unknown)
    _require_known(unknown, match.missing, images.name)
    if not len(positions):
        raise DataError(
            f"{images.name}: all {len(gone)} images of the {part} part are gone; restore them"
            if gone and not unreadable
            else f"{images.name}: all {len(gone) + len(unreadable)} images of the {part} part are gone or cannot be "
            f"read now ({some(unreadable)}); restore them"
            if unreadable
            else f"{run.splits}: no image is in the {part} part; name a part that has some with --split"
            if source is None
            else f"{images.name}: no image is left to score; see `resnet-lab data check` and --class-map"
        )
    if source is None:
        _require_as_split(run, images, positions, labels, metadata.classes)
    whole = "all" if source is not None else part
    origin = origin_of(weights_digest(run.best), images.name, whole, placement, record.get("best_epoch")).model_copy(
        update={
            "gone": len(gone) + len(unreadable),
            "absent": match.missing if source is not None else (),
            "views": views.names,
        }
    )
    _report_views(views, record, watcher)
    _report_scored(match.remarks, gone, unreadable, origin, len(metadata.classes), watcher)
    digests = tuple(hexadecimal(decoded.examined.digests[positions]))
    labels = labels[positions]
    kept = kept_at(run, origin)
    if not again and (found := _kept(kept, origin, metadata.classes, digests, labels)) is not None:
        watcher.say(f"predictions of {found.origin.created} are taken from {kept}")
        return found
    make_folder(kept.parent)
    refuse_unwritable(kept)
    batches = prepare(decoded.pixels, positions, metadata, placement, labels)
    watcher.begin("predicting", len(positions))
    network = optimize_for_inference(model, placement, views.number * len(positions), watcher=watcher)
    shown = with_progress(batches.evaluation(), watcher)
    probabilities = probabilities_of(network, shown, placement, str(run.best), views)
    predictions = Predictions(
        classes=metadata.classes,
        paths=tuple(images.paths[position] for position in positions.tolist()),
        digests=digests,
        labels=labels,
        probabilities=probabilities,
        origin=origin.model_copy(update={"device": {**origin.device, "runtime": network.runtime}}),
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
    views: Views = AS_IT_IS,
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
    decoded = decode_all(images, image_format_of(metadata), DataConfig(source=source), watcher)
    positions = np.flatnonzero(decoded.usable)
    labels = outputs[images.labels]
    batches = prepare(decoded.pixels, positions, metadata, placement, labels[positions])
    watcher.begin("predicting", len(positions))
    network = optimize_for_inference(adopted.model, placement, views.number * len(positions), watcher=watcher)
    where = adopted.coverage.source
    probabilities = probabilities_of(network, with_progress(batches.evaluation(), watcher), placement, where, views)
    return Predictions(
        classes=metadata.classes,
        paths=tuple(images.paths[position] for position in positions.tolist()),
        digests=tuple(hexadecimal(decoded.examined.digests[positions])),
        labels=labels[positions],
        probabilities=probabilities,
        origin=Origin(
            weights=where,
            source=images.name,
            part="all",
            device={**placement.record(), "runtime": network.runtime},
            epoch=None,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            versions=_versions(),
            views=views.names,
        ),
    )


def origin_of(weights: str, source: str, part: str, placement: Placement, epoch: int | None) -> Origin:
    """Origin of new predictions by weights of that digest."""
    return Origin(
        weights=weights,
        source=source,
        part=part,
        device=placement.record(),
        epoch=epoch,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=_versions(),
    )


def kept_at(run: Run, origin: Origin) -> Path:
    """Path of a run folder's predictions.

    Those of a part with missing images, and of several views, never replace those of all of it as it is.
    """
    source = origin.source if origin.part == "all" else ""
    return run.predictions(origin.part, source, whole=not origin.gone, views=origin.views)


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("resnet-lab", "torch", "torchvision")}


def stored(run: Run, part: Part = "test") -> Predictions | None:
    """Predictions that `evaluate` kept of the run's present best weights; None where there are none.

    Raises:
        CheckpointError: the file is damaged, or of another part, other classes or other images than the run's.
        RunError: run.json or splits.csv is damaged.
    """
    path = run.predictions(part)
    if not (path.exists() and run.best.exists()):
        return None
    found = Predictions.read(path)
    if found.origin.weights != weights_digest(run.best):
        return None
    remedy = f"remove the file and score the run again with `resnet-lab eval {shell_word(run.folder)} --split {part}`"
    _require_of_run(found, run, path, part, remedy)
    return found


def stored_epochs(run: Run, number: int) -> tuple[Predictions, ...] | None:
    """Predictions on the test part after each of a run's last epochs, so many or all; None where some were not kept.

    Raises:
        CheckpointError: a file is damaged, or of another part, epoch, other classes or other images than the run's.
        RunError: run.json, metrics.csv or splits.csv is damaged.
    """
    done = len(run.epochs())
    epochs = range(max(1, done - number + 1), done + 1)
    if not all(run.predictions_of_epoch(epoch).exists() for epoch in epochs):
        return None
    found = tuple(Predictions.read(run.predictions_of_epoch(epoch)) for epoch in epochs)
    for epoch, each in zip(epochs, found, strict=True):
        path, remedy = run.predictions_of_epoch(epoch), f"restore the file, or train the run {run.folder} again"
        if each.origin.epoch != epoch:
            raise CheckpointError(f"{path}: the predictions are of epoch {each.origin.epoch}, not of {epoch}; {remedy}")
        _require_of_run(each, run, path, "test", remedy)
    return found


def _require_of_run(found: Predictions, run: Run, path: Path, part: Part, remedy: str) -> None:
    """Raise `CheckpointError` where predictions are of another part, other classes or other images than the run's."""
    if found.origin.part != part:
        raise CheckpointError(
            f"{path}: the predictions are of the part {shortened(found.origin.part)}, not of {part}; {remedy}"
        )
    if found.origin.views:
        names = shortened(", ".join(found.origin.views))
        raise CheckpointError(
            f"{path}: the predictions are means of views ({names}), not of the images as they are; {remedy}"
        )
    if run.record.exists() and list(found.classes) != run.read()["data"]["classes"]:
        raise CheckpointError(f"{path}: the predictions are of other classes than {run.record}; {remedy}")
    if run.splits.exists():
        labels = {row["path"]: row["label"] for row in run.split_rows() if row["split"] == part}
        named = [found.classes[label] for label in found.labels.tolist()]
        if len(found) != len(labels) or labels != dict(zip(found.paths, named, strict=True)):
            raise CheckpointError(
                f"{path}: the predictions are of other images or labels than the {part} part in {run.splits}; {remedy}"
            )


def summary_of(run: Run, predictions: Predictions) -> Summary:
    """All figures, with the run's numbers of training images."""
    return summarise(
        predictions.labels, predictions.probabilities, predictions.classes, run.training_images(predictions.classes)
    )


def _kept(
    path: Path, origin: Origin, classes: tuple[str, ...], digests: tuple[str, ...], labels: NDArray[np.int64]
) -> Predictions | None:
    """The predictions at `path` if they would be the same now; a damaged file is recomputed."""
    try:
        found = Predictions.read(path)
    except CheckpointError:
        return None
    same = (found.classes, found.digests) == (classes, digests) and np.array_equal(found.labels, labels)
    return found if same and _made_alike(found.origin, origin) else None


def _made_alike(one: Origin, other: Origin) -> bool:
    same = ("weights", "source", "part", "views")
    how = ("type", "dtype", "precision")
    return all(getattr(one, name) == getattr(other, name) for name in same) and all(
        one.device.get(name) == other.device.get(name) for name in how
    )


def _with_cause(decoded: Decoded, position: int) -> str:
    return f"{decoded.images.paths[position]}: {decoded.examined.cause(position)}"


def _require_known(unknown: Sequence[str], missing: Sequence[str], name: str) -> None:
    if unknown:
        raise DataError(
            f"{name}: its classes are not the network's: missing {sorted(missing) or 'none'}, unknown "
            f"{sorted(unknown)}; use a folder with the same class names, or map them with "
            f"--class-map '{unknown[0]}={missing[0] if missing else 'CLASS'}' (or '{unknown[0]}=' to leave it out)"
        )


def _require_as_split(
    run: Run, images: ImageSet, positions: NDArray[np.int64], labels: NDArray[np.int64], classes: Sequence[str]
) -> None:
    """Raise where a part is not scored whole, or has an image of another class than in the training."""
    named = {row["path"]: row["label"] for row in run.split_rows()}
    for position in positions.tolist():
        own = images.classes[images.labels[position]]
        if labels[position] < 0:
            raise ConfigError(
                f"--class-map '{own}=': the run's own parts are scored whole; name other images with --data to leave "
                "a class out"
            )
        if (called := classes[labels[position]]) != (was := named[images.paths[position]]):
            raise DataError(
                f"{images.name}: {images.paths[position]} is of the class {called!r} now, and of {was!r} in "
                f"{run.splits}; restore what changed, or score all images with --data {images.name}"
            )


def _report_views(views: Views, record: Mapping[str, Any], watcher: Watcher) -> None:
    """Remark on views that the training did not show."""
    trained = {text.partition("(")[0].strip() for text in record.get("config", {}).get("augment", ())}
    if "config" in record and (others := [name for name in views.names if name not in trained]):
        watcher.say(f"tta: the network was trained without {' and '.join(others)}, and may know such views less well")


def _report_scored(
    remarks: Sequence[str],
    gone: Sequence[str],
    unreadable: Sequence[str],
    origin: Origin,
    classes: int,
    watcher: Watcher,
) -> None:
    for remark in remarks:
        watcher.say(f"{origin.source}: {remark}")
    part = f"of the {origin.part} part"
    if gone:
        number = counted(len(gone), f"image {part} is", f"images {part} are")
        watcher.say(f"{origin.source}: {number} gone ({some(gone)}); the others are scored")
    if unreadable:
        number = counted(len(unreadable), "image")
        watcher.say(f"{origin.source}: {number} {part} cannot be read now ({some(unreadable)}); the others are scored")
    if origin.absent:
        watcher.say(
            f"{origin.source} has no image of {len(origin.absent)} of the network's {classes} classes "
            f"({some(origin.absent)}); the others are scored"
        )
