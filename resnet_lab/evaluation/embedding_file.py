"""Embeddings of images as a Parquet file. Legend: N images, D features."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_lab.core.errors import ConfigError
from resnet_lab.core.files import refuse_existing, replaced, writing
from resnet_lab.device import Placement
from resnet_lab.evaluation.embeddings import embeddings
from resnet_lab.evaluation.opened_run import OpenedRun
from resnet_lab.evaluation.predictions import Predictions
from resnet_lab.evaluation.scored_images import ScoredImages

ROWS = 1024
"""Images of a row group: so many are held in memory until they are written."""

KEY = b"resnet_lab"
"""Name of the description among the file's metadata."""


class EmbeddingFile:
    """A file that is being written; it has a row per image.

    Args:
        writer: pyarrow's, open.
        schema: its schema.
    """

    def __init__(self, path: Path, writer: Any, schema: Any) -> None:
        self._path, self._writer, self._schema = path, writer, schema
        self._rows: list[dict[str, Any]] = []

    def add(
        self,
        paths: Sequence[str],
        predicted: Sequence[str],
        probabilities: NDArray[np.float32],
        found: NDArray[np.float32],
        classes: Sequence[str | None],
        part: str | None,
    ) -> None:
        """Append rows; raises `RunError` where they cannot be written.

        Args:
            probabilities: of the predicted classes, shape (N,).
            found: embeddings, shape (N, D).
            classes: the true ones, None where they are not known.
        """
        for path, name, probability, embedding, true in zip(
            paths, predicted, probabilities, found, classes, strict=True
        ):
            readable = path.encode("utf-8", "backslashreplace").decode()  # a file's name may be no UTF-8
            self._rows.append(
                {"path": readable, "class": true, "part": part, "predicted": name, "probability": probability,
                 "embedding": embedding}
            )  # fmt: skip
            if len(self._rows) == ROWS:
                self.flush()

    def flush(self) -> None:
        """Write the rows that are held as a row group."""
        import pyarrow

        if self._rows:
            with writing(self._path):
                self._writer.write_table(pyarrow.Table.from_pylist(self._rows, self._schema))
            self._rows = []


@contextmanager
def embedding_file(path: Path, width: int, about: Mapping[str, Any]) -> Iterator[EmbeddingFile]:
    """A new file, which is there when the block has succeeded, and whole.

    Columns: path, class, part (both null where not known), predicted, probability, and embedding, a list of `width`
    float32.

    Args:
        about: where the embeddings come from; stored as JSON among the file's metadata, under `resnet_lab`.

    Raises:
        ConfigError: no .parquet file is named, or pyarrow is not installed.
        RunError: the file exists, or cannot be written.
    """
    refuse_embedding_file(path)
    import pyarrow
    from pyarrow import parquet

    text = pyarrow.string()
    columns = {"path": text, "class": text, "part": text, "predicted": text, "probability": pyarrow.float32()}
    embedding = pyarrow.list_(pyarrow.field("element", pyarrow.float32(), nullable=False), width)
    schema = pyarrow.schema({**columns, "embedding": embedding}, metadata={KEY: json.dumps(about)})
    with replaced(path) as file, parquet.ParquetWriter(file, schema) as writer:
        target = EmbeddingFile(path, writer, schema)
        yield target
        target.flush()


def refuse_embedding_file(path: Path) -> None:
    """Raise like `embedding_file` where a file cannot be made, before anything is computed."""
    if path.suffix != ".parquet":
        raise ConfigError(f"{path}: embeddings are written as Parquet; name a file that ends in .parquet")
    refuse_existing(path)
    try:
        import pyarrow.parquet  # noqa: F401 (whether it is there)
    except ImportError:
        raise ConfigError(
            f'{path}: Parquet is written with pyarrow, which is not installed; pip install "resnet-lab[parquet]"'
        ) from None


def write_embeddings(opened: OpenedRun, predictions: Predictions, placement: Placement, path: Path) -> None:
    """Write the embeddings of scored images, in the order of the predictions.

    Args:
        predictions: of the run's best weights.

    Raises:
        ConfigError, RunError: like `embedding_file`.
        DataError: an image is no longer what was scored.
    """
    decoded, origin = opened.decoded(predictions.origin.source), predictions.origin
    positions = ScoredImages(predictions, decoded).positions(np.arange(len(predictions)))
    spec = opened.network[0].spec
    about = {**description(origin.weights, spec.name, spec.input_size, placement), "source": origin.source}
    with embedding_file(path, opened.network[1].fc.in_features, about) as file:
        start = 0
        for found in embeddings(opened, placement, decoded, positions, "writing embeddings"):
            rows = slice(start, start + len(found))
            start = rows.stop
            names = [predictions.classes[k] for k in predictions.predicted[rows].tolist()]
            classes = [predictions.classes[k] for k in predictions.labels[rows].tolist()]
            part = None if origin.part == "all" else origin.part
            file.add(predictions.paths[rows], names, predictions.confidences[rows], found, classes, part)


def description(weights: str, network: str, size: int, placement: Placement) -> dict[str, Any]:
    """Origin of embeddings, as JSON.

    Args:
        weights: SHA-256 of the file.
    """
    return {"weights": weights, "network": network, "layer": "avgpool", "size": size, "device": placement.record()}
