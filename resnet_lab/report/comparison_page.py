"""One page that compares several runs. Legend: R runs, the first of which the others are compared with."""

from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any

from markupsafe import Markup

from resnet_lab.core.errors import printable
from resnet_lab.evaluation.comparison import Comparison
from resnet_lab.evaluation.gallery import Gallery
from resnet_lab.evaluation.metrics.headline import NOT_SHARES, Interval
from resnet_lab.evaluation.run_summary import RunSummary
from resnet_lab.report import comparison_plots
from resnet_lab.report.figure_style import PAGE, inline_svg, styled
from resnet_lab.report.pages import render
from resnet_lab.report.run_words import EXPLAINED, class_parts, colour_bar, provenance, sentence
from resnet_lab.report.text import interval_notes, joined

SMALLEST_REACH = 0.02
"""Smallest range of a plot of differences, so that noise does not look large."""


def comparison_page(runs: Sequence[RunSummary], comparisons: Sequence[Comparison], gallery: Gallery | None) -> str:
    """The HTML of one self-contained page.

    Args:
        runs: R runs that were scored on the same images.
        comparisons: of the first with each other, R - 1 of them.
        gallery: of works that the second of two has fixed or broken; None where there are none, or more runs.
    """
    names = letters(runs)
    return render(
        "comparison_page.html.j2",
        runs=runs,
        names=names,
        title=joined([printable(run.name) for run in runs]),
        sentences=[sentence(run) for run in runs],
        comparisons=comparisons,
        reaches=[_reach(each.paired.differences) for each in comparisons],
        explained=EXPLAINED,
        notes=[interval_notes(each.paired.differences) for each in comparisons],
        own_notes=_own_notes(names, runs),
        curves=_curves(names, runs),
        class_rows=_class_rows(runs),
        gallery=gallery,
        answers={}
        if gallery is None
        else {work.number: comparisons[0].answers_for(work.number) for work in gallery.works},
        colour_bar=colour_bar(),
        provenances=[provenance(run) for run in runs],
    )


def letters(runs: Sequence[RunSummary]) -> list[str]:
    """A short name for each run: `A relu`, `B gelu`; letters distinguish folders of the same name."""
    return [f"{_letter(number)} {printable(run.name)}" for number, run in enumerate(runs)]


def _own_notes(names: Sequence[str], runs: Sequence[RunSummary]) -> dict[str, list[str]]:
    """Notes on the intervals of runs, each with the runs that it is about."""
    found: dict[str, list[str]] = {}
    for name, run in zip(names, runs, strict=True):
        if run.summary is not None and (notes := interval_notes(run.summary.headline)):
            found.setdefault(" ".join(notes), []).append(name)
    return found


def _letter(number: int) -> str:
    return ascii_uppercase[number] if number < len(ascii_uppercase) else str(number + 1)


def _reach(differences: Mapping[str, Interval]) -> float:
    """Range of a plot of the differences between shares, to either side of 0."""
    shares = [each for name, each in differences.items() if name not in NOT_SHARES]
    ends: list[float] = [abs(end) for each in shares for end in (each.value, *(each.ends or ()))]
    return max(SMALLEST_REACH, *(1.05 * end for end in ends))


def _curves(names: Sequence[str], runs: Sequence[RunSummary]) -> dict[str, Markup]:
    """The curves by name."""
    histories = {name: run.history for name, run in zip(names, runs, strict=True) if run.history}
    if not histories:
        return {}
    with styled(PAGE):
        return {
            "losses": inline_svg(
                comparison_plots.losses(histories, PAGE), "losses", "Validation loss of each run by epoch"
            ),
            "accuracies": inline_svg(
                comparison_plots.accuracies(histories, PAGE),
                "accuracies",
                "Validation macro accuracy of each run by epoch",
            ),
        }


def _class_rows(runs: Sequence[RunSummary]) -> list[dict[str, Any]]:
    """Rows of classes: images, and recall in every run."""
    parts = class_parts(runs[0])
    tables = [run.summary.classes for run in runs if run.summary is not None]
    return [
        {
            "name": rows[0].name,
            "support": rows[0].support,
            "train": parts.get(rows[0].name, {}).get("train", 0),
            "recalls": [row.recall for row in rows],
        }
        for rows in zip(*tables, strict=True)
    ]
