"""A run with its best weights and the images that it is evaluated on, each read once."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from resnet_lab.core.errors import RunError
from resnet_lab.core.images import ImageSet
from resnet_lab.core.records import repr_of
from resnet_lab.core.run_folder import Run
from resnet_lab.core.watcher import SILENT, Watcher
from resnet_lab.data.config import DataConfig
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.data.preparation import Decoded, decode_all
from resnet_lab.data.sources import open_images
from resnet_lab.evaluation.inference import image_format_of, load_for_images
from resnet_lab.network.checkpoint import Metadata
from resnet_lab.network.model import ResNet
from resnet_lab.network.plugins import Registry
from resnet_lab.network.spec import ModelSpec


def recorded_spec(run: Run, record: Mapping[str, Any]) -> ModelSpec:
    """The network that run.json describes; raises `RunError` where spec_hash is another's, and `SpecError`."""
    spec = ModelSpec.from_dict(record["spec"], str(run.record))
    if spec.hash != record["spec_hash"]:
        raise RunError(
            f"{run.record}: damaged: spec_hash should be {spec.hash}, the hash of its spec, got "
            f"{repr_of(record['spec_hash'])}; restore the run folder"
        )
    return spec


def require_of_run(metadata: Metadata, run: Run, record: Mapping[str, Any]) -> None:
    """Raise `RunError` where run.json does not describe the run's best weights, or names an epoch that there was not.

    Args:
        metadata: of the best weights.
    """
    data = record["data"]
    for what, recorded, own in (
        ("spec", recorded_spec(run, record), metadata.spec),
        ("classes", data["classes"], list(metadata.classes)),
        ("mean", data["mean"], list(metadata.mean)),
        ("std", data["std"], list(metadata.std)),
    ):
        if recorded != own:
            raise RunError(
                f"{run.record} and {run.best} differ in their {what}, so that one of them is of another training; "
                "restore the run folder"
            )
    best = record.get("best_epoch")
    if best is not None and run.metrics.exists() and best > (epochs := len(run.epochs())):
        raise RunError(
            f"{run.record}: damaged: best_epoch is {best}, and {run.metrics} has {epochs} epochs; "
            "restore the run folder"
        )


class Sources:
    """Sources of images: each is opened once, and decoded once in each format.

    Args:
        watcher: notified of each image that is decoded.
        fewest: classes that there have to be; to be scored, one is enough.
    """

    def __init__(self, registry: Registry, watcher: Watcher = SILENT, *, fewest: int = 1) -> None:
        self.registry, self.watcher, self._fewest = registry, watcher, fewest
        self._opened: dict[str, ImageSet] = {}
        self._decoded: dict[tuple[str, ImageFormat, str], Decoded] = {}

    def images(self, source: str) -> ImageSet:
        """The images of a source, by the text that names it or by its name; raises `DataError` like `open_images`."""
        if source not in self._opened:
            images = open_images(source, self.registry, fewest=self._fewest)
            self._opened[source] = self._opened.setdefault(images.name, images)
        return self._opened[source]

    def decoded(self, source: str, image_format: ImageFormat, cache: str) -> Decoded:
        """The same, decoded; `cache` is that of `DataConfig`. Raises `DataError` like `decode_all`."""
        images = self.images(source)
        key = (images.name, image_format, cache)
        if key not in self._decoded:
            config = DataConfig.model_validate({"source": source, "cache": cache})
            self._decoded[key] = decode_all(images, image_format, config, self.watcher)
        return self._decoded[key]


class OpenedRun:
    """A run folder, of which record and best weights are read once, on first use.

    Args:
        sources: shared by runs that are looked at together.

    Raises:
        RunError: not a run folder.
    """

    def __init__(self, folder: Path, sources: Sources) -> None:
        self.folder, self.sources, self.run = folder, sources, Run.open(folder)

    @cached_property
    def record(self) -> dict[str, Any]:
        """Content of run.json; raises `RunError` where it is damaged."""
        return self.run.read()

    @cached_property
    def network(self) -> tuple[Metadata, ResNet]:
        """The best weights.

        Raises:
            RunError: there are none, or they are not those of the training that run.json describes.
            CheckpointError: they are damaged.
        """
        self.run.require_weights()
        metadata, model = load_for_images(self.run.best, self.sources.registry)
        require_of_run(metadata, self.run, self.record)
        return metadata, model

    def forget_weights(self) -> None:
        """Free their memory; they are read again on their next use."""
        self.__dict__.pop("network", None)

    def decoded(self, source: str) -> Decoded:
        """A source's images as the network gets them; raises `DataError`."""
        return self.sources.decoded(source, image_format_of(self.network[0]), self.record["data"]["cache"])

    def own_images(self) -> Decoded:
        """The images of the training's source; a remark where they are others by now. Raises `DataError`."""
        recorded = self.record["data"]
        decoded = self.decoded(recorded["source"])
        if recorded.get("fingerprint") not in (None, decoded.fingerprint):
            self.sources.watcher.say(
                f"{self.folder}: images of {decoded.images.name} were added, removed or changed since the training"
            )
        return decoded
