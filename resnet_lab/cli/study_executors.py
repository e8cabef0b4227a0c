"""Options of `study run` for the execution of its trials."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from resnet_lab.cli import options
from resnet_lab.core.errors import ConfigError

if TYPE_CHECKING:
    from resnet_lab.network.plugins import Registry
    from resnet_lab.study.design import Study
    from resnet_lab.study.executing import Executor
    from resnet_lab.train.tracking import Track

WHERE = "Execution"
OF_RAY = {
    "address": "--address", "gpus": "--gpus-per-trial", "cpus": "--cpus-per-trial", "retries": "--retries",
    "artefacts": "--artifacts",
}  # fmt: skip


@dataclass(frozen=True)
class Where:
    """Executor of trials: this process, several processes, or a Ray cluster."""

    processes: Annotated[
        str,
        typer.Option(
            "--processes",
            metavar="N|auto",
            help="Concurrent trials; auto: as many as a short measurement finds best.",
            rich_help_panel=WHERE,
        ),
    ] = "1"
    executor: Annotated[
        Literal["local", "ray"],
        typer.Option("--executor", help="This machine, or a Ray cluster.", rich_help_panel=WHERE),
    ] = "local"
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="HOST:PORT",
            help="Address of the cluster's head; auto for this machine's cluster; local to start one here.",
            show_default="auto",
            rich_help_panel=WHERE,
        ),
    ] = None
    gpus: Annotated[
        float | None,
        typer.Option(
            "--gpus-per-trial",
            min=0,
            help="GPUs per trial, such as 0.25.",
            show_default="1 if there are any",
            rich_help_panel=WHERE,
        ),
    ] = None
    cpus: Annotated[
        float | None,
        typer.Option(
            "--cpus-per-trial", min=0, help="CPUs and threads per trial.", show_default="1", rich_help_panel=WHERE
        ),
    ] = None
    retries: Annotated[
        int | None,
        typer.Option(
            "--retries",
            min=0,
            help="Retries of a trial whose node or process was lost.",
            show_default="3",
            rich_help_panel=WHERE,
        ),
    ] = None
    artefacts: Annotated[
        str | None,
        typer.Option(
            "--artifacts",
            metavar="URL",
            help="A folder or fsspec URL accessible to all nodes that do not share the study folder.",
            show_default=False,
            rich_help_panel=WHERE,
        ),
    ] = None

    def _number(self) -> int | None:
        """Concurrent trials; None where they are to be measured."""
        if self.processes == "auto":
            return None
        if not (self.processes.isascii() and self.processes.isdecimal() and int(self.processes)):
            raise ConfigError(f"--processes is {self.processes!r}; give a whole number of at least 1, or auto")
        return int(self.processes)

    @contextmanager
    def executing(self, study: "Study", classes: int, registry: "Registry", track: "Track") -> "Iterator[Executor]":
        """Make the executor.

        Raises:
            ConfigError: options that exclude one another. Of a cluster, as `on_ray`.
        """
        from resnet_lab.study.concurrency import measured_processes
        from resnet_lab.study.executing import local

        number = self._number()
        given = options.given({name: getattr(self, name) for name in OF_RAY})
        if self.executor == "local":
            if given:
                raise ConfigError(f"{OF_RAY[next(iter(given))]} is for a Ray cluster; give --executor ray too")
            yield local(measured_processes(study, classes, registry) if number is None else number, track)
            return
        if number != 1:
            raise ConfigError(
                "--processes is for this machine, --executor ray has the cluster decide how many trials run at a time "
                "by --cpus-per-trial and --gpus-per-trial; give one of them"
            )
        from resnet_lab.study.ray_cluster import RayOptions
        from resnet_lab.study.ray_executor import on_ray

        with on_ray(study, RayOptions(**given), track) as cluster:
            yield cluster
