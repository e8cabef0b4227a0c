"""The command line: each command parses, calls one function and prints."""

import sys
from collections.abc import Sequence

from resnet_lab.cli import (  # each adds its command to the app
    bench,  # noqa: F401
    bench_report,  # noqa: F401
    build,  # noqa: F401
    compare,  # noqa: F401
    data,  # noqa: F401
    doctor,  # noqa: F401
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
    study_slurm,  # noqa: F401
    suspects,  # noqa: F401
    train,  # noqa: F401
)
from resnet_lab.cli.ending import exit_code
from resnet_lab.cli.root import app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a user's error ends in one line on standard error and exit code 2."""
    sys.exit(exit_code(lambda: app(args=None if arguments is None else list(arguments), standalone_mode=False)))
