"""`resnet-lab train`."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resnet_lab.cli import options, output
from resnet_lab.cli.bundles import command
from resnet_lab.cli.root import app
from resnet_lab.core.errors import ConfigError
from resnet_lab.core.option import LEARNING, OUTPUT
from resnet_lab.core.wording import shell_word

if TYPE_CHECKING:
    from resnet_lab.data.config import DataConfig
    from resnet_lab.device.processes import Processes
    from resnet_lab.network.plugins import Registry
    from resnet_lab.network.spec import ModelSpec
    from resnet_lab.train.config import TrainConfig
    from resnet_lab.train.progress import TrainingWatcher
    from resnet_lab.train.tracking import Track
    from resnet_lab.train.trainer import TrainResult

DEFAULT_ON_DIGITS = {"model": "resnet20", "input_size": 16}


@dataclass(frozen=True)
class Start:
    """Starting point of an experiment."""

    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe", metavar="NAME", help="Start from a recipe: see `resnet-lab recipes list`.", show_default=False
        ),
    ] = None
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", metavar="FILE", help="TOML with tables model, data and train; other options override it."
        ),
    ] = None
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any value of a recipe or configuration, such as train.decay_epochs=10. Repeatable.",
            show_default=False,
        ),
    ] = None


@command(
    app,
    epilog="Example: `resnet-lab train --data paintings/ --depth 18 --size 128 --attn cbam --augment flip --epochs 30`",
)
def train(
    *,
    data: options.Images,
    start: Start,
    network: options.Network,
    learning: options.Learning,
    track: options.Tracked = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Short for --track tensorboard.", rich_help_panel=OUTPUT)
    ] = False,
    find_lr: Annotated[
        bool,
        typer.Option(
            "--find-lr",
            help="Try rising learning rates instead, plot the losses, and suggest a rate; --out names the PNG.",
            rich_help_panel=LEARNING,
        ),
    ] = False,
    resumed: Annotated[
        Path | None, options.written("--resume", "RUN", "Resume an interrupted run with its own configuration.")
    ] = None,
    out: Annotated[
        Path | None,
        options.written("--out", "FOLDER", "The run folder; it must not exist.", "runs/<time>-<name>"),
    ] = None,
    no_plugin: options.NoPlugin = None,
    plugin: options.Plugin = None,
    json: options.JSON = False,
) -> None:
    """Train a network on images and score its best epoch on the test part.

    Without options it trains a ResNet-20 on 1,797 handwritten digits of 8x8 pixels. The data are split 80/10/10 in
    every class; the epoch with the best validation macro-averaged accuracy is tested, once.
    """
    from resnet_lab.train.tracking import Track

    tracked = Track.parse([*(track or ()), *(["tensorboard"] if tensorboard else [])])
    if resumed is not None:
        others = {
            "--recipe": start.recipe, "--config": start.config, "--set": start.settings, "--out": out,
            "--find-lr": find_lr or None,
        }  # fmt: skip
        elsewhere = [*options.given(others), *network.naming]
        _resume(resumed, elsewhere, (network.changes, data, learning), no_plugin, tracked, json)
        return

    from resnet_lab.core.run_folder import default_folder
    from resnet_lab.recipes.recipe import read_recipe
    from resnet_lab.recipes.settings import apply_settings
    from resnet_lab.train.config import data_config, train_config
    from resnet_lab.train.free_threads import with_free_threads

    if start.recipe is not None and start.config is not None:
        raise ConfigError("--recipe and --config each define the training; give one of them, and change it with --set")
    written = start.recipe or start.config
    where = "train" if written is None else str(written)
    tables = apply_settings({} if written is None else read_recipe(where).tables, start.settings or ())
    training = train_config({**tables.get("train", {}), **learning}, where)
    images = data_config({**tables.get("data", {}), **data}, "data" if written is None else where)
    spec = network.network(
        network.changes, table=tables.get("model"), where=where,
        default=DEFAULT_ON_DIGITS if images.source == "digits" else options.DEFAULT_NETWORK,
    )  # fmt: skip
    training = with_free_threads(training, output.remark)
    if find_lr:
        if tracked.trackers:
            raise ConfigError("--track is of a training, and --find-lr makes a plot alone; leave one of them out")
        _find_learning_rate(spec, images, training, out or Path("learning-rates.png"), no_plugin, json)
        return

    def work(folder: Path, again: bool, **keywords: Any) -> "TrainResult":
        from resnet_lab.train.training import resume, train

        if again:
            return resume(folder, **keywords)
        return train(spec, images, training, folder=folder, command=sys.argv, **keywords)

    _carry_out(work, out or default_folder("runs", spec.name), training.device, no_plugin, tracked, json)


def _resume(
    folder: Path,
    elsewhere: Sequence[str],
    beside: tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]],
    no_plugin: list[str] | None,
    track: "Track",
    json: bool,
) -> None:
    from resnet_lab.core.run_folder import Run
    from resnet_lab.network.plugins import require_files
    from resnet_lab.train.record import recorded_choices, require_as_begun
    from resnet_lab.train.tracking import read_told

    if elsewhere:
        raise ConfigError(f"{elsewhere[0]} cannot be combined with --resume, which keeps the run's configuration")
    run = Run.open(folder)
    if run.tracking.exists() and not track.trackers:
        output.remark(
            f"{folder} was tracked, by {', '.join(read_told(folder))}; it is no longer, unless --track says so"
        )
    spec, _, learning = recorded_choices(run)
    network, data, train = beside
    require_as_begun(run, spec.modified(**network) if network else None, data, train)

    def work(folder: Path, again: bool, registry: "Registry", **keywords: Any) -> "TrainResult":
        from resnet_lab.train import training

        require_files(run.read().get("plugin_files", ()), registry, str(folder))
        return training.resume(folder, registry=registry, **keywords)

    _carry_out(work, folder, learning.device, no_plugin, track, json)


def _carry_out(
    work: Callable[..., "TrainResult"],
    proposed: Path,
    device: str,
    no_plugin: list[str] | None,
    track: "Track",
    json: bool,
) -> None:
    """Call `work` in all processes, show rank 0's screen, and print the result."""
    from resnet_lab.device.processes import begin
    from resnet_lab.train.interruption import Interrupted

    with begin(device) as processes:
        folder, again = processes.run_folder(proposed)
        registry = options.load_registry(no_plugin)
        try:
            with _watching(processes) as watcher:
                result = work(folder, again, registry=registry, watcher=watcher, processes=processes, track=track)
        except Interrupted as error:
            if processes.is_first:
                output.remark(f"{error}; resume with `resnet-lab train --resume {shell_word(folder)}`")
            raise typer.Exit(128 + error.signal) from None
    if not processes.is_first:
        return
    if json:
        output.print_json({"run": str(result.run), "best_epoch": result.best_epoch, "test": result.test.headline()})
        return
    from resnet_lab.cli.scores import print_scores

    print_scores(result.test, f"test part, weights of epoch {result.best_epoch}")
    output.line(f"run folder: {result.run}")


def _watching(processes: "Processes") -> AbstractContextManager["TrainingWatcher"]:
    from resnet_lab.cli.progress import Screen
    from resnet_lab.train.progress import TrainingWatcher

    return Screen() if processes.is_first else nullcontext(TrainingWatcher())


def _find_learning_rate(
    network: "ModelSpec",
    images: "DataConfig",
    learning: "TrainConfig",
    plot: Path,
    no_plugin: list[str] | None,
    json: bool,
) -> None:
    from resnet_lab.cli.progress import Screen
    from resnet_lab.core.files import refuse_existing, refuse_unwritable, write_new
    from resnet_lab.train.curves import draw_range_test
    from resnet_lab.train.training import find_rate

    if "TORCHELASTIC_RUN_ID" in os.environ:
        raise ConfigError("--find-lr is for one process; start it without torchrun")
    refuse_existing(plot)
    refuse_unwritable(plot)
    registry = options.load_registry(no_plugin)
    with Screen() as screen:
        found = find_rate(network, images, learning, registry=registry, watcher=screen)
    title = f"range test of {network.name} on {Path(images.source).name}"
    write_new(plot, draw_range_test(found, title))
    if json:
        content = {"suggestion": found.suggestion, "plot": str(plot), "rates": found.rates, "losses": found.losses}
        output.print_json(content)
        return
    output.line(f"suggested: --lr {found.suggestion:.1e} (a tenth of the rate at which the smoothed loss is lowest)")
    output.line(f"plot: {plot}")
