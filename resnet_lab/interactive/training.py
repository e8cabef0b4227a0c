"""`resnet_lab.train`."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT
from typing import Any

from resnet_lab.cli.options import DEFAULT_NETWORK, NamedNetwork, stage_numbers
from resnet_lab.cli.train import DEFAULT_ON_DIGITS
from resnet_lab.core.errors import ConfigError
from resnet_lab.core.run_folder import Run as RunFolder
from resnet_lab.core.run_folder import default_folder
from resnet_lab.data.config import DataConfig
from resnet_lab.interactive.progress import watching_training
from resnet_lab.interactive.results import Run
from resnet_lab.interactive.settings import call, settings_of
from resnet_lab.network.plugins import Registry, default_registry, require_files
from resnet_lab.network.spec import ModelSpec
from resnet_lab.recipes.recipe import Tables, read_recipe
from resnet_lab.train import training
from resnet_lab.train.config import TrainConfig, data_config, train_config
from resnet_lab.train.free_threads import with_free_threads
from resnet_lab.train.interruption import Interrupted
from resnet_lab.train.progress import TrainingWatcher
from resnet_lab.train.record import require_as_begun
from resnet_lab.train.tracking import Track

HERE = "resnet_lab.train"


def train(
    data: str | Path | None = None,
    *,
    model: str | ModelSpec | None = None,
    depth: int | None = None,
    recipe: str | Path | None = None,
    out: str | Path | None = None,
    track: str | Sequence[str] = (),
    quiet: bool = False,
    **settings: Any,
) -> Run:
    """Train a network, as `resnet-lab train` does, and score its best epoch on the test part.

    Called again with the same `out`, it resumes a run that was interrupted or killed, bit for bit, and leaves a
    finished one as it is, so that a notebook that lost its machine is run once more from the top.

    Args:
        data: a folder of class folders, or any other source; `digits`, in the package, by default.
        model: a name of the zoo, or a specification; `depth=18` is short for `model="resnet18"`.
        recipe: name or file of a recipe, which the other arguments override.
        out: the run folder; `runs/<time>-<name>` by default.
        track: trackers, such as `"mlflow"`.
        quiet: whether to show no progress.
        settings: every other option of the command by the name of its field: `act="gelu"`, `attn="cbam@3,4"`,
            `size=96`, `epochs=30`, `batch_size=64`, `augment="flip,crop"`; see `TrainConfig` and `DataConfig`.

    Raises:
        ResNetLabError: as the command refuses; also a folder of a run that was started with other settings.
        KeyboardInterrupt: after the state of the last step is saved.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        raise ConfigError(f"{HERE} is for one process; start `resnet-lab train` with torchrun")
    named = {"data": data, "model": str(model.name) if isinstance(model, ModelSpec) else model, "depth": depth}
    experiment = _experiment(data, model, depth, recipe, settings)
    experiment.command = call("train", {**named, "recipe": recipe, **settings, "out": out})
    folder = default_folder("runs", experiment.spec.name) if out is None else Path(out)
    tracked = Track.parse([track] if isinstance(track, str) else track)
    with watching_training(quiet=quiet) as watcher:
        try:
            experiment.carry_out(folder, watcher, tracked)
        except Interrupted as error:
            watcher.say(f"{error}; call {HERE} again with out={str(folder)!r} to resume")
            if error.signal == SIGINT:
                raise KeyboardInterrupt from None
            raise
    return Run(folder)


@dataclass
class _Experiment:
    """A training that is asked for.

    Attributes:
        given: values of data and training that were asked for, by a recipe or the user.
        names_network: whether the network was asked for.
    """

    spec: ModelSpec
    images: DataConfig
    learning: TrainConfig
    given: Tables
    names_network: bool
    command: str = ""

    def carry_out(self, folder: Path, watcher: TrainingWatcher, track: Track) -> None:
        """Train in the folder, or resume what is there."""
        registry, run = default_registry(), RunFolder(folder)
        if run.record.is_file():
            self._resume(run, registry, watcher, track)
            return
        learning = with_free_threads(self.learning, watcher.say)
        training.train(
            self.spec, self.images, learning, folder=folder, registry=registry, command=(self.command,),
            watcher=watcher, track=track,
        )  # fmt: skip

    def _resume(self, run: RunFolder, registry: Registry, watcher: TrainingWatcher, track: Track) -> None:
        record = RunFolder.open(run.folder).read()
        spec = self.spec if self.names_network else None
        require_as_begun(run, spec, self.given["data"], self.given["train"], HERE)
        if record["status"] == "finished":
            watcher.say(f"{run.folder}: finished before, with the same settings")
            return
        require_files(record.get("plugin_files", ()), registry, str(run.folder))
        training.resume(run.folder, registry=registry, watcher=watcher, track=track)


def _experiment(
    data: str | Path | None,
    model: str | ModelSpec | None,
    depth: int | None,
    recipe: str | Path | None,
    settings: Mapping[str, Any],
) -> _Experiment:
    """Raises `ResNetLabError` where it cannot be."""
    asked = settings_of(train, settings, data)
    tables: Tables = {} if recipe is None else read_recipe(str(recipe)).tables
    where = HERE if recipe is None else str(recipe)
    given: Tables = {
        "data": {**tables.get("data", {}), **asked.data},
        "train": {**tables.get("train", {}), **asked.train},
    }
    images, learning = data_config(given["data"], where), train_config(given["train"], where)
    changes = _changes(asked.network)
    table = tables.get("model", {})
    if isinstance(model, ModelSpec):
        if depth is not None:
            raise ConfigError(f"{HERE}: model and depth each name a network; give one of them")
        spec = model.modified(**changes)
    else:
        default = DEFAULT_ON_DIGITS if images.source == "digits" else DEFAULT_NETWORK
        spec = NamedNetwork(model, depth).network(changes, table=table, where=where, default=default)
    names_network = bool(changes or table) or model is not None or depth is not None
    return _Experiment(spec, images, learning, given, names_network)


def _changes(given: Mapping[str, Any]) -> dict[str, Any]:
    """Changes as `ModelSpec.modified` takes them."""
    changes = {"input_size" if name == "size" else name: value for name, value in given.items()}
    if isinstance(changes.get("dilate"), str):
        changes["dilate"] = stage_numbers("dilate", changes["dilate"])
    return changes
