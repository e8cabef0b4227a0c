"""The command line: each command parses, calls one function and prints."""

import sys
from collections.abc import Sequence

import typer

from resnet_lab.cli import output
from resnet_lab.cli.ending import EXIT_CODES, exit_code

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
    """Study ResNet architectures: what a change to one part brings, how sure that is, and what it costs."""


from resnet_lab.cli import (  # noqa: E402 (each adds its command to the app)
    bench,  # noqa: F401
    build,  # noqa: F401
    compare,  # noqa: F401
    data,  # noqa: F401
    eval,  # noqa: F401
    explain,  # noqa: F401
    export,  # noqa: F401
    importing,  # noqa: F401
    plugins,  # noqa: F401
    predict,  # noqa: F401
    push_to_hub,  # noqa: F401
    recipes,  # noqa: F401
    report,  # noqa: F401
    study,  # noqa: F401
    study_report,  # noqa: F401
    study_search,  # noqa: F401
    train,  # noqa: F401
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a user's error ends in one line on standard error and exit code 2."""
    sys.exit(exit_code(lambda: app(args=None if arguments is None else list(arguments), standalone_mode=False)))
