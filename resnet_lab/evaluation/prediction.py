"""A trained network on image files that belong to no data set. Legend: N images, K classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resnet_lab.core.errors import DataError
from resnet_lab.core.run_folder import weights_of
from resnet_lab.core.watcher import SILENT, Watcher
from resnet_lab.data.image_files import ArrayPixels, decoded, image_files
from resnet_lab.device import Placement, optimize_for_inference
from resnet_lab.evaluation.inference import image_format_of, load_for_images, prepare, probabilities_of
from resnet_lab.network.plugins import Registry


@dataclass(frozen=True)
class Answer:
    """The most probable classes of one image, the first being the most probable, with probabilities."""

    path: str
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Answers:
    """Answers for all readable images; path and cause of the others; what ran the network, `torch` or `onnx`."""

    images: tuple[Answer, ...]
    bad: tuple[tuple[str, str], ...]
    runtime: str = "torch"


def predict(
    weights: Path,
    paths: Sequence[str | Path],
    placement: Placement,
    registry: Registry,
    *,
    top: int,
    watcher: Watcher = SILENT,
) -> Answers:
    """Name the `top` most probable classes of image files; nothing but the weights is needed.

    Args:
        weights: a run folder, whose best weights are taken, or a weights file.
        paths: files, folders, which stand for the images below them, and patterns such as `scans/**/*.jpg`.
        watcher: notified of each image.

    Raises:
        RunError, CheckpointError: no usable weights.
        DataError: a path holds no image, or none of them can be read.
    """
    weights = weights_of(weights)
    metadata, model = load_for_images(weights, registry)
    files = image_files(paths)
    image_format = image_format_of(metadata)
    watcher.begin("predicting", len(files))
    network = optimize_for_inference(model, placement, len(files), watcher=watcher)
    answers: list[Answer] = []
    bad: list[tuple[str, str]] = []
    for piece in decoded(files, image_format):
        bad += [(str(file), cause) for file, cause in piece.bad]
        if piece.files:
            batches = prepare(ArrayPixels(piece.pixels, image_format), np.arange(len(piece.files)), metadata, placement)
            found = probabilities_of(network, batches.evaluation(), placement, str(weights))
            best = np.argsort(-found, axis=1, kind="stable")[:, :top]
            answers += [
                Answer(str(file), tuple((metadata.classes[k], float(row[k])) for k in chosen.tolist()))
                for file, row, chosen in zip(piece.files, found, best, strict=True)
            ]
        for _ in range(len(piece.files) + len(piece.bad)):
            watcher.advance()
    if not answers:
        path, cause = bad[0]
        raise DataError(
            f"{path}: unreadable image ({cause})"
            + (f", and {len(bad) - 1} more like it" if len(bad) > 1 else "")
            + "; none of the images can be read: repair them or name others"
        )
    return Answers(tuple(answers), tuple(bad), network.runtime)
