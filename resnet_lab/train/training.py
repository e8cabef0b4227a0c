"""A whole training, from images to a run folder, started or resumed."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from resnet_lab.core.errors import RunError
from resnet_lab.core.files import refuse_existing, refuse_unwritable_folder
from resnet_lab.core.processor import allowed_cores
from resnet_lab.core.run_folder import Run
from resnet_lab.core.wording import shell_word
from resnet_lab.data.config import DataConfig
from resnet_lab.data.split import to_csv
from resnet_lab.device.processes import Processes
from resnet_lab.device.threads import using_threads
from resnet_lab.network.plugins import Registry, default_registry
from resnet_lab.network.spec import ModelSpec
from resnet_lab.train.config import TrainConfig
from resnet_lab.train.find_lr import RangeTest, find_learning_rate
from resnet_lab.train.preparation import make_ready
from resnet_lab.train.progress import TrainingWatcher
from resnet_lab.train.record import (
    describe_run,
    recorded_choices,
    require_plugins,
    require_same_data,
    require_same_kernels,
)
from resnet_lab.train.tracking import UNTRACKED, Track
from resnet_lab.train.trainer import Trainer, TrainResult


def train(
    spec: ModelSpec,
    data: DataConfig | str,
    config: TrainConfig | None = None,
    *,
    folder: str | Path,
    registry: Registry | None = None,
    command: Sequence[str] = (),
    watcher: TrainingWatcher | None = None,
    processes: Processes | None = None,
    curves: bool = True,
    track: Track = UNTRACKED,
) -> TrainResult:
    """Train a network on a source of images and score its best epoch on the test part, once.

    Args:
        spec: the network; its classes are set to those of the source.
        data: the source of images and their preparation; a text is the source alone.
        folder: where to put the run; it must not exist.
        command: what the user typed, for the record.
        processes: those that train together, each of which has to call this; by default this one is alone.
        curves: whether curves.png is drawn, which takes about a second; `metrics.csv` has the same figures.
        track: trackers of the training, such as `Track.parse(["mlflow"])`.

    Raises:
        ResNetLabError: anything that is wrong with the input is found before the folder is made.
        Interrupted: SIGINT or SIGTERM came; `resume` continues it.
    """
    config, watcher, registry = config or TrainConfig(), watcher or TrainingWatcher(), registry or default_registry()
    data = DataConfig(source=data) if isinstance(data, str) else data
    processes = processes or Processes(device=config.device)
    processes.from_first(lambda: _require_new(Path(folder)))
    processes.from_first(lambda: track.require_made(registry))
    if config.threads is not None and config.threads > (cores := allowed_cores()):
        watcher.say(f"{config.threads} threads for {cores} cores wait for each other, which can be many times slower")
    with using_threads(config.threads):
        ready = make_ready(spec, data, config, registry, watcher, processes)
        record = describe_run(ready, data, command, processes, registry)
        run = Run(Path(folder))
        content = {"status": "running", **record}
        processes.from_first(lambda: run.create(content, to_csv(ready.data.images, ready.data.part_column)))
        return Trainer(run, record, ready, registry, watcher, processes, draws=curves, track=track).carry_out()


def _require_new(folder: Path) -> None:
    """Raise `RunError` where a run folder is there already, or cannot be made."""
    refuse_existing(folder)
    refuse_unwritable_folder(folder)


def resume(
    folder: str | Path,
    *,
    registry: Registry | None = None,
    watcher: TrainingWatcher | None = None,
    processes: Processes | None = None,
    curves: bool = True,
    track: Track = UNTRACKED,
) -> TrainResult:
    """Resume a training that was interrupted or killed, to the same weights as if it had not been.

    It is tracked only where `track` says so, by the same runs of its trackers as before.

    Raises:
        RunError: not a run folder, one that another process trains in, one whose data have changed, one that is
            finished, or one whose state is missing.
        PluginError: a plugin of the network is missing or of another version.
        ResNetLabError, Interrupted: as `train`.
    """
    watcher, registry = watcher or TrainingWatcher(), registry or default_registry()
    run = Run.open(Path(folder))
    record = run.read()
    if record.get("status") == "finished":
        raise RunError(f"{run.folder}: this training is finished; `resnet-lab eval {shell_word(run.folder)}` scores it")
    spec, data, config = recorded_choices(run)
    if run.metrics.exists() and not run.state.exists():
        raise RunError(
            f"{run.folder}: epochs are finished (there is {run.metrics.name}), and the state to resume from "
            f"({run.state.name}) is missing; restore the run folder, or start a new run with --weights {run.folder}"
        )
    require_plugins(record, registry, str(run.folder))
    processes = processes or Processes(device=config.device)
    processes.from_first(lambda: track.require_made(registry))
    threads = record["device"].get("threads")
    if threads is not None and threads > (cores := allowed_cores()):
        watcher.say(f"{threads} threads as at the start, for the same bits; with {cores} cores it takes longer")
    with using_threads(threads):
        check = partial(require_same_data, record, run)
        ready = make_ready(spec, data, config, registry, watcher, processes, check)
        require_same_kernels(record, ready.placement, str(run.folder))
        return Trainer(run, record, ready, registry, watcher, processes, draws=curves, track=track).carry_out()


def find_rate(
    spec: ModelSpec,
    data: DataConfig,
    config: TrainConfig,
    *,
    registry: Registry | None = None,
    watcher: TrainingWatcher | None = None,
) -> RangeTest:
    """The learning-rate range test on the training part; writes nothing. Raises `ResNetLabError` like `train`."""
    registry, watcher = registry or default_registry(), watcher or TrainingWatcher()
    config = config.model_copy(update={"compile": "off", "progressive_size": ()})
    with using_threads(config.threads):
        ready = make_ready(spec, data, config, registry, watcher, Processes(device=config.device))
        network = ready.placement.place(ready.network)
        return find_learning_rate(network, ready.batches["train"], ready.config, ready.placement, watcher)
