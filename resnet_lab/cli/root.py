"""The application that each command adds itself to."""

import typer

from resnet_lab.cli import output
from resnet_lab.cli.ending import EXIT_CODES

app = typer.Typer(
    name="resnet-lab",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        output.line(f"resnet-lab {version('resnet-lab')}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(
        False, "--version", help="Print the version and exit.", is_eager=True, callback=_print_version
    ),
) -> None:
    """Study ResNet architectures: the effects of changes to their parts, their certainty and their costs."""
