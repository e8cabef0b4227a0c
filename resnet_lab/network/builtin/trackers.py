"""Trackers: TensorBoard, MLflow, Weights & Biases and Aim. Each writes to the disk unless another place is named."""

import os
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from shutil import copy
from typing import Any, Literal

from resnet_lab.core.errors import ConfigError
from resnet_lab.core.tracking import Ending, RunEnd, RunStart, Tracker
from resnet_lab.network.hookspecs import Register, hookimpl

PROJECT = "resnet-lab"
"""Name of what holds tracked runs outside a study."""


def _imported(tracker: str, module: str, package: str) -> Any:
    """A module of an optional package.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError:
        raise ConfigError(f"tracker {tracker} needs the package {package}; pip install resnet-lab[{tracker}]") from None


def _placed(name: str) -> tuple[str, str]:
    """A figure's name and its part: `val_loss` is the loss of `val`; one of neither part has none."""
    part, _, figure = name.partition("_")
    return (figure, part) if part in ("train", "val") else (name, "")


class TensorBoard(Tracker):
    """Events in the folder `tensorboard` of the run folder.

    Each call opens and closes a file, so that a run killed at any time has all events of its epochs.
    """

    def __init__(self) -> None:
        self._writer = _imported("tensorboard", "torch.utils.tensorboard", "tensorboard").SummaryWriter
        self._folder = Path()

    def on_run_start(self, run: RunStart) -> None:
        self._folder = run.folder / "tensorboard"

    def on_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        with self._writer(str(self._folder), purge_step=epoch) as writer:
            for name, value in metrics.items():
                figure, part = _placed(name)
                writer.add_scalar(f"{figure}/{part}" if part else figure, value, epoch)

    def on_finish(self, end: RunEnd) -> None:
        if not end.test:
            return
        with self._writer(str(self._folder)) as writer:
            for name, value in end.test.items():
                writer.add_scalar(f"{name}/test", value, end.best_epoch)


class MLflow(Tracker):
    """A run of MLflow, in the experiment of the study.

    Args:
        uri: a server, a database or a folder; by default `$MLFLOW_TRACKING_URI`, or the folder `mlruns`.
        experiment: its name; by default the study's, or resnet-lab.
        weights: whether the best weights are stored too.
    """

    STATUS: Mapping[Ending, str] = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}

    def __init__(self, *, uri: str = "", experiment: str = "", weights: bool = False) -> None:
        self._id = ""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # which MLflow 3 otherwise refuses
        self._mlflow = _imported("mlflow", "mlflow", "mlflow-skinny")
        self._uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or Path("mlruns").absolute().as_uri()
        self._experiment, self._weights = experiment, weights

    def on_run_start(self, run: RunStart) -> str:
        self._client = self._mlflow.MlflowClient(self._uri)
        if run.id and self._resumed(run.id):
            return self._id
        tags = {"study": run.study, "folder": str(run.folder)}
        experiment = self._experiment_of(self._experiment or run.study or PROJECT)
        created = self._client.create_run(experiment, run_name=run.name, tags=tags)
        self._id = str(created.info.run_id)
        values = [self._mlflow.entities.Param(key, str(value)[:500]) for key, value in run.flat().items()]
        for first in range(0, len(values), 100):  # the most that a server takes at a time
            self._client.log_batch(self._id, params=values[first : first + 100])
        return self._id

    def _experiment_of(self, name: str) -> str:
        """The id of an experiment, which another trial of the study may be making now."""
        if self._client.get_experiment_by_name(name) is None:
            with suppress(self._mlflow.exceptions.MlflowException):
                return str(self._client.create_experiment(name))
        return str(self._client.get_experiment_by_name(name).experiment_id)

    def _resumed(self, run_id: str) -> bool:
        try:
            self._client.update_run(run_id, status="RUNNING")
        except self._mlflow.exceptions.MlflowException:
            return False
        self._id = run_id
        return True

    def on_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        self._log(metrics, epoch)

    def _log(self, metrics: Mapping[str, float], step: int) -> None:
        now = self._mlflow.utils.time.get_current_time_millis()
        values = [self._mlflow.entities.Metric(name, value, now, step) for name, value in metrics.items()]
        self._client.log_batch(self._id, metrics=values)

    def on_finish(self, end: RunEnd) -> None:
        if end.best_epoch is not None:
            test = {f"test_{name}": value for name, value in end.test.items()}
            self._log({**test, "best_epoch": end.best_epoch}, end.best_epoch)
        for path in _stored(end, weights=self._weights):
            self._client.log_artifact(self._id, str(path))
        self._client.set_tag(self._id, "ending", end.reason or end.ending)
        self._client.set_terminated(self._id, self.STATUS[end.ending])


class WandB(Tracker):
    """A run of Weights & Biases, in the group of the study.

    Args:
        mode: offline keeps it in a folder, for `wandb sync`; online sends it as it goes. By default `$WANDB_MODE`, or
            offline.
        project: by default `$WANDB_PROJECT`, or resnet-lab.
        folder: in which the folder `wandb` is made; by default `$WANDB_DIR`, or here.
        weights: whether the best weights are stored too.
    """

    def __init__(
        self, *, mode: Literal["", "offline", "online"] = "", project: str = "", folder: str = "", weights: bool = False
    ) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        self._wandb = _imported("wandb", "wandb", "wandb")
        self._mode = mode or os.environ.get("WANDB_MODE") or "offline"
        self._project = project or os.environ.get("WANDB_PROJECT") or PROJECT
        self._folder, self._weights = folder or os.environ.get("WANDB_DIR") or ".", weights

    def on_run_start(self, run: RunStart) -> str:
        quiet = self._wandb.Settings(
            silent=True, console="off", disable_git=True, disable_code=True, x_disable_stats=True
        )
        Path(self._folder).mkdir(parents=True, exist_ok=True)
        self._run = self._wandb.init(
            project=self._project, group=run.study or None, name=run.name, id=run.id, resume="allow", mode=self._mode,
            dir=self._folder, config=dict(run.config), reinit="create_new", settings=quiet,
        )  # fmt: skip
        return str(self._run.id)

    def on_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        named = {"/".join(filter(None, reversed(_placed(name)))): value for name, value in metrics.items()}
        self._run.log(named, step=epoch)

    def on_finish(self, end: RunEnd) -> None:
        self._run.summary.update({f"test/{name}": value for name, value in end.test.items()})
        self._run.summary.update({"ending": end.reason or end.ending, "best_epoch": end.best_epoch})
        for path in _stored(end, weights=self._weights):
            copied = copy(path, self._run.dir)  # of another folder it would keep links alone
            self._run.save(copied, base_path=self._run.dir, policy="now")
        self._run.finish(exit_code=0 if end.ending == "finished" else 1)


class Aim(Tracker):
    """A run of Aim, in the experiment of the study; its artefacts are texts, and the curves an image.

    Args:
        repo: the folder that has `.aim`, or a server (`aim://HOST:PORT`); by default here.
        experiment: its name; by default the study's, or resnet-lab.
    """

    def __init__(self, *, repo: str = "", experiment: str = "") -> None:
        self._aim = _imported("aim", "aim", "aim")
        self._repo, self._experiment = repo or ".", experiment

    def on_run_start(self, run: RunStart) -> str:
        if "://" not in self._repo:
            Path(self._repo).mkdir(parents=True, exist_ok=True)
        try:
            self._run = self._open(run_hash=run.id)
        except self._aim.sdk.errors.MissingRunError:
            self._run = self._open()
        self._run.experiment = self._experiment or run.study or PROJECT
        self._run.name = run.name
        for name, value in run.config.items():
            self._run[name] = value
        return str(self._run.hash)

    def _open(self, **chosen: str | None) -> Any:
        quiet = {"system_tracking_interval": None, "capture_terminal_logs": False}
        return self._aim.Run(repo=self._repo, **quiet, **chosen)

    def on_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            figure, part = _placed(name)
            self._run.track(value, name=figure, step=epoch, epoch=epoch, context={"subset": part} if part else {})

    def on_finish(self, end: RunEnd) -> None:
        for name, value in end.test.items():
            self._run.track(value, name=name, step=end.best_epoch, epoch=end.best_epoch, context={"subset": "test"})
        self._run["best_epoch"], self._run["ending"] = end.best_epoch, end.reason or end.ending
        for path in end.artefacts:
            made = self._aim.Image(str(path)) if path.suffix == ".png" else self._aim.Text(path.read_text("utf-8"))
            self._run.track(made, name=path.name)
        self._run.close()


def _stored(end: RunEnd, *, weights: bool) -> tuple[Path, ...]:
    return (*end.artefacts, end.weights) if weights and end.weights is not None else end.artefacts


@hookimpl
def register_trackers(register: Register) -> None:
    register("tensorboard", TensorBoard)
    register("mlflow", MLflow)
    register("wandb", WandB)
    register("aim", Aim)
