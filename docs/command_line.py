"""Write docs/cli.md, the reference of the command line, from the program: python docs/command_line.py"""

from pathlib import Path

import typer
from typer.cli import get_docs_for_click

from resnet_lab.cli.root import app

PAGE = Path(__file__).parent / "cli.md"


def reference() -> str:
    """Reference as Typer writes it of the commands, their options and their examples."""
    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="resnet-lab", title="Command line")
    return f"{text.strip()}\n"


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
