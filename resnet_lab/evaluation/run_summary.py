"""Summary of a run with everything that a page shows."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from resnet_lab.core.errors import DataError, RunError
from resnet_lab.core.history import Epoch, best_of, read_history
from resnet_lab.core.size_schedule import SizeSchedule
from resnet_lab.core.wording import shell_word
from resnet_lab.data.split import Part
from resnet_lab.device import Placement
from resnet_lab.evaluation.metrics import Summary
from resnet_lab.evaluation.next_steps import NextStep, next_steps
from resnet_lab.evaluation.opened_run import OpenedRun, recorded_spec
from resnet_lab.evaluation.predictions import Predictions
from resnet_lab.evaluation.scoring import predictions_of, stored, summary_of
from resnet_lab.network import cost, zoo
from resnet_lab.network.cost import NetworkCost
from resnet_lab.network.differences import differences
from resnet_lab.network.spec import ModelSpec


@dataclass(frozen=True)
class RunSummary:
    """A run as shown on a page.

    Attributes:
        name: of the run folder.
        path: as the user named it.
        record: the content of run.json.
        base: name of the zoo's network that this one comes from; empty where it is none's.
        changes: differences from it, in words.
        parts: images by part and class, by splits.csv.
        predictions, summary: None where nothing was scored.
        obstacle: why images are missing, or nothing was scored; empty where all is there.
    """

    name: str
    path: str
    record: Mapping[str, Any]
    spec: ModelSpec
    base: str
    changes: tuple[str, ...]
    cost: NetworkCost
    history: tuple[Epoch, ...]
    parts: Counter[tuple[str, str]]
    has_weights: bool
    predictions: Predictions | None
    summary: Summary | None
    obstacle: str

    @property
    def finished(self) -> bool:
        return is_finished(self.record)

    @property
    def best_epoch(self) -> int | None:
        """None before the end of the first epoch."""
        return best_of(self.history).epoch if self.history else None

    @property
    def sizes(self) -> dict[int, int]:
        """Sizes of the images trained on by the first epoch of each, where they differ."""
        config = self.record["config"]
        shares = config.get("progressive_size") or ()
        return SizeSchedule.of(shares, self.spec.input_size, config["epochs"]).changes

    @property
    def next_steps(self) -> tuple[NextStep, ...]:
        """Suggestions that its measurements support; none of a training that is not finished."""
        return next_steps(self.history, self.summary.confusion if self.summary else None) if self.finished else ()

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
    opened: OpenedRun,
    placement: Placement,
    *,
    part: Part | None = None,
    source: str | None = None,
    class_map: Mapping[str, str] | None = None,
    other_classes: Collection[str] = (),
    only_kept: bool = False,
) -> RunSummary:
    """Summarise a run; missing predictions are computed.

    Of a run that is not finished the validation part is scored, and the test part stays unseen. Where the images are
    gone, predictions that were kept are taken.

    Args:
        part: the test part by default.
        source: another source, of which all images are scored.
        class_map, other_classes: as `evaluate` takes them.
        only_kept: take predictions that were kept, whatever device made them, and compute none and read no image.

    Raises:
        RunError: a damaged run; the test part of a run that is not finished.
        CheckpointError: damaged weights.
        DataError: `source` cannot be used.
    """
    run, record, path = opened.run, opened.record, opened.folder
    finished = is_finished(record)
    if record.get("status") == "imported":
        raise RunError(
            f"{path} holds imported weights, and a report is of a training; score them with "
            f"`resnet-lab eval {shell_word(path)} --data SOURCE`"
        )
    if part == "test" and source is None and not finished:
        raise RunError(
            f"{path}: the training is not finished ({record.get('status', 'not started')}), and its test part stays "
            f"unseen until it is; leave --split out to see the validation part, or resume with "
            f"`resnet-lab train --resume {shell_word(path)}`"
        )
    part = part or ("test" if finished else "val")
    if only_kept:
        predictions, obstacle = stored(run, part), ""
    else:
        predictions, obstacle = _scored(opened, placement, part, source, class_map, other_classes)
    spec = recorded_spec(run, record)
    base = zoo.unmodified(spec)
    return RunSummary(
        name=run.folder.resolve().name,
        path=str(path),
        record=record,
        spec=spec,
        base="" if base is None else base.name,
        changes=() if base is None else tuple(differences(spec, base)),
        cost=cost.measure(spec, opened.sources.registry),
        history=read_history(run),
        parts=run.images_by_part(),
        has_weights=run.best.exists(),
        predictions=predictions,
        summary=None if predictions is None else summary_of(run, predictions),
        obstacle=obstacle,
    )


def _scored(
    opened: OpenedRun,
    placement: Placement,
    part: Part,
    source: str | None,
    class_map: Mapping[str, str] | None,
    other_classes: Collection[str],
) -> tuple[Predictions | None, str]:
    """Predictions, where there are any, and the obstacle to more."""
    if not opened.run.best.exists():
        return None, "there are no weights yet"
    try:
        found = predictions_of(
            opened, placement, part=part, source=source, class_map=class_map, other_classes=other_classes
        )
        return found, ""
    except DataError as error:
        if source is not None:
            raise
        return stored(opened.run, part), str(error)
