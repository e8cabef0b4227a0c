"""A study's page and plots, drawn and written."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from resnet_lab.core.errors import printable
from resnet_lab.core.figure_names import figure_name
from resnet_lab.report import study_detail_plots, study_plots
from resnet_lab.report.building import in_file_name, write_figures
from resnet_lab.report.figure_style import PAPER, styled
from resnet_lab.report.study_page import study_page
from resnet_lab.study.report_contents import StudyContents


@dataclass(frozen=True)
class StudyReport:
    """A page, and what it is made from."""

    html: str
    contents: StudyContents


def make_study_report(contents: StudyContents, reload_seconds: int | None = None) -> StudyReport:
    """All results of the trials, on one page, which may load itself again."""
    return StudyReport(study_page(contents, reload_seconds), contents)


def write_study_plots(report: StudyReport, folder: Path) -> list[Path]:
    """Each plot of the page as PNG and SVG; earlier ones of the same names are replaced.

    Raises:
        RunError: they cannot be written.
    """
    with styled(PAPER):
        return write_figures(_figures(report), folder)


def _figures(report: StudyReport) -> Iterator[tuple[str, Figure]]:
    found, analyses = report.contents.found, report.contents.analyses
    plan = found.study.plan
    name, metric = printable(plan.name), plan.metric
    if found.effects:
        title = f"Effects on {figure_name(metric)}: {name}"
        yield "effects", study_plots.effects(found.effects, metric, plan.margin, PAPER, title)[0]
    baseline = found.study.arms[0].name
    title = f"Arms against {printable(baseline)}: {name}"
    yield "arms", study_plots.effects(found.families[-1], metric, plan.margin, PAPER, title)[0]
    for pair in analyses.interactions:
        title = f"{pair.first} and {pair.second}"
        yield (
            f"interaction-{in_file_name(pair.first)}-{in_file_name(pair.second)}",
            study_plots.interaction(pair, metric, PAPER, title),
        )
    if analyses.pareto.points:
        cost = "latency" if analyses.pareto.is_measured else "multiply-adds"
        yield "pareto", study_plots.pareto(analyses.pareto, metric, baseline, PAPER, f"Score against {cost}: {name}")[0]
    curves = analyses.learning_curves
    if any(each.accuracy.seeds for each in curves):
        few = len(curves) <= study_detail_plots.MOST_IN_ONE
        draw = study_detail_plots.learning if few else study_detail_plots.learning_of_all
        yield "learning-accuracy", draw(curves, "accuracy", PAPER, f"Validation macro accuracy: {name}")
        yield "learning-loss", draw(curves, "loss", PAPER, f"Validation loss: {name}")
    for number, each in enumerate(analyses.class_effects, 1):
        title = f"Recall of each class by {printable(each.name)}"
        yield f"classes-{number}-{in_file_name(each.name)}", study_detail_plots.classes(each, PAPER, title)[0]
    if any(each.counts for each in analyses.paired_errors):
        yield "errors", study_plots.errors(analyses.paired_errors, PAPER, f"Works fixed and broken: {name}")
