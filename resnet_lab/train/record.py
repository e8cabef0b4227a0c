"""Record of a run in run.json, and whether the run can be resumed."""

import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from os.path import realpath
from typing import Any

import numpy as np

from resnet_lab.core.errors import ConfigError, PluginError, RunError
from resnet_lab.core.run_folder import Run
from resnet_lab.core.wording import shell_word
from resnet_lab.data.config import DataConfig
from resnet_lab.data.preparation import Prepared
from resnet_lab.data.split import PARTS
from resnet_lab.device import Placement
from resnet_lab.device.processes import Processes
from resnet_lab.evaluation.opened_run import recorded_spec
from resnet_lab.network.plugins import Registry, is_file, warn_of_other_sources, why_missing
from resnet_lab.network.spec import ModelSpec
from resnet_lab.train.config import TrainConfig, data_config, train_config
from resnet_lab.train.optimisation import packages_of
from resnet_lab.train.preparation import Ready


def describe_run(
    ready: Ready,
    data: DataConfig,
    command: Sequence[str],
    processes: Processes,
    registry: Registry,
) -> dict[str, Any]:
    """Enough to repeat the run, as JSON."""
    prepared, metadata = ready.data, ready.metadata
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": list(command),
        "config": ready.config.model_dump(mode="json"),
        "spec": metadata.spec.model_dump(mode="json"),
        "spec_hash": metadata.spec.hash,
        "data": {
            **data.model_dump(mode="json"),
            "source": prepared.images.name,
            "fingerprint": prepared.fingerprint,
            "images": {part: int(np.sum(prepared.parts == part)) for part in PARTS},
            "bad": [{"path": path, "cause": cause} for path, cause in prepared.bad],
            "copies": len(prepared.copies),
            "classes": list(metadata.classes),
            "mean": metadata.mean,
            "std": metadata.std,
        },
        "weights": None if ready.coverage is None else ready.coverage.model_dump(mode="json"),
        "plugins": metadata.plugins,
        "plugin_sources": metadata.plugin_sources,
        "plugin_files": registry.files(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("resnet-lab", "torch", "torchvision", "numpy", "pillow")},
            **{name: version(name) for name in packages_of(ready.config)},
        },
        "device": {**ready.placement.record(), "processes": processes.world_size},
    }


def recorded_choices(run: Run) -> tuple[ModelSpec, DataConfig, TrainConfig]:
    """Recorded choices of the run, its parts as they were drawn.

    Raises:
        RunError: run.json is damaged, or of a version with other settings.
    """
    spec, data, config = begun_with(run)
    return spec, data.model_copy(update={"split_file": run.splits, "folds": None}), config


def begun_with(run: Run) -> tuple[ModelSpec, DataConfig, TrainConfig]:
    """Choices that the run was started with; raises like `recorded_choices`."""
    record, where = run.read(), str(run.record)
    if record.get("status") == "imported":
        raise RunError(
            f"{run.folder} holds imported weights, which no training here made; start one from them with "
            f"`resnet-lab train --weights {shell_word(run.folder)}`"
        )
    try:
        known = {"near_copies": DataConfig().near_copies, **record["data"]}  # which older records do not have
        data = {name: known[name] for name in DataConfig.model_fields if name != "download"}
        return (
            recorded_spec(run, record),
            data_config(data, where),
            train_config(_tuples(record["config"]), where),
        )
    except KeyError as error:
        raise RunError(
            f"{where}: damaged: it has no {error}; the run's weights can still be used by their path"
        ) from None


def require_as_begun(
    run: Run, spec: ModelSpec | None, data: Mapping[str, Any], train: Mapping[str, Any], where: str = "--resume"
) -> None:
    """Raise `ConfigError` where what is asked for is not what the run was started with.

    Args:
        spec: the network that is asked for, with any number of classes; None for that of the run.
        data, train: values that are asked for; others are those of the run.
        where: whatever asks, for errors.
    """
    begun, images, learning = begun_with(run)
    changed: list[tuple[str, Any, Any]] = []
    for values, was, now in (
        (data, images, data_config({**images.model_dump(), **data}, where)),
        (train, learning, train_config({**learning.model_dump(), **train}, where)),
    ):
        changed += [(name, getattr(was, name), getattr(now, name)) for name in values]
    if spec is not None and spec.modified(num_classes=begun.head.num_classes) != begun:
        changed.append(("network", begun.name, "another"))
    for name, before, after in changed:
        if before != after and not (name == "source" and before == realpath(after)):
            raise ConfigError(
                f"{run.folder} was started with {name} {before}, and {after} is asked for; leave that out, or start a "
                f"new run with --weights {run.folder}"
            )


def require_plugins(record: Mapping[str, Any], registry: Registry, where: str) -> None:
    """Raise `PluginError` where a plugin that the network needs is missing or of another version.

    Where it is of the same version and another source, as a file that was edited always is, that is warned of.
    """
    loaded = {
        plugin.owner.distribution: plugin.owner.version for plugin in registry.plugins if plugin.status == "loaded"
    }
    for distribution, needed in record["plugins"].items():
        if distribution in loaded and (loaded[distribution] == needed or is_file(distribution)):
            continue
        if distribution in loaded:
            state = f"{loaded[distribution]} is installed; pip install {distribution}=={needed}"
        else:
            state = why_missing(distribution, needed, registry)
        raise PluginError(f"the run was made with {distribution} {needed}, and {state}")
    warn_of_other_sources(record.get("plugin_sources") or {}, registry, where)


def require_same_kernels(record: Mapping[str, Any], placement: Placement, where: str) -> None:
    """Raise `PluginError` where a run that resumes on a device of the same type has other kernels there than before."""
    was = record["device"]
    then, now = tuple(was.get("kernels") or ()), placement.kernels
    if was["type"] == placement.device.type and then != now:
        raise PluginError(
            f"{where}: it was trained with {_kernels(then)}, and now there are {_kernels(now)}, so that it would not "
            "resume bit for bit; install the same plugins, or leave one out with --no-plugin"
        )


def _kernels(names: Sequence[str]) -> str:
    return f"kernels of {', '.join(names)}" if names else "no kernels of plugins"


def require_same_data(record: Mapping[str, Any], run: Run, prepared: Prepared) -> None:
    """Raise `RunError` where the images are no longer those that the run began with."""
    was = record["data"]
    if was["fingerprint"] == prepared.fingerprint:
        return
    then, now = sum(was["images"][part] for part in PARTS), int(prepared.usable.sum())
    difference = f"{then} images then, {now} now" if then != now else f"{now} images as then, but not the same ones"
    raise RunError(
        f"{run.folder} cannot be resumed: {was['source']} has changed since ({difference}); "
        "restore the images, or start a new run"
    )


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
