"""A run's own images, by part. Legend: N images, K classes."""

import numpy as np
from numpy.typing import NDArray

from resnet_lab.core.errors import DataError
from resnet_lab.core.watcher import Watcher
from resnet_lab.data.loader import Loader
from resnet_lab.data.split import Part, from_csv_as_far_as_there
from resnet_lab.device import Placement
from resnet_lab.evaluation.inference import prepare
from resnet_lab.evaluation.opened_run import OpenedRun, Sources
from resnet_lab.export.exported_model import ExportedModel, ExportError

NAMED: dict[Part, str] = {"train": "training", "val": "validation", "test": "test"}


class RunImages:
    """The images that a run was trained on, decoded as in training.

    Args:
        what: needs them, for errors.

    Raises:
        ExportError: there is no run, it has no images of its own, or they are no longer there.
    """

    def __init__(self, original: ExportedModel, placement: Placement, what: str, watcher: Watcher) -> None:
        if original.run is None:
            raise ExportError(
                f"{original.weights}: {what} needs the images of the training, and a weights file names none; "
                "export the run folder"
            )
        self.folder, self._what, self._metadata, self._placement = (
            original.run.folder,
            what,
            original.metadata,
            placement,
        )
        opened = OpenedRun(self.folder, Sources(original.registry, watcher))
        if opened.record.get("status") == "imported":
            raise ExportError(
                f"{self.folder}: {what} needs the images of the training, and imported weights have none; "
                "export a run of `resnet-lab train`"
            )
        try:
            self._decoded = opened.own_images()
            self._parts, _ = from_csv_as_far_as_there(original.run.splits, self._decoded.images)
        except DataError as error:
            raise ExportError(f"{self.folder}: {what} needs the images of the training: {error}") from error
        self._rows = {row["path"]: row["label"] for row in original.run.split_rows()}

    def of(self, part: Part, most: int | None = None) -> tuple[Loader, NDArray[np.int64]]:
        """Normalised images of a part and their classes (N,).

        Args:
            most: so many of them at most, drawn with a fixed seed.

        Raises:
            ExportError: none of the part can be read.
        """
        positions = np.flatnonzero((self._parts == part) & self._decoded.usable)
        if not len(positions):
            raise ExportError(
                f"{self.folder}: {self._what} needs the images of the {NAMED[part]} part, and none of them can be "
                "read; restore them"
            )
        if most is not None and len(positions) > most:
            positions = np.sort(np.random.default_rng(0).choice(positions, most, replace=False))
        number = {name: index for index, name in enumerate(self._metadata.classes)}
        labels = np.array(
            [number[self._rows[self._decoded.images.paths[each]]] for each in positions.tolist()], dtype=np.int64
        )
        return prepare(self._decoded.pixels, positions, self._metadata, self._placement, labels), labels
