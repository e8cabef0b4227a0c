"""Contents of a page about runs, as plain data: summaries, comparisons, gallery, map of embeddings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnet_lab.core.choices import MapMethod
from resnet_lab.core.errors import ConfigError, RunError
from resnet_lab.core.run_folder import Run, classes_of
from resnet_lab.core.watcher import SILENT, Watcher
from resnet_lab.data.split import Part
from resnet_lab.device import Placement
from resnet_lab.evaluation.comparison import Comparison, compare
from resnet_lab.evaluation.embedding_map import EmbeddingMap, map_embeddings, require_packages
from resnet_lab.evaluation.gallery import Gallery
from resnet_lab.evaluation.gallery_building import build_gallery, contrast, mistakes
from resnet_lab.evaluation.metrics import summarise
from resnet_lab.evaluation.opened_run import OpenedRun, Sources
from resnet_lab.evaluation.predictions import Predictions
from resnet_lab.evaluation.run_summary import RunSummary, is_finished, look_at
from resnet_lab.evaluation.suspects import Suspect, flagged_of
from resnet_lab.network.plugins import Registry


@dataclass(frozen=True)
class ReportContents:
    """Contents of a page about one run, or one that compares several.

    Attributes:
        runs: at least one; of several, figures of classes are in the order of the first.
        comparisons: of the first with each other.
        gallery: of a run's mistakes, or of works that the second of two has fixed or broken; None where there are
            none, they cannot be shown, or there are more runs.
        suspects: images of one run that `data suspects` has flagged, by their number among the predictions.
        embedding_map: of one run's scored images, where it was asked for.
    """

    runs: tuple[RunSummary, ...]
    comparisons: tuple[Comparison, ...] = ()
    gallery: Gallery | None = None
    suspects: Mapping[int, Suspect] = field(default_factory=dict)
    embedding_map: EmbeddingMap | None = None


def gather_report(
    runs: Sequence[Path],
    placement: Placement,
    registry: Registry,
    *,
    part: Part | None = None,
    source: str | None = None,
    class_map: Mapping[str, str] | None = None,
    works: int = 24,
    method: MapMethod = "grad-cam",
    with_map: bool = False,
    watcher: Watcher = SILENT,
) -> ReportContents:
    """Collect the contents of a page about one run or several; missing predictions are computed.

    Weights are loaded once, and sources prepared once.

    Args:
        part: the test part by default, or the validation part while a run is not finished.
        source: another source, of which all images are scored.
        class_map: as `evaluate` takes it.
        works: that are shown, at most.
        method: of their maps, as `explain` takes it.
        with_map: whether to map the embeddings of the scored images; of one run alone.
        watcher: notified of each image that goes through a network.

    Raises:
        ConfigError: a map of several runs, or without scikit-learn.
        RunError: not a run folder, or a damaged one; several runs of which one has no predictions; a map of images
            that are too few, or not there.
        CheckpointError: damaged weights.
        DataError: runs that were scored on different images; `source` cannot be used.
    """
    if with_map and len(runs) > 1:
        raise ConfigError(f"--map is of one run, got {len(runs)}; leave it out, or name one run")
    if with_map:
        require_packages()
    sources = Sources(registry, watcher)
    if len(runs) > 1 and part is None and source is None:
        part = "test" if all(is_finished(Run.open(run).read()) for run in runs) else "val"
    classes = classes_of(runs) if class_map else set()
    opened = [OpenedRun(run, sources) for run in runs]
    summaries = []
    for run in opened:
        summaries.append(look_at(run, placement, part=part, source=source, class_map=class_map, other_classes=classes))
        if len(runs) > 2:
            run.forget_weights()  # no gallery needs them
    if len(summaries) == 1:
        scored = summaries[0].predictions
        flagged = {} if scored is None else flagged_of(runs[0], scored)
        found = _map(opened[0], summaries[0], placement) if with_map else None
        gallery = _mistakes(opened[0], summaries[0], placement, works, method)
        return ReportContents(tuple(summaries), gallery=gallery, suspects=flagged, embedding_map=found)
    return _compared(opened, summaries, placement, class_map, works, method)


def _map(opened: OpenedRun, summary: RunSummary, placement: Placement) -> EmbeddingMap:
    if summary.predictions is None or not summary.has_images:
        raise RunError(f"{summary.path}: no map of embeddings can be made: {summary.obstacle}; leave --map out")
    return map_embeddings(opened, summary.predictions, placement)


def _mistakes(
    opened: OpenedRun, summary: RunSummary, placement: Placement, works: int, method: MapMethod
) -> Gallery | None:
    if summary.predictions is None or not summary.has_images:
        return None
    numbers = mistakes(summary.predictions, works)
    return build_gallery(opened, summary.predictions, numbers, placement, method) if len(numbers) else None


def _compared(
    opened: Sequence[OpenedRun],
    summaries: Sequence[RunSummary],
    placement: Placement,
    class_map: Mapping[str, str] | None,
    works: int,
    method: MapMethod,
) -> ReportContents:
    scored = [_predictions(summary) for summary in summaries]
    comparisons = tuple(
        compare(scored[0], other, (summaries[0].path, summary.path), class_map)
        for summary, other in zip(summaries[1:], scored[1:], strict=True)
    )
    for comparison in comparisons:
        for note in comparison.notes:
            opened[0].sources.watcher.say(note)
    others = [
        _in_order(summary, each.run, found)
        for summary, each, found in zip(summaries[1:], opened[1:], comparisons, strict=True)
    ]
    gallery = None
    if len(summaries) == 2 and all(summary.has_images for summary in summaries):
        numbers = _disputed(comparisons[0], works)
        if len(numbers):
            gallery = contrast(opened, (comparisons[0].first, comparisons[0].own), numbers, placement, method)
    return ReportContents((summaries[0], *others), comparisons, gallery)


def _in_order(summary: RunSummary, run: Run, comparison: Comparison) -> RunSummary:
    """A run with its figures of classes in the order, and by the names, of the first."""
    if comparison.own.classes == comparison.second.classes:
        return summary
    second, images = comparison.second, run.training_images(comparison.own.classes)
    counts = tuple(images[place] for place in comparison.places)
    return replace(summary, summary=summarise(second.labels, second.probabilities, second.classes, counts))


def _predictions(summary: RunSummary) -> Predictions:
    if summary.predictions is None:
        raise RunError(f"{summary.path}: there is nothing to compare: {summary.obstacle}; leave the run out")
    return summary.predictions


def _disputed(comparison: Comparison, most: int) -> NDArray[np.int64]:
    """Images fixed and then images broken, most confident first; half of each kind."""
    paired = comparison.paired
    kinds = ((paired.fixed, comparison.second), (paired.broken, comparison.first))
    ordered = [numbers[np.argsort(-right.confidences[numbers], kind="stable")] for numbers, right in kinds]
    fixed = max(most // 2, most - len(ordered[1]))
    chosen = ordered[0][:fixed]
    return np.concatenate([chosen, ordered[1][: most - len(chosen)]])
