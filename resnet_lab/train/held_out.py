"""Held-out predictions for every image: a training repeated over folds, each tested on the fold it did not see."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from resnet_lab.core.errors import RunError
from resnet_lab.core.files import make_folder
from resnet_lab.core.locks import claimed
from resnet_lab.core.run_folder import Run
from resnet_lab.data.config import DataConfig
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.evaluation.opened_run import Sources
from resnet_lab.evaluation.predictions import Predictions
from resnet_lab.evaluation.scoring import stored
from resnet_lab.network.plugins import Registry
from resnet_lab.network.spec import ModelSpec
from resnet_lab.train.config import TrainConfig
from resnet_lab.train.interruption import Interrupted
from resnet_lab.train.progress import TrainingWatcher
from resnet_lab.train.training import resume, train

OF_THE_MACHINE = {"device", "threads", "compile", "channels_last", "save_minutes", "keep_predictions"}
"""Settings that make no other experiment."""


def cross_validate(
    spec: ModelSpec,
    data: DataConfig,
    config: TrainConfig,
    folder: Path,
    registry: Registry,
    watcher: TrainingWatcher,
    *,
    folds: int = 5,
    repeats: int = 1,
) -> list[Predictions]:
    """Train a network once per fold, and give each training's predictions on its test fold.

    Trainings that are finished are read, one that was interrupted is resumed. Their folders' names have a hash of the
    network, the configuration, and the images with their labels: where one of these has changed, new ones are trained.

    Args:
        data: the source; its own split is left out.
        folder: to put the trainings' run folders into.
        folds: each image is in the test part of exactly one; copies of a picture are in the same one.
        repeats: of all folds, each with the next seed of initial weights, split and order.

    Raises:
        RunError: a finished training's predictions are gone; another process is training there.
        ResNetLabError, Interrupted: as `train`.
    """
    data = data.model_copy(update={"split_file": None, "folds": folds})
    config = config.model_copy(update={"keep_predictions": 0})
    image_format = ImageFormat(spec.input_size, spec.in_channels, data.fit)
    decoded = Sources(registry, watcher, fewest=2).decoded(data.source, image_format, data.cache)
    config = _with_two_steps(config, int(decoded.usable.sum()) * (folds - 2) // folds, watcher)
    name = _hash(spec, data, config, decoded.fingerprint)
    found = []
    with _alone_in(folder):
        for repeat, fold in ((repeat, fold) for repeat in range(repeats) for fold in range(folds)):
            of_repeats = f"repeat {repeat + 1} of {repeats}, " if repeats > 1 else ""
            what = f"{of_repeats}fold {fold + 1} of {folds}"
            here = Run(folder / f"{name}-repeat{repeat}-fold{fold}")
            choices = data.model_copy(update={"fold": fold}), _reseeded(config, repeat)
            if not _is_finished(here):
                watcher.say(f"{what}: {'resuming' if here.record.exists() else 'training'}")
                _bring_to_end(here, spec, *choices, registry, watcher)
            if (predictions := stored(here)) is None:
                raise RunError(
                    f"{here.folder}: its predictions are gone; remove the folder to have {what} trained again"
                )
            found.append(predictions)
    return found


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """The folder, made where it is missing; raises `RunError` where another process is in this context."""
    make_folder(folder)
    with claimed(folder / ".lock") as is_mine:
        if not is_mine:
            raise RunError(f"{folder}: another process is training there; wait until it has ended")
        yield


def _bring_to_end(
    run: Run, spec: ModelSpec, data: DataConfig, config: TrainConfig, registry: Registry, watcher: TrainingWatcher
) -> None:
    if run.record.exists():
        signal = resume(run.folder, registry=registry, watcher=watcher, curves=False).signal
    else:
        signal = train(spec, data, config, folder=run.folder, registry=registry, watcher=watcher, curves=False).signal
    if signal is not None:
        raise Interrupted(signal)


def _with_two_steps(config: TrainConfig, images: int, watcher: TrainingWatcher) -> TrainConfig:
    """A batch size of which a training part of so many images has two; a run's may have been trained on more."""
    most = max(1, images // 2)
    if config.batch_size == "auto" or config.batch_size <= most:
        return config
    watcher.say(f"batch size {most} instead of {config.batch_size}: about {images} images are left for training")
    return config.model_copy(update={"batch_size": most})


def _is_finished(run: Run) -> bool:
    return run.record.exists() and run.read().get("status") == "finished"


def _reseeded(config: TrainConfig, repeat: int) -> TrainConfig:
    seeds = {f"{what}_seed": config.seed_of(what) + repeat for what in ("init", "split", "order")}
    return config.model_copy(update=seeds)


def _hash(spec: ModelSpec, data: DataConfig, config: TrainConfig, fingerprint: str) -> str:
    """First 12 hexadecimal digits of a SHA-256 of all that the predictions depend on, but for repeat and fold."""
    content = {
        "spec": spec.hash,
        "data": data.model_dump(mode="json", exclude={"source", "cache", "strict", "fold", "download"}),
        "train": config.model_dump(mode="json", exclude=OF_THE_MACHINE),
        "images": fingerprint,
    }
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
