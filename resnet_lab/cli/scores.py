"""Scores as tables."""

from rich import box
from rich.table import Table

from resnet_lab.cli import output
from resnet_lab.core.figure_names import figure_name
from resnet_lab.evaluation.metrics import Scores, Summary
from resnet_lab.report.text import interval_notes

PAIRS = 5


def print_scores(scores: Scores, title: str) -> None:
    """Print the headline figures."""
    console = output.console()
    console.print(f"{title}, {scores.n} images", soft_wrap=True)
    headline = Table(box=None, show_header=False)
    headline.add_column()
    headline.add_column(justify="right")
    for name, value in scores.headline().items():
        if name != "n":
            headline.add_row(figure_name(name), f"{value:.4f}")
    console.print(headline)


def print_summary(summary: Summary, title: str) -> None:
    """Print everything that fits a terminal."""
    console = output.console()
    console.print(f"{title}, {summary.n} images", soft_wrap=True)
    headline = Table(box=box.SIMPLE_HEAD)
    headline.add_column("figure")
    headline.add_column("value", justify="right")
    headline.add_column("95% interval", justify="right")
    for name, each in summary.headline.items():
        ends = "" if each.ends is None else "{:.4f} to {:.4f}".format(*each.ends)
        headline.add_row(figure_name(name), f"{each.value:.4f}", ends)
    low, high = summary.calibration.by_chance
    headline.add_row(
        "calibration error (ECE)", f"{summary.calibration.error:.4f}", f"by chance {low:.4f} to {high:.4f}"
    )
    console.print(headline)
    for note in interval_notes(summary.headline):
        console.print(note, soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("class")
    for column in ("precision", "recall", "95% interval", "F1", "images"):
        table.add_column(column, justify="right")
    for row in summary.classes:
        ends = f"{row.recall_low:.2f} to {row.recall_high:.2f}"
        table.add_row(
            output.text(row.name), f"{row.precision:.3f}", f"{row.recall:.3f}", ends, f"{row.f1:.3f}", str(row.support)
        )
    console.print(table)
    ranks = Table(box=box.SIMPLE_HEAD)
    for column in ("rank of the truth", "images", "up to here", "mean confidence", "mean p(truth)"):
        ranks.add_column(column, justify="right")
    for place in summary.ranks:
        name = f"{place.rank}" if place.rank <= 5 else "later"
        means = ("" if value is None else f"{value:.3f}" for value in (place.confidence, place.truth))
        ranks.add_row(name, str(place.n), f"{place.within:.3f}", *means)
    console.print(ranks)
    for pair in summary.confusion.pairs(PAIRS):
        console.print(output.text(str(pair)))
    if summary.abundance is not None and summary.abundance.correlation is not None:
        console.print(
            f"recall against training images of a class: rank correlation {summary.abundance.correlation:.2f} "
            f"(p = {summary.abundance.p_value:.2g}, {len(summary.abundance.classes)} classes)"
        )
