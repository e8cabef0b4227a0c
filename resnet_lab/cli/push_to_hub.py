"""`resnet-lab push-to-hub`."""

from pathlib import Path
from typing import Annotated

import typer

from resnet_lab.cli import options, output
from resnet_lab.cli.root import app


@app.command(
    "push-to-hub", epilog="Example: `resnet-lab push-to-hub runs/20260101-120000-resnet18 me/genres --dry-run`"
)
def push_to_hub(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    repository: Annotated[str, typer.Argument(metavar="NAMESPACE/NAME", help="Repository on the Hub.")],
    private: Annotated[bool, typer.Option("--private", help="Create a private repository.")] = False,
    license: Annotated[
        str | None,
        typer.Option("--license", metavar="NAME", help="License in the card, such as apache-2.0.", show_default="none"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the files without uploading.")] = False,
    no_plugin: options.NoPlugin = None,
    plugin: options.Plugin = None,
    json: options.JSON = False,
) -> None:
    """Upload a run's best weights, card, record and curves to the Hugging Face Hub.

    A README.md in the run folder is the card; without one, what `export --to card` writes is sent. The repository is
    made if it is not there. Of the run's record, the paths of this machine are left out.
    """
    from resnet_lab.cli.progress import Screen
    from resnet_lab.export.hub import check_repository, push, uploads

    check_repository(repository)
    files = uploads(run, license=license, registry=options.load_registry(no_plugin))
    pushed = None
    if not dry_run:
        with Screen() as screen:
            pushed = push(repository, files, private=private, watcher=screen)
    if json:
        output.print_json(
            {
                "repository": repository,
                "url": None if pushed is None else pushed.url,
                "commit": None if pushed is None else pushed.commit,
                "private": private if pushed is None else pushed.private,
                "dry_run": dry_run,
                "files": [{"name": file.name, "bytes": file.size, "sha256": file.sha256} for file in files],
            }
        )
        return
    for file in files:
        output.line(f"{file.size:>13,} bytes  {file.name}")
    output.line(f"nothing was sent to {repository}" if pushed is None else f"{pushed.url} at {pushed.commit}")
