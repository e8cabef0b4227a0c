"""`resnet-lab train`."""

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from resnet_lab.cli import options, output, train_options
from resnet_lab.cli.components import NONE, Components, takes_components
from resnet_lab.cli.root import app
from resnet_lab.core.errors import ConfigError

if TYPE_CHECKING:
    from resnet_lab.data.config import DataConfig
    from resnet_lab.device.processes import Processes
    from resnet_lab.network.plugins import Registry
    from resnet_lab.network.spec import ModelSpec
    from resnet_lab.train.config import TrainConfig
    from resnet_lab.train.trainer import Result
    from resnet_lab.train.watching import TrainingWatcher

DEFAULT_ON_DIGITS = {"model": "resnet20", "input_size": 16}


@app.command(
    epilog="Example: `resnet-lab train --data paintings/ --depth 18 --size 128 --attn cbam --augment flip --epochs 30`"
)
@takes_components
def train(
    data: train_options.Data = None,
    fit: options.Fit = None,
    cache: train_options.Cache = None,
    strict: options.Strict = None,
    near_copies: options.NearCopies = None,
    split_file: options.SplitFile = None,
    folds: options.Folds = None,
    fold: options.Fold = None,
    download: options.Download = None,
    recipe: train_options.Recipe = None,
    config: train_options.Config = None,
    settings: train_options.Set = None,
    model: options.Model = None,
    depth: options.Depth = None,
    spec: options.SpecFile = None,
    components: Components = NONE,
    dropout: options.Dropout = None,
    head_dropout: options.HeadDropout = None,
    size: options.Size = None,
    epochs: train_options.Epochs = None,
    batch_size: train_options.BatchSize = None,
    accumulate: train_options.Accumulate = None,
    optimizer: train_options.Optimizer = None,
    lr: train_options.Lr = None,
    weight_decay: train_options.WeightDecay = None,
    schedule: train_options.Schedule = None,
    decay: train_options.Decay = None,
    warmup_epochs: train_options.WarmupEpochs = None,
    clip_norm: train_options.ClipNorm = None,
    label_smoothing: train_options.LabelSmoothing = None,
    ema: train_options.Ema = None,
    patience: train_options.Patience = None,
    augment: train_options.Augment = None,
    balance: train_options.Balance = None,
    zero_init_residual: train_options.ZeroInitResidual = None,
    weights: train_options.Weights = None,
    depthwise_from_dense: train_options.DepthwiseFromDense = None,
    freeze: train_options.Freeze = None,
    cache_frozen: train_options.CacheFrozen = None,
    seed: train_options.Seed = None,
    device: options.Device = None,
    precision: options.Precision = None,
    compiled: options.Compile = None,
    channels_last: options.ChannelsLast = None,
    deterministic: train_options.Deterministic = None,
    sync_batch_norm: train_options.SyncBatchNorm = None,
    save_minutes: train_options.SaveMinutes = None,
    tensorboard: train_options.Tensorboard = False,
    find_lr: train_options.FindLr = False,
    resumed: train_options.Resume = None,
    out: train_options.Out = None,
    no_plugin: options.NoPlugin = None,
    plugin: options.Plugin = None,
    json: options.JSON = False,
) -> None:
    """Train a network on images and score its best epoch on the test part.

    Without options it trains a ResNet-20 on scikit-learn's 1,797 handwritten digits. The data are split 80/10/10 in
    every class; the epoch with the best validation macro-averaged accuracy is tested, once.
    """
    given_data = options.given({
        "source": data, "fit": fit, "cache": cache, "strict": strict, "near_copies": near_copies,
        "split_file": split_file, "folds": folds, "fold": fold,
    })  # fmt: skip
    given_train = options.given({
        "epochs": epochs, "batch_size": _number(batch_size), "accumulate": accumulate, "optimizer": optimizer,
        "lr": lr, "weight_decay": weight_decay, "schedule": schedule, "decay": decay, "warmup_epochs": warmup_epochs,
        "clip_norm": clip_norm, "label_smoothing": label_smoothing, "ema": ema, "patience": patience,
        "augment": _listed(augment), "balance": balance, "zero_init_residual": zero_init_residual,
        "weights": weights, "depthwise_from_dense": depthwise_from_dense, "freeze": _stages(freeze),
        "cache_frozen": cache_frozen, "seed": seed, "device": device, "precision": precision, "compile": compiled,
        "channels_last": channels_last, "deterministic": deterministic, "sync_batch_norm": sync_batch_norm,
        "save_minutes": save_minutes,
    })  # fmt: skip
    given_network = options.given({
        **components, "dropout": dropout, "head_dropout": head_dropout, "input_size": size,
    })  # fmt: skip

    if resumed is not None:
        elsewhere = options.given({"--recipe": recipe, "--config": config, "--set": settings, "--model": model,
                                   "--depth": depth, "--spec": spec, "--out": out})  # fmt: skip
        _resume(resumed, elsewhere, (given_network, given_data, given_train), no_plugin, tensorboard, json)
        return

    from resnet_lab.recipes import read_recipe
    from resnet_lab.recipes.settings import apply_settings
    from resnet_lab.train.config import data_config, train_config

    if recipe is not None and config is not None:
        raise ConfigError("--recipe and --config each say how to train; give one of them, and change it with --set")
    written = recipe or config
    where = "train" if written is None else str(written)
    tables = apply_settings({} if written is None else read_recipe(where).tables, settings or ())
    learning = train_config({**tables.get("train", {}), **given_train}, where)
    images = data_config({**tables.get("data", {}), **given_data}, "data" if written is None else where)
    network = options.choose_network(
        given_network, model=model, depth=depth, spec_file=spec, table=tables.get("model"), where=where,
        default=DEFAULT_ON_DIGITS if images.source == "digits" else options.DEFAULT_NETWORK,
    )  # fmt: skip
    if find_lr:
        _find_learning_rate(network, images, learning, out or Path("learning-rates.png"), no_plugin, json)
        return

    def work(folder: Path, again: bool, **told: Any) -> "Result":
        from resnet_lab.train import training

        if again:
            return training.resume(folder, **told)
        return training.train(network, images, learning, folder=folder, command=sys.argv, **told)

    _carry_out(work, out or _default_folder(network.name), learning.device, no_plugin, tensorboard, json)


def _resume(
    folder: Path,
    elsewhere: Mapping[str, Any],
    beside: tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]],
    no_plugin: list[str] | None,
    tensorboard: bool,
    json: bool,
) -> None:
    from resnet_lab.core.run_folder import Run
    from resnet_lab.network.plugins import require_files
    from resnet_lab.train.record import recorded_choices

    if elsewhere:
        raise ConfigError(f"{next(iter(elsewhere))} cannot be given with --resume, which goes on as the run began")
    run = Run.open(folder)
    spec, images, learning = recorded_choices(run)
    _require_as_begun(folder, (spec, images, learning), *beside)

    def work(folder: Path, again: bool, registry: "Registry", **told: Any) -> "Result":
        from resnet_lab.train import training

        require_files(run.read().get("plugin_files", ()), registry, str(folder))
        return training.resume(folder, registry=registry, **told)

    _carry_out(work, folder, learning.device, no_plugin, tensorboard, json)


def _carry_out(
    work: Callable[..., "Result"],
    proposed: Path,
    device: str,
    no_plugin: list[str] | None,
    tensorboard: bool,
    json: bool,
) -> None:
    """Call `work` in all processes, show the first one's screen, and print what came of it."""
    from resnet_lab.device.processes import begin
    from resnet_lab.train.interruption import Interrupted

    with begin(device) as processes:
        folder, again = processes.run_folder(proposed)
        registry = options.load_registry(no_plugin)
        try:
            with _watching(processes, folder, tensorboard) as watcher:
                result = work(folder, again, registry=registry, watcher=watcher, processes=processes)
        except Interrupted as error:
            if processes.is_first:
                output.remark(f"{error}; go on with `resnet-lab train --resume {folder}`")
            raise typer.Exit(128 + error.signal) from None
    if not processes.is_first:
        return
    if json:
        output.print_json({"run": str(result.run), "best_epoch": result.best_epoch, "test": result.test.headline()})
        return
    from resnet_lab.cli.scores import print_scores

    print_scores(result.test, f"test part, weights of epoch {result.best_epoch}")
    output.line(f"run folder: {result.run}")


def _watching(processes: "Processes", folder: Path, tensorboard: bool) -> AbstractContextManager["TrainingWatcher"]:
    from resnet_lab.cli.progress import Screen
    from resnet_lab.train.tensorboard import TensorBoard
    from resnet_lab.train.watching import TrainingWatcher

    if not processes.is_first:
        return nullcontext(TrainingWatcher())
    return Screen(TensorBoard(folder / "tensorboard") if tensorboard else None)


def _find_learning_rate(
    network: "ModelSpec",
    images: "DataConfig",
    learning: "TrainConfig",
    plot: Path,
    no_plugin: list[str] | None,
    json: bool,
) -> None:
    from resnet_lab.cli.progress import Screen
    from resnet_lab.core.files import refuse_existing, write_new
    from resnet_lab.train.curves import draw_range_test
    from resnet_lab.train.training import find_rate

    if "TORCHELASTIC_RUN_ID" in os.environ:
        raise ConfigError("--find-lr is for one process; start it without torchrun")
    refuse_existing(plot)
    registry = options.load_registry(no_plugin)
    with Screen() as screen:
        found = find_rate(network, images, learning, registry=registry, watcher=screen)
    title = f"range test of {network.name} on {Path(images.source).name}"
    write_new(plot, draw_range_test(found, title))
    if json:
        told = {"suggestion": found.suggestion, "plot": str(plot), "rates": found.rates, "losses": found.losses}
        output.print_json(told)
        return
    output.line(f"suggested: --lr {found.suggestion:.1e} (a tenth of the rate at which the smoothed loss is lowest)")
    output.line(f"plot: {plot}")


def _require_as_begun(
    folder: Path,
    begun: "tuple[ModelSpec, DataConfig, TrainConfig]",
    network: Mapping[str, Any],
    data: Mapping[str, Any],
    train: Mapping[str, Any],
) -> None:
    """What is asked for beside `--resume` must be what the run was told when it began."""
    from resnet_lab.train.config import data_config, train_config

    spec, images, learning = begun
    changed = [("network", spec.name, "another")] if network and spec.modified(**network) != spec else []
    for values, was, now in (
        (data, images, data_config({**images.model_dump(), **data}, "--resume")),
        (train, learning, train_config({**learning.model_dump(), **train}, "--resume")),
    ):
        changed += [(name, getattr(was, name), getattr(now, name)) for name in values]
    for name, before, after in changed:
        if before != after:
            raise ConfigError(
                f"{folder} was begun with {name} {before}, and {after} is asked for; leave that out, or start a new "
                f"run with --weights {folder}"
            )


def _number(text: str | None) -> int | str | None:
    return int(text) if text is not None and text.isdecimal() else text


def _listed(text: str | None) -> tuple[str, ...] | None:
    from resnet_lab.network.component import listed

    return None if text is None else tuple(name for name in listed(text) if name not in ("", "none"))


def _stages(text: str | None) -> tuple[str, ...] | None:
    from resnet_lab.train.freezing import parse_freeze

    return None if text is None else parse_freeze(text)


def _default_folder(name: str) -> Path:
    from datetime import datetime

    stem = f"runs/{datetime.now():%Y%m%d-%H%M%S}-{name}"
    folder, number = Path(stem), 2
    while folder.exists():  # two runs begun in the same second
        folder, number = Path(f"{stem}-{number}"), number + 1
    return folder
