"""Reports from beginning to end: gathered, drawn, written."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from resnet_lab.core.errors import RunError, printable
from resnet_lab.core.files import make_folder, write_atomically
from resnet_lab.core.run_folder import Run
from resnet_lab.core.watcher import SILENT, Watcher
from resnet_lab.data.split import Part
from resnet_lab.device import Placement
from resnet_lab.evaluation.comparison import Comparison, compare
from resnet_lab.evaluation.gallery import Gallery, build_gallery, contrast, mistakes
from resnet_lab.evaluation.metrics import summarise
from resnet_lab.evaluation.predictions import Predictions
from resnet_lab.network.plugins import Registry
from resnet_lab.report import comparison_plots, run_plots
from resnet_lab.report.comparison_page import comparison_page, letters
from resnet_lab.report.figure_style import PAPER, Format, as_file, styled
from resnet_lab.report.run_page import remarks, run_page, sentence
from resnet_lab.report.run_summary import RunSummary, is_finished, look_at

FORMATS: tuple[Format, ...] = ("png", "svg")


@dataclass(frozen=True)
class BuiltReport:
    """A page, and all that is on it.

    Attributes:
        html: one self-contained file.
        numbers: every number, as JSON.
        subjects: the runs that it is about.
        comparisons: of the first with each other.
    """

    html: str
    numbers: dict[str, Any]
    subjects: tuple[RunSummary, ...]
    comparisons: tuple[Comparison, ...] = ()


def default_path(runs: Sequence[Path]) -> Path:
    """Default path of a page: `report.html` in the run's folder, or `compared-with-B.html` in the first's."""
    first, *others = runs
    names = [run.resolve().name for run in others]
    return first / (f"compared-with-{'-'.join(names)}.html" if names else "report.html")


def build_report(
    runs: Sequence[Path],
    placement: Placement,
    registry: Registry,
    *,
    part: Part | None = None,
    source: str | None = None,
    class_map: Mapping[str, str] | None = None,
    works: int = 24,
    watcher: Watcher = SILENT,
) -> BuiltReport:
    """A page about one run, or one that compares several.

    Args:
        part: the test part by default, or the validation part while a run is not finished.
        source: another source, of which all images are scored.
        class_map: as `evaluate` takes it.
        works: that are shown, at most.
        watcher: notified of each image that goes through a network.

    Raises:
        RunError: not a run folder, or a damaged one; several runs of which one has no predictions.
        CheckpointError: damaged weights.
        DataError: runs that were scored on different images; `source` cannot be used.
    """
    if len(runs) > 1 and part is None and source is None:
        part = "test" if all(is_finished(Run.open(run).read()) for run in runs) else "val"
    subjects = tuple(
        look_at(run, placement, registry, part=part, source=source, class_map=class_map, watcher=watcher)
        for run in runs
    )
    if len(subjects) == 1:
        gallery = _gallery(subjects[0], placement, registry, works, watcher)
        return BuiltReport(run_page(subjects[0], gallery), _numbers(subjects[0], gallery), subjects)
    return _comparison(subjects, placement, registry, class_map, works, watcher)


def _comparison(
    subjects: tuple[RunSummary, ...],
    placement: Placement,
    registry: Registry,
    class_map: Mapping[str, str] | None,
    works: int,
    watcher: Watcher,
) -> BuiltReport:
    scored = [_predictions(subject) for subject in subjects]
    comparisons = tuple(
        compare(scored[0], other, (subjects[0].path, subject.path), class_map)
        for subject, other in zip(subjects[1:], scored[1:], strict=True)
    )
    for comparison in comparisons:
        for note in comparison.notes:
            watcher.say(note)
    others = (_in_order(each, found) for each, found in zip(subjects[1:], comparisons, strict=True))
    subjects = (subjects[0], *others)
    gallery = None
    if len(subjects) == 2 and all(subject.has_images for subject in subjects):
        numbers = _disputed(comparisons[0], works)
        if len(numbers):
            both = (comparisons[0].first, comparisons[0].own)
            runs = [subject.run for subject in subjects]
            gallery = contrast(runs, both, numbers, placement, registry, watcher=watcher)
    numbers_of_all = {
        "runs": [_numbers(subject, None) for subject in subjects],
        "comparisons": [
            {"first": subjects[0].path, "second": subject.path, **each.as_json()}
            for subject, each in zip(subjects[1:], comparisons, strict=True)
        ],
    }
    return BuiltReport(comparison_page(subjects, comparisons, gallery), numbers_of_all, subjects, comparisons)


def _in_order(subject: RunSummary, comparison: Comparison) -> RunSummary:
    """A run with its figures of classes in the order, and by the names, of the first."""
    if comparison.own.classes == comparison.second.classes:
        return subject
    second, images = comparison.second, subject.run.training_images(comparison.own.classes)
    counts = tuple(images[place] for place in comparison.places)
    return replace(subject, summary=summarise(second.labels, second.probabilities, second.classes, counts))


def _predictions(subject: RunSummary) -> Predictions:
    if subject.predictions is None:
        raise RunError(f"{subject.path}: there is nothing to compare: {subject.obstacle}; leave the run out")
    return subject.predictions


def _disputed(comparison: Comparison, most: int) -> NDArray[np.int64]:
    """Images fixed and then images broken, most confident first; half of each kind."""
    paired = comparison.paired
    kinds = ((paired.fixed, comparison.second), (paired.broken, comparison.first))
    ordered = [numbers[np.argsort(-right.confidences[numbers], kind="stable")] for numbers, right in kinds]
    fixed = max(most // 2, most - len(ordered[1]))
    chosen = ordered[0][:fixed]
    return np.concatenate([chosen, ordered[1][: most - len(chosen)]])


def _gallery(
    subject: RunSummary, placement: Placement, registry: Registry, works: int, watcher: Watcher
) -> Gallery | None:
    if subject.predictions is None or not subject.has_images:
        return None
    numbers = mistakes(subject.predictions, works)
    if not len(numbers):
        return None
    return build_gallery(subject.run, subject.predictions, numbers, placement, registry, watcher=watcher)


def _numbers(subject: RunSummary, gallery: Gallery | None) -> dict[str, Any]:
    summary, predictions = subject.summary, subject.predictions
    content: dict[str, Any] = {
        "run": subject.path,
        "sentence": sentence(subject),
        "status": subject.record.get("status"),
        "best_epoch": subject.best_epoch,
        "split": None if predictions is None else predictions.origin.part,
        "source": None if predictions is None else predictions.origin.source,
        "remarks": [remark.text for remark in remarks(subject)],
        "network": {
            "name": subject.spec.name,
            "changes": list(subject.changes),
            "spec_hash": subject.spec.hash,
            "parameters": subject.cost.parameters,
            "macs": subject.cost.macs,
            "stages": [asdict(stage) for stage in subject.cost.stages],
        },
        "history": [
            {name: value if isfinite(value) else None for name, value in asdict(epoch).items()}
            for epoch in subject.history
        ],
    }
    if summary is not None:
        content |= summary.as_json()
    if predictions is not None and gallery is not None:
        content["mistakes"] = [
            {
                "path": predictions.paths[work.number],
                **{
                    role: {"class": each.name, "probability": each.probability}
                    for role, each in zip(("predicted", "true"), work.maps, strict=True)
                },
                "nearest": [{"path": each.picture.path, "distance": each.distance} for each in work.neighbours],
            }
            for work in gallery.works
        ]
    return content


def write_plots(report: BuiltReport, folder: Path) -> list[Path]:
    """Each plot of a page as PNG and SVG; earlier ones of the same names are replaced.

    Raises:
        RunError: they cannot be written.
    """
    with styled(PAPER):
        return write_figures(_figures(report), folder)


def write_figures(figures: Iterable[tuple[str, Figure]], folder: Path) -> list[Path]:
    """Each figure as PNG and SVG by its name, in the style of the moment; raises like `write_plots`."""
    make_folder(folder)
    written = []
    for name, figure in figures:
        for file_format in FORMATS:
            path = folder / f"{name}.{file_format}"
            write_atomically(path, as_file(figure, file_format))
            written.append(path)
    return written


def _figures(report: BuiltReport) -> Iterator[tuple[str, Figure]]:
    if report.comparisons:
        return _comparison_figures(report.subjects, report.comparisons)
    return _run_figures(report.subjects[0])


def _comparison_figures(
    subjects: Sequence[RunSummary], comparisons: Sequence[Comparison]
) -> Iterator[tuple[str, Figure]]:
    names = letters(subjects)
    of = f"{printable(subjects[0].scored)}, {len(comparisons[0].first):,} images"
    histories = {name: subject.history for name, subject in zip(names, subjects, strict=True) if subject.history}
    if histories:
        yield "losses", comparison_plots.losses(histories, PAPER, "Validation loss")
        yield "accuracies", comparison_plots.accuracies(histories, PAPER, "Validation macro accuracy")
    summaries = {name: subject.summary for name, subject in zip(names, subjects, strict=True) if subject.summary}
    headlines = {name: summary.headline for name, summary in summaries.items()}
    yield "headline", comparison_plots.headlines(headlines, PAPER, f"Figures on the {of}")
    found = {name: each.paired.differences for name, each in zip(names[1:], comparisons, strict=True)}
    yield "differences", comparison_plots.differences(found, PAPER, f"Differences to {names[0]}, {of}")
    recalls = {
        name: [(row.recall_low, row.recall, row.recall_high) for row in summary.classes]
        for name, summary in summaries.items()
    }
    yield "recall", comparison_plots.recalls(comparisons[0].first.classes, recalls, PAPER, f"Recall on the {of}")


def _run_figures(subject: RunSummary) -> Iterator[tuple[str, Figure]]:
    who, summary = printable(subject.name), subject.summary
    if subject.best_epoch is not None:
        yield "curves", run_plots.curves(subject.history, subject.best_epoch, PAPER, f"Learning curves of {who}")
    if summary is None:
        return
    of = f"{who}, {printable(subject.scored)}, {summary.n:,} images"
    yield "headline", run_plots.headline(summary.headline, PAPER, f"Figures of {of}")
    for name, order in (("images", summary.confusion.by_support()), ("similarity", summary.confusion.by_similarity())):
        title = f"Confusions of {of}, classes by {name}"
        yield f"confusion-by-{name}", run_plots.confusion(summary.confusion, order.tolist(), PAPER, title)
    yield "reliability", run_plots.reliability(summary.calibration, PAPER, f"Reliability of {of}")[0]
    if summary.abundance is not None:
        title = f"Recall against training images of {who}"
        yield "abundance", run_plots.abundance(summary.abundance, summary.classes, PAPER, title)[0]
