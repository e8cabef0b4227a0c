"""Scores as a table."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from resnet_lab.metrics import Scores


def print_scores(scores: Scores, title: str, *, each_class: bool) -> None:
    """Print the headline figures, and each class's own if asked."""
    console = Console(highlight=False)
    console.print(f"{title}, {scores.n} images", markup=False, soft_wrap=True)
    headline = Table(box=None, show_header=False)
    headline.add_column()
    headline.add_column(justify="right")
    for name, value in scores.headline().items():
        if name != "n":
            headline.add_row(name.replace("_", " "), f"{value:.4f}")
    console.print(headline)
    if not each_class:
        return
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("class")
    for column in ("precision", "recall", "F1", "images"):
        table.add_column(column, justify="right")
    for row in scores.classes:
        table.add_row(Text(row.name), f"{row.precision:.3f}", f"{row.recall:.3f}", f"{row.f1:.3f}", str(row.support))
    console.print(table)
