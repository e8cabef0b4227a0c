"""Outputs of notebook cells: the figures, curves and verdicts of pages, as fragments of HTML.

A fragment brings its own style, which holds for itself alone, and takes text colour and background from the notebook,
light or dark. It runs no script and fetches nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from markupsafe import Markup

from resnet_lab.core.errors import printable
from resnet_lab.evaluation.comparison import Comparison
from resnet_lab.evaluation.metrics import Summary
from resnet_lab.evaluation.metrics.headline import Interval
from resnet_lab.evaluation.run_summary import RunSummary
from resnet_lab.report import comparison_plots, run_plots, study_detail_plots, study_plots
from resnet_lab.report.comparison_page import letters
from resnet_lab.report.figure_style import PAGE, inline_svg, styled
from resnet_lab.report.pages import environment
from resnet_lab.report.run_words import remarks, sentence
from resnet_lab.report.study_opening import opening
from resnet_lab.report.study_page import SIGNS, sentences, verdicts_of_arms
from resnet_lab.report.study_page import remarks as remarks_on_study
from resnet_lab.report.text import duration, interval_notes, joined
from resnet_lab.study.changes import StudyChange, StudyImages
from resnet_lab.study.learning_curves import LearningCurves
from resnet_lab.study.results import StudyFindings

PAIRS = 5
"""Confusions that are listed."""


@dataclass(frozen=True)
class ProgressBar:
    """Progress of a phase of work.

    Attributes:
        total: steps of the phase.
        seconds: since it began, or continued.
    """

    what: str
    done: int
    total: int
    status: str = ""
    seconds: float = 0.0

    @property
    def words(self) -> str:
        """Steps, time and status in a line."""
        return " · ".join(filter(None, (f"{self.done:,} of {self.total:,}", duration(self.seconds), self.status)))

    def __str__(self) -> str:
        return f"{self.what}: {self.words}"


def progress_cell(bar: ProgressBar | None, lines: Sequence[str]) -> str:
    """A bar, while there is work in steps, and lines above it."""
    return _render("progress_cell.html.j2", bar=bar, lines=lines)


def message_cell(text: str) -> str:
    """A sentence alone, such as that of an error."""
    return _render("progress_cell.html.j2", bar=None, lines=[text])


def run_cell(run: RunSummary, page: str = "") -> str:
    """A run: figures, learning curves and most frequent confusions.

    Args:
        page: path of its whole page, if there is one.
    """
    return _render(
        "run_cell.html.j2",
        run=run,
        summary=run.summary,
        sentence=sentence(run),
        remarks=list(remarks(run)),
        curves=_curves(run),
        pairs=() if run.summary is None else run.summary.confusion.pairs(PAIRS),
        page=page,
    )


def figures_cell(summary: Summary, title: str) -> str:
    """Figures over all classes with their intervals, and each class's."""
    return _render("figures_cell.html.j2", summary=summary, title=title, notes=interval_notes(summary.headline))


def comparison_cell(runs: Sequence[RunSummary], comparisons: Sequence[Comparison], page: str = "") -> str:
    """Several runs: figures, differences to the first, and learning curves."""
    names = letters(runs)
    histories = {name: run.history for name, run in zip(names, runs, strict=True) if run.history}
    differences: dict[str, Mapping[str, Interval]] = {
        name: each.paired.differences for name, each in zip(names[1:], comparisons, strict=True)
    }
    stem = _stem(*(run.path for run in runs))
    with styled(PAGE):
        figure = comparison_plots.differences(differences, PAGE, "")
        plots = [inline_svg(figure, f"{stem}-differences", f"Differences to {names[0]}, with paired intervals")]
        if histories:
            figure = comparison_plots.accuracies(histories, PAGE)
            plots.append(inline_svg(figure, f"{stem}-accuracies", "Validation macro accuracy of each run by epoch"))
    return _render(
        "comparison_cell.html.j2", runs=runs, names=names, comparisons=comparisons, plots=plots, page=page,
    )  # fmt: skip


def study_cell(
    found: StudyFindings,
    curves: Sequence[LearningCurves],
    folder: str,
    page: str = "",
    *,
    changes: Sequence[StudyChange],
    images: StudyImages | None = None,
) -> str:
    """A study: verdicts, effects, arms and learning curves."""
    shown, folded = sentences(found)
    return _render(
        "study_cell.html.j2",
        found=found,
        plan=found.study.plan,
        answer=opening(found, changes, images),
        remarks=list(remarks_on_study(found)),
        sentences=shown,
        others=len(folded),
        signs=SIGNS,
        verdicts=verdicts_of_arms(found),
        plots=_study_plots(found, curves, _stem(folder)),
        folder=folder,
        page=page,
    )


def _render(template: str, **content: Any) -> str:
    return environment().get_template(template).render(**content)


def _stem(*names: str) -> str:
    """Beginning of the ids of a fragment's plots, since a notebook shows several fragments in one document."""
    return "r" + sha256("\n".join(names).encode("utf-8", "surrogateescape")).hexdigest()[:10]


def _curves(run: RunSummary) -> list[Markup]:
    if run.best_epoch is None:
        return []
    stem = _stem(run.path, str(len(run.history)))
    with styled(PAGE):
        return [
            inline_svg(draw(run.history, run.best_epoch, PAGE, sizes=run.sizes), f"{stem}-{name}", alt)
            for draw, name, alt in (
                (run_plots.losses, "losses", "Losses against epochs"),
                (run_plots.accuracies, "accuracies", "Macro accuracy against epochs"),
            )
        ]


def _study_plots(found: StudyFindings, curves: Sequence[LearningCurves], stem: str) -> list[Markup]:
    plan, family = found.study.plan, found.effects or found.families[-1]
    with styled(PAGE):
        figure, tooltips = study_plots.effects(family, plan.metric, plan.margin, PAGE)
        alt = f"Differences with their intervals: {printable(joined(list(tooltips.values())))}"
        plots = [inline_svg(figure, f"{stem}-effects", alt, tooltips)]
        if len(curves) <= study_detail_plots.MOST_IN_ONE and any(each.accuracy.seeds for each in curves):
            figure = study_detail_plots.learning(curves, "accuracy", PAGE)
            plots.append(inline_svg(figure, f"{stem}-curves", "Validation macro accuracy of each arm by epoch"))
    return plots
