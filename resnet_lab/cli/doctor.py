"""`resnet-lab doctor`."""

from typing import Annotated

import typer

from resnet_lab.cli import options, output
from resnet_lab.cli.root import app


@app.command(epilog="Example: `resnet-lab doctor`, or `resnet-lab doctor --json` for a report of a fault")
def doctor(
    device: Annotated[str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda, cuda:0, mps or xpu.")] = "auto",
    no_plugin: options.NoPlugin = None,
    plugin: options.Plugin = None,
    json: options.JSON = False,
) -> None:
    """Show device, precision, compiler, cache, plugins and versions, and what would be faster here.

    Nothing is trained or timed, and nothing leaves the machine.
    """
    from resnet_lab.bench.diagnosis import diagnose
    from resnet_lab.network.plugins import load

    found = diagnose(load(without=no_plugin or ()), device)
    if json:
        output.print_json({"facts": found.facts, "advice": list(found.advice)})
        return
    from rich.table import Table

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for topic, fact in found.facts.items():
        table.add_row(output.text(topic, style="bold"), output.text(fact))
    console = output.console()
    console.print(table)
    console.print("\nwhat would help here" if found.advice else "\nnothing to remark")
    for advice in found.advice:
        console.print(output.text(f"- {advice}"))
