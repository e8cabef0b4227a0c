"""A trained network on image files that belong to no data set. Legend: N images, K classes."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from resnet_lab.core.errors import DataError
from resnet_lab.core.run_folder import weights_of
from resnet_lab.core.watcher import SILENT, Watcher
from resnet_lab.data.image_files import ArrayPixels, Piece, decoded, image_files
from resnet_lab.device import Placement, optimize_for_inference
from resnet_lab.evaluation.embedding_file import description, embedding_file, refuse_embedding_file
from resnet_lab.evaluation.embeddings import LogitsAndEmbedding
from resnet_lab.evaluation.inference import (
    AS_IT_IS,
    as_probabilities,
    image_format_of,
    load_for_images,
    outputs_in_views,
    prepare,
)
from resnet_lab.evaluation.predictions import weights_digest
from resnet_lab.evaluation.views import Views
from resnet_lab.network.checkpoint import Metadata
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
    views: Views = AS_IT_IS,
    features_out: Path | None = None,
    watcher: Watcher = SILENT,
) -> Answers:
    """Name the `top` most probable classes of image files; nothing but the weights is needed.

    Args:
        weights: a run folder, whose best weights are taken, or a weights file.
        paths: files, folders, which stand for the images below them, and patterns such as `scans/**/*.jpg`.
        views: over which probabilities are averaged.
        features_out: a new Parquet file, which gets the embedding of each image.
        watcher: notified of each image.

    Raises:
        RunError, CheckpointError: no usable weights; a file that cannot be written.
        DataError: a path holds no image, or none of them can be read.
        ConfigError: `features_out` is no .parquet file, or pyarrow is not installed.
    """
    if features_out is not None:
        refuse_embedding_file(features_out)
    weights = weights_of(weights)
    metadata, model = load_for_images(weights, registry)
    files = image_files(paths)
    watcher.begin("predicting", len(files))
    whole = LogitsAndEmbedding(model) if features_out is not None else model
    network = optimize_for_inference(whole, placement, views.number * len(files), watcher=watcher)
    answers: list[Answer] = []
    bad: list[tuple[str, str]] = []
    with ExitStack() as stack:
        if features_out is not None:
            about = description(weights_digest(weights), metadata.spec.name, metadata.spec.input_size, placement)
            file = stack.enter_context(embedding_file(features_out, model.fc.in_features, about))
        for piece in decoded(files, image_format_of(metadata)):
            bad += [(str(path), cause) for path, cause in piece.bad]
            if piece.files:
                found, embedding = _outputs(network, piece, metadata, placement, str(weights), views)
                new = _answers(piece.files, found, metadata.classes, top)
                if features_out is not None:
                    unknown = [None] * len(new)
                    names = [each.top[0][0] for each in new]
                    file.add([each.path for each in new], names, found.max(1), embedding, unknown, None)
                answers += new
            for _ in range(len(piece.files) + len(piece.bad)):
                watcher.advance()
        if not answers:
            raise _none_readable(bad)
    return Answers(tuple(answers), tuple(bad), network.runtime)


def _outputs(
    network: nn.Module, piece: Piece, metadata: Metadata, placement: Placement, where: str, views: Views
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probabilities (N, K), and of the image as it is what the network gives behind the logits, (N, D) or (N, 0)."""
    pixels = ArrayPixels(piece.pixels, image_format_of(metadata))
    batches = prepare(pixels, np.arange(len(piece.files)), metadata, placement)
    outputs = outputs_in_views(network, batches.evaluation(), placement, views)
    known = len(metadata.classes)
    return as_probabilities(outputs[..., :known], where), outputs[0, :, known:].numpy()


def _answers(files: Sequence[Path], found: NDArray[np.float32], classes: Sequence[str], top: int) -> list[Answer]:
    best = np.argsort(-found, axis=1, kind="stable")[:, :top]
    return [
        Answer(str(file), tuple((classes[k], float(row[k])) for k in chosen.tolist()))
        for file, row, chosen in zip(files, found, best, strict=True)
    ]


def _none_readable(bad: Sequence[tuple[str, str]]) -> DataError:
    path, cause = bad[0]
    return DataError(
        f"{path}: unreadable image ({cause})"
        + (f", and {len(bad) - 1} more like it" if len(bad) > 1 else "")
        + "; none of the images can be read: repair them or name others"
    )
