"""`resnet-lab import`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from resnet_lab.cli import options, output
from resnet_lab.cli.bundles import command
from resnet_lab.cli.root import app


@command(app, "import", epilog="Example: `resnet-lab import resnet20.pth --out runs/public --classes names.txt`")
def import_weights(
    *,
    weights: Annotated[
        str, typer.Argument(metavar="FILE", help="Pretrained weights: a file, FILE:KEY, or a name of torchvision's.")
    ],
    out: Annotated[Path, options.written("--out", "RUN", "The run folder to make.")],
    adopting: options.Adopting,
    no_plugin: options.NoPlugin = None,
    plugin: options.Plugin = None,
    json: options.JSON = False,
) -> None:
    """Import pretrained weights as a run folder, for every command that takes one.

    The network is the one that the weights are of, unless --model or --spec names it.
    """
    from resnet_lab.cli.coverage import print_coverage
    from resnet_lab.core.files import refuse_existing
    from resnet_lab.network.weights.importing import write_run

    refuse_existing(out)
    registry = options.load_registry(no_plugin)
    adopted = adopting.adopt(weights, registry)
    run = write_run(adopted, out, registry, sys.argv)
    if json:
        metadata = adopted.metadata.model_dump(mode="json", exclude={"spec"})
        output.print_json(
            {
                "run": str(run.folder),
                "network": adopted.metadata.spec.name,
                "metadata": metadata,
                "weights": adopted.coverage.model_dump(mode="json"),
            }
        )
        return
    print_coverage(adopted.coverage)
    output.line(f"{adopted.metadata.spec.name} of {len(adopted.metadata.classes)} classes is in {run.folder}")
