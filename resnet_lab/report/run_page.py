"""One page about a run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from resnet_lab.core.errors import printable
from resnet_lab.data.split import PARTS
from resnet_lab.evaluation.embedding_map import EmbeddingMap
from resnet_lab.evaluation.gallery import Gallery
from resnet_lab.evaluation.metrics import Summary
from resnet_lab.evaluation.metrics.confusion import Confusion
from resnet_lab.evaluation.run_summary import RunSummary
from resnet_lab.evaluation.suspects import Suspect
from resnet_lab.report import run_plots
from resnet_lab.report.data_page import Bar
from resnet_lab.report.figure_style import PAGE, inline_svg, styled
from resnet_lab.report.network import made_of
from resnet_lab.report.pages import render
from resnet_lab.report.run_words import (
    EXPLAINED,
    class_parts,
    colour_bar,
    configuration,
    next_step,
    provenance,
    remarks,
    sentence,
)
from resnet_lab.report.text import interval_notes

PAIRS = 10
ANSWERS = 5
"""Classes that are listed for a misclassified work."""


@dataclass(frozen=True)
class MatrixCell:
    """Images of a true class by the class that they were taken for.

    Attributes:
        share: of the true class's images, in percent.
        tooltip: on the cell.
    """

    number: int
    share: float
    tooltip: str
    right: bool

    @property
    def depth(self) -> float:
        """Depth of the colour, in percent: no cell with images is without."""
        return 8 + 0.92 * self.share


def run_page(
    run: RunSummary,
    gallery: Gallery | None,
    suspects: Mapping[int, Suspect] | None = None,
    embedding_map: EmbeddingMap | None = None,
) -> str:
    """The HTML of one self-contained page.

    Args:
        gallery: of the run's mistakes; None where there are none, or they cannot be shown.
        suspects: images whose label is flagged, by their number among the predictions.
        embedding_map: of the scored images; None where it was not asked for.
    """
    summary = run.summary
    return render(
        "run_page.html.j2",
        run=run,
        summary=summary,
        sentence=sentence(run),
        remarks=list(remarks(run)),
        next_steps=[next_step(step) for step in run.next_steps],
        curves=_curves(run),
        explained=EXPLAINED,
        notes=[] if summary is None else interval_notes(summary.headline),
        matrix=None if summary is None else _matrix(summary.confusion),
        plots={} if summary is None else _plots(summary),
        ribbon=[] if summary is None else _ribbon(summary),
        pairs=() if summary is None else summary.confusion.pairs(PAIRS),
        taken_for={} if summary is None else summary.confusion.taken_for(),
        embedding_map=embedding_map,
        map_plot=None if embedding_map is None else _map_plot(embedding_map),
        gallery=gallery,
        suspects=suspects or {},
        answers=_answers(run, gallery),
        colour_bar=colour_bar(),
        class_parts=class_parts(run),
        bars=_bars(run),
        stages=list(zip(run.cost.stages, made_of(run.spec), strict=True)),
        provenance=provenance(run),
        config=configuration(run.record),
        raw=json.dumps(run.record, indent=2),
        largest_share=0 if summary is None else max(row.support for row in summary.classes) / summary.n,
    )


def _curves(run: RunSummary) -> dict[str, Markup]:
    """The curves by name."""
    history, best = run.history, run.best_epoch
    if best is None:
        return {}
    there = next(epoch for epoch in history if epoch.epoch == best)
    with styled(PAGE):
        return {
            "losses": inline_svg(
                run_plots.losses(history, best, PAGE, sizes=run.sizes),
                "losses",
                f"Losses against epochs: training ends at {history[-1].train_loss:.3f}, validation at "
                f"{history[-1].val_loss:.3f} nats",
            ),
            "accuracies": inline_svg(
                run_plots.accuracies(history, best, PAGE, sizes=run.sizes),
                "accuracies",
                f"Macro accuracy against epochs: validation is best in epoch {best} with "
                f"{there.val_macro_accuracy:.3f}",
            ),
        }


def _plots(summary: Summary) -> dict[str, Markup]:
    with styled(PAGE):
        figure, tooltips = run_plots.reliability(summary.calibration, PAGE)
        alt = f"Reliability diagram: expected calibration error {summary.calibration.error:.3f}"
        plots = {"reliability": inline_svg(figure, "reliability", alt, tooltips)}
        if (found := summary.abundance) is not None:
            figure, tooltips = run_plots.abundance(found, summary.classes, PAGE)
            alt = f"Recall against training images of {len(found.classes)} classes"
            plots["abundance"] = inline_svg(figure, "abundance", alt, tooltips)
    return plots


def _map_plot(found: EmbeddingMap) -> Markup:
    with styled(PAGE):
        return inline_svg(
            run_plots.embedding_map(found, PAGE),
            "map",
            f"Map of the embeddings of {len(found):,} images by t-SNE, {int((~found.right).sum()):,} of them mistakes; "
            f"{found.knn_accuracy:.3f} have the class of most of their {found.neighbours} nearest neighbours in the "
            "embedding",
        )


def _ribbon(summary: Summary) -> list[tuple[str, int, int]]:
    """Right and wrong images of each class with its name, the largest class first."""
    counts = summary.confusion.counts
    return [
        (summary.confusion.classes[k], int(counts[k, k]), int(counts[k].sum() - counts[k, k]))
        for k in summary.confusion.by_support().tolist()
    ]


def _matrix(confusion: Confusion) -> dict[str, Any]:
    by_support, by_similarity = confusion.by_support().tolist(), confusion.by_similarity().tolist()
    return {
        "order": by_support,
        "orders": {"images": by_support, "similarity": by_similarity},
        "numbered": len(confusion.classes) <= run_plots.NUMBERED,
        "rows": {k: [_cell(confusion, k, column) for column in by_support] for k in by_support},
        "support": confusion.counts.sum(1).tolist(),
    }


def _cell(confusion: Confusion, true: int, predicted: int) -> MatrixCell:
    number, support = int(confusion.counts[true, predicted]), int(confusion.counts[true].sum())
    share = 100 * float(confusion.shares[true, predicted])
    name, other = printable(confusion.classes[true]), printable(confusion.classes[predicted])
    what = f"{name} recognised" if true == predicted else f"{name} taken for {other}"
    return MatrixCell(number, share, f"{what}: {number:,} of {support:,} ({share:.0f}%)", true == predicted)


def _answers(run: RunSummary, gallery: Gallery | None) -> dict[int, list[tuple[str, float]]]:
    """Predictions for each work."""
    if gallery is None or run.predictions is None:
        return {}
    return {work.number: run.predictions.answers(work.number, ANSWERS) for work in gallery.works}


def _bars(run: RunSummary) -> dict[str, list[Bar]]:
    parts = class_parts(run)
    largest = max(1, *(sum(each.values()) for each in parts.values()))
    bars: dict[str, list[Bar]] = {}
    for name, each in parts.items():
        start = 0.0
        for part in PARTS:
            width = 100 * each[part] / largest
            bars.setdefault(name, []).append(Bar(part, start, width))
            start += width
    return bars
