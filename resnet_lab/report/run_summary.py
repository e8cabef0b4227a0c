"""Summary of a run with everything that a page shows. Legend: N images, K classes."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import nan
from pathlib import Path
from typing import Any

from resnet_lab.core.errors import DataError, RunError
from resnet_lab.core.run_folder import Run
from resnet_lab.core.watcher import SILENT, Watcher
from resnet_lab.data.split import Part
from resnet_lab.device import Placement
from resnet_lab.evaluation.metrics import Summary
from resnet_lab.evaluation.predictions import Predictions
from resnet_lab.evaluation.scoring import evaluate, stored, summary_of
from resnet_lab.network import cost, zoo
from resnet_lab.network.cost import NetworkCost
from resnet_lab.network.differences import differences
from resnet_lab.network.plugins import Registry
from resnet_lab.network.spec import ModelSpec
from resnet_lab.train.history import TIMES, Epoch, best_of


@dataclass(frozen=True)
class RunSummary:
    """A run as shown on a page.

    Attributes:
        path: as the user named it.
        record: what run.json says.
        base: name of the zoo's network that this one comes from; empty where it is none's.
        changes: differences from it, in words.
        parts: images by part and class, by splits.csv.
        predictions, summary: None where nothing was scored.
        obstacle: why images are missing, or nothing was scored; empty where all is there.
    """

    run: Run
    path: str
    record: Mapping[str, Any]
    spec: ModelSpec
    base: str
    changes: tuple[str, ...]
    cost: NetworkCost
    history: tuple[Epoch, ...]
    parts: Counter[tuple[str, str]]
    predictions: Predictions | None
    summary: Summary | None
    obstacle: str

    @property
    def name(self) -> str:
        """Name of the run folder."""
        return self.run.folder.resolve().name

    @property
    def finished(self) -> bool:
        return is_finished(self.record)

    @property
    def best_epoch(self) -> int | None:
        """None before the end of the first epoch."""
        return best_of(self.history).epoch if self.history else None

    @property
    def has_images(self) -> bool:
        """Whether the scored images can be shown."""
        return self.predictions is not None and not self.obstacle

    @property
    def scored(self) -> str:
        """Description of the scored images."""
        if self.predictions is None:
            return "nothing"
        part, source = self.predictions.origin.part, self.predictions.origin.source
        words = {"train": "training part", "val": "validation part", "test": "test part"}
        return words.get(part, f"all images of {source}")


def is_finished(record: Mapping[str, Any]) -> bool:
    """Whether the training came to its end, by run.json."""
    return bool(record.get("status") == "finished")


def look_at(
    path: Path,
    placement: Placement,
    registry: Registry,
    *,
    part: Part | None = None,
    source: str | None = None,
    class_map: Mapping[str, str] | None = None,
    watcher: Watcher = SILENT,
) -> RunSummary:
    """Summarise a run; missing predictions are computed.

    Of a run that is not finished the validation part is scored, and the test part stays unseen. Where the images are
    gone, predictions that were kept are taken.

    Args:
        part: the test part by default.
        source: another source, of which all images are scored.
        class_map: as `evaluate` takes it.
        watcher: notified of each image that goes through the network.

    Raises:
        RunError: not a run folder, or a damaged one; the test part of a run that is not finished.
        CheckpointError: damaged weights.
        DataError: `source` cannot be used.
    """
    run = Run.open(path)
    record = run.read()
    finished = is_finished(record)
    if record.get("status") == "imported":
        raise RunError(
            f"{path} holds imported weights, and a report is of a training; score them with "
            f"`resnet-lab eval {path} --data SOURCE`"
        )
    if part == "test" and source is None and not finished:
        raise RunError(
            f"{path}: the training is not finished ({record.get('status', 'not started')}), and its test part stays "
            f"unseen until it is; leave --split out to see the validation part, or resume with "
            f"`resnet-lab train --resume {path}`"
        )
    part = part or ("test" if finished else "val")
    predictions, obstacle = _scored(run, placement, registry, part, source, class_map, watcher)
    spec = _spec(run, record)
    base = zoo.unmodified(spec)
    return RunSummary(
        run=run,
        path=str(path),
        record=record,
        spec=spec,
        base="" if base is None else base.name,
        changes=() if base is None else tuple(differences(spec, base)),
        cost=cost.measure(spec, registry),
        history=read_history(run),
        parts=run.images_by_part(),
        predictions=predictions,
        summary=None if predictions is None else summary_of(run, predictions),
        obstacle=obstacle,
    )


def _scored(
    run: Run,
    placement: Placement,
    registry: Registry,
    part: Part,
    source: str | None,
    class_map: Mapping[str, str] | None,
    watcher: Watcher,
) -> tuple[Predictions | None, str]:
    """Predictions, where there are any, and the obstacle to more."""
    if not run.best.exists():
        return None, "there are no weights yet"
    try:
        found = evaluate(
            run.folder, placement, registry, part=part, source=source, class_map=class_map, watcher=watcher
        )
        return found, ""
    except DataError as error:
        if source is not None:
            raise
        return stored(run, part), str(error)


def _spec(run: Run, record: Mapping[str, Any]) -> ModelSpec:
    try:
        return ModelSpec.from_dict(record["spec"], str(run.record))
    except KeyError:
        raise RunError(f"{run.record}: damaged: it does not name its network; restore it") from None


def read_history(run: Run) -> tuple[Epoch, ...]:
    """Finished epochs, from metrics.csv and times.csv.

    Raises:
        RunError: a table is damaged.
    """
    if not run.metrics.exists():
        return ()
    times = {row["epoch"]: row for row in run.times_of_epochs()} if run.times.exists() else {}
    epochs = []
    for number, row in enumerate(run.epochs(), 1):
        values = {**dict.fromkeys(TIMES, nan), **row, **times.get(row["epoch"], {})}
        if values["epoch"] != number or values.keys() != {each.name for each in fields(Epoch)}:
            raise RunError(f"{run.metrics}: damaged: row {number} is not of epoch {number}; restore it")
        del values["epoch"]
        epochs.append(Epoch(epoch=number, **values))
    return tuple(epochs)
