"""Reports on runs as page, numbers and plots, drawn and written."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from resnet_lab.core.errors import printable
from resnet_lab.core.files import make_folder, write_atomically
from resnet_lab.evaluation.comparison import Comparison
from resnet_lab.evaluation.embedding_map import EmbeddingMap
from resnet_lab.evaluation.gallery import Gallery
from resnet_lab.evaluation.report_contents import ReportContents
from resnet_lab.evaluation.run_summary import RunSummary
from resnet_lab.report import comparison_plots, run_plots
from resnet_lab.report.comparison_page import comparison_page, letters
from resnet_lab.report.figure_style import PAPER, Format, as_file, styled
from resnet_lab.report.run_page import run_page
from resnet_lab.report.run_words import next_step, remarks, sentence

FORMATS: tuple[Format, ...] = ("png", "svg")


@dataclass(frozen=True)
class BuiltReport:
    """A page, and all that is on it.

    Attributes:
        html: one self-contained file.
        numbers: every number, as JSON.
        runs: that it is about.
        comparisons: of the first with each other.
        embedding_map: of the only run, where it was asked for.
    """

    html: str
    numbers: dict[str, Any]
    runs: tuple[RunSummary, ...]
    comparisons: tuple[Comparison, ...] = ()
    embedding_map: EmbeddingMap | None = None


def default_path(runs: Sequence[Path]) -> Path:
    """Default path of a page: `report.html` in the run's folder, or `compared-with-B.html` in the first's."""
    first, *others = runs
    names = [run.resolve().name for run in others]
    return first / (f"compared-with-{'-'.join(names)}.html" if names else "report.html")


def build_report(contents: ReportContents) -> BuiltReport:
    """A page about one run, or one that compares several, from `evaluation.gather_report`."""
    runs, comparisons, gallery = contents.runs, contents.comparisons, contents.gallery
    if not comparisons:
        found = contents.embedding_map
        of_map = {} if found is None else {"map": found.as_json()}
        html = run_page(runs[0], gallery, contents.suspects, found)
        return BuiltReport(html, _numbers(runs[0], gallery) | of_map, runs, embedding_map=found)
    numbers = {
        "runs": [_numbers(run, None) for run in runs],
        "comparisons": [
            {"first": runs[0].path, "second": run.path, **each.as_json()}
            for run, each in zip(runs[1:], comparisons, strict=True)
        ],
    }
    return BuiltReport(comparison_page(runs, comparisons, gallery), numbers, runs, comparisons)


def _numbers(run: RunSummary, gallery: Gallery | None) -> dict[str, Any]:
    summary, predictions = run.summary, run.predictions
    content: dict[str, Any] = {
        "run": run.path,
        "sentence": sentence(run),
        "status": run.record.get("status"),
        "best_epoch": run.best_epoch,
        "split": None if predictions is None else predictions.origin.part,
        "source": None if predictions is None else predictions.origin.source,
        "remarks": [remark.text for remark in remarks(run)],
        "next_steps": [next_step(step) for step in run.next_steps],
        "network": {
            "name": run.spec.name,
            "changes": list(run.changes),
            "spec_hash": run.spec.hash,
            "parameters": run.cost.parameters,
            "macs": run.cost.macs,
            "stages": [asdict(stage) for stage in run.cost.stages],
        },
        "history": [
            {name: value if isfinite(value) else None for name, value in asdict(epoch).items()} for epoch in run.history
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


def in_file_name(name: str) -> str:
    """An arm's or effect's name as part of a file's."""
    return re.sub(r"[^\w.@=+-]+", "-", name).strip("-")


def _figures(report: BuiltReport) -> Iterator[tuple[str, Figure]]:
    if report.comparisons:
        return _comparison_figures(report.runs, report.comparisons)
    return _run_figures(report.runs[0], report.embedding_map)


def _comparison_figures(runs: Sequence[RunSummary], comparisons: Sequence[Comparison]) -> Iterator[tuple[str, Figure]]:
    names = letters(runs)
    of = f"{printable(runs[0].scored)}, {len(comparisons[0].first):,} images"
    histories = {name: run.history for name, run in zip(names, runs, strict=True) if run.history}
    if histories:
        yield "losses", comparison_plots.losses(histories, PAPER, "Validation loss")
        yield "accuracies", comparison_plots.accuracies(histories, PAPER, "Validation macro accuracy")
    summaries = {name: run.summary for name, run in zip(names, runs, strict=True) if run.summary}
    headlines = {name: summary.headline for name, summary in summaries.items()}
    yield "headline", comparison_plots.headlines(headlines, PAPER, f"Figures on the {of}")
    found = {name: each.paired.differences for name, each in zip(names[1:], comparisons, strict=True)}
    yield "differences", comparison_plots.differences(found, PAPER, f"Differences to {names[0]}, {of}")
    recalls = {
        name: [(row.recall_low, row.recall, row.recall_high) for row in summary.classes]
        for name, summary in summaries.items()
    }
    yield "recall", comparison_plots.recalls(comparisons[0].first.classes, recalls, PAPER, f"Recall on the {of}")


def _run_figures(run: RunSummary, embedding_map: EmbeddingMap | None) -> Iterator[tuple[str, Figure]]:
    who, summary = printable(run.name), run.summary
    if run.best_epoch is not None:
        yield "curves", run_plots.curves(run.history, run.best_epoch, PAPER, f"Learning curves of {who}", run.sizes)
    if summary is None:
        return
    of = f"{who}, {printable(run.scored)}, {summary.n:,} images"
    yield "headline", run_plots.headline(summary.headline, PAPER, f"Figures of {of}")
    for name, order in (("images", summary.confusion.by_support()), ("similarity", summary.confusion.by_similarity())):
        title = f"Confusions of {of}, classes by {name}"
        yield f"confusion-by-{name}", run_plots.confusion(summary.confusion, order.tolist(), PAPER, title)
    yield "reliability", run_plots.reliability(summary.calibration, PAPER, f"Reliability of {of}")[0]
    if summary.abundance is not None:
        title = f"Recall against training images of {who}"
        yield "abundance", run_plots.abundance(summary.abundance, summary.classes, PAPER, title)[0]
    if embedding_map is not None:
        some = f" of {embedding_map.scored:,}" if len(embedding_map) < embedding_map.scored else ""
        title = f"Embeddings of {who} (t-SNE), {printable(run.scored)}, {len(embedding_map):,}{some} images"
        yield "map", run_plots.embedding_map(embedding_map, PAPER, title)
