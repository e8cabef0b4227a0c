"""Options of `study run` that say where its trials run."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from resnet_lab.core.errors import ConfigError

if TYPE_CHECKING:
    from resnet_lab.study.design import Study
    from resnet_lab.study.executing import Executor as Where

WHERE = "Where trials run"

Processes = Annotated[int, typer.Option("--processes", min=1, help="Trials at a time.", rich_help_panel=WHERE)]
Executor = Annotated[
    Literal["local", "ray"],
    typer.Option("--executor", help="This machine, or a Ray cluster.", rich_help_panel=WHERE),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="HOST:PORT",
        help="The cluster's head; auto for the one this machine belongs to; local to start one here.",
        show_default="auto",
        rich_help_panel=WHERE,
    ),
]
GPUs = Annotated[
    float | None,
    typer.Option(
        "--gpus-per-trial",
        min=0,
        help="A fraction such as 0.25 lets four trials share one.",
        show_default="1 if there are any",
        rich_help_panel=WHERE,
    ),
]
CPUs = Annotated[
    float | None,
    typer.Option("--cpus-per-trial", min=0, help="And threads.", show_default="1", rich_help_panel=WHERE),
]
Retries = Annotated[
    int | None,
    typer.Option(
        "--retries",
        min=0,
        help="Of a trial whose node or process was lost.",
        show_default="3",
        rich_help_panel=WHERE,
    ),
]
Artifacts = Annotated[
    str | None,
    typer.Option(
        "--artifacts",
        metavar="URL",
        help="A folder or fsspec address that all nodes reach, where they do not share the study folder.",
        show_default=False,
        rich_help_panel=WHERE,
    ),
]


@contextmanager
def executing(study: "Study", executor: str, processes: int, wishes: Mapping[str, Any]) -> "Iterator[Where]":
    """Where trials run.

    Args:
        wishes: the options of Ray that were given, by name.

    Raises:
        ConfigError: options that exclude one another. Of a cluster, as `on_ray`.
    """
    from resnet_lab.study.executing import local

    if executor == "local":
        if wishes:
            raise ConfigError(f"{next(iter(wishes))} is for a Ray cluster; give --executor ray too")
        yield local(processes)
        return
    if processes > 1:
        raise ConfigError(
            "--processes is for this machine, --executor ray has the cluster decide how many trials run at a time by "
            "--cpus-per-trial and --gpus-per-trial; give one of them"
        )
    from resnet_lab.study.ray_cluster import Wishes
    from resnet_lab.study.ray_executor import on_ray

    names = {
        "--address": "address", "--gpus-per-trial": "gpus", "--cpus-per-trial": "cpus", "--retries": "retries",
        "--artifacts": "artefacts",
    }  # fmt: skip
    with on_ray(study, Wishes(**{names[option]: value for option, value in wishes.items()})) as cluster:
        yield cluster
