"""`resnet-lab study slurm`."""

from pathlib import Path
from typing import Annotated

import typer

from resnet_lab.cli import options, output
from resnet_lab.cli.bundles import command
from resnet_lab.cli.study import study


@command(study, epilog="Example: `resnet-lab study slurm study.toml --out /shared/parts --tasks 8 --gpus 1 > parts.sh`")
def slurm(
    *,
    file: Annotated[
        Path, typer.Argument(metavar="STUDY", help="A study file, or a name of `study list`.", show_default=False)
    ],
    out: Annotated[Path, options.written("--out", "FOLDER", "The study folder, on a disk that all nodes share.")],
    tasks: Annotated[int, typer.Option("--tasks", min=1, max=10_000, help="Tasks of the job array.")] = 1,
    time: Annotated[str, typer.Option("--time", help="Time limit of a task, as sbatch takes it.")] = "1:00:00",
    cpus: Annotated[int, typer.Option("--cpus", min=1, help="CPUs and threads per task.")] = 1,
    gpus: Annotated[int, typer.Option("--gpus", min=0, help="GPUs per task.")] = 0,
    sbatch: Annotated[
        list[str] | None,
        typer.Option("--sbatch", metavar="OPTION", help="A further option of sbatch. Repeatable.", show_default=False),
    ] = None,
    track: options.Tracked = None,
    no_plugin: options.NoPlugin = None,
    plugin: options.Plugin = None,
) -> None:
    """Print a batch script for Slurm, whose tasks share the trials of a study; nothing is submitted.

    `sbatch` starts it. A task that is stopped saves its state and is queued again; no trial is run twice.
    """
    from resnet_lab.core.children import python_module
    from resnet_lab.study.design import read_study
    from resnet_lab.study.design_files import shipped
    from resnet_lab.study.slurm import Job, batch_script
    from resnet_lab.train.tracking import Track

    registry = options.load_registry(no_plugin)
    tracked = Track.parse(track or ())
    tracked.require_made(registry)
    read_study(file)
    name = file if str(file) in shipped() else file.absolute()
    more = [f"--plugin={each.absolute()}" for each in plugin or ()]
    more += [f"--no-plugin={each}" for each in no_plugin or ()]
    run = ["study", "run", str(name), "--out", str(out.absolute()), "--no-bench", *more, *tracked.options]
    job = Job(tasks, time, cpus, gpus, tuple(sbatch or ()))
    output.whole(batch_script(job, python_module("resnet_lab", *run), out.absolute()))
