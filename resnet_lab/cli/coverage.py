"""Coverage of pretrained weights, as a table."""

from rich import box
from rich.console import Console
from rich.table import Table

from resnet_lab.cli import output
from resnet_lab.core.errors import printable
from resnet_lab.core.wording import counted
from resnet_lab.network.weights.coverage import KINDS, Coverage, Group

SHOWN = 3
"""Names of a kind; `Coverage.to_json` has all."""


def print_coverage(coverage: Coverage, console: Console | None = None) -> None:
    """Print by stage how many parameters had which fate, and below it what did not take values of the weights."""
    console = console or output.console()
    console.print(output.text(f"weights: {printable(coverage.source)}"), soft_wrap=True)
    totals = {kind: total for kind in KINDS if (total := coverage.total(kind)).names}
    table = Table(box=box.SIMPLE_HEAD, show_footer=True, padding=(0, 1, 0, 0))
    table.add_column("stage", footer="total")
    for kind, total in totals.items():
        table.add_column(kind.replace("_", " "), justify="right", footer=f"{total.parameters:,}")
    for stage in coverage.stages:
        groups: list[Group] = [getattr(stage, kind) for kind in totals]
        table.add_row(stage.stage, *(f"{group.parameters:,}" if group.names else "" for group in groups))
    console.print(table)
    console.print(coverage.extent, soft_wrap=True)
    for kind, total in totals.items():
        if kind != "loaded":
            shown = ", ".join(printable(name) for name in total.names[:SHOWN])
            rest = ", ..." if len(total.names) > SHOWN else ""
            heading = f"{kind.replace('_', ' ')}: {counted(len(total.names), 'tensor')}"
            console.print(output.text(f"{heading}: {shown}{rest}"), soft_wrap=True)
    for heading, parts in (
        ("differs from the weights' network", coverage.differing),
        ("cannot be seen in the weights, and may differ", coverage.unseen),
    ):
        if parts:
            console.print(output.text(f"{heading}: {'; '.join(parts)}"), soft_wrap=True)
    for note in coverage.notes:
        console.print(output.text(f"note: {printable(note)}"), soft_wrap=True)
