"""Exported model: a trained network with all that its weights file, and its run folder, record about it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os.path import isdir
from pathlib import Path

from resnet_lab.core.errors import ResNetLabError
from resnet_lab.core.run_folder import Run
from resnet_lab.device.compiling import cause
from resnet_lab.evaluation.opened_run import require_of_run
from resnet_lab.network import checkpoint
from resnet_lab.network.checkpoint import Metadata
from resnet_lab.network.model import ResNet
from resnet_lab.network.plugins import Registry


class ExportError(ResNetLabError):
    """A network that a format cannot hold, a package that is missing, or a place that takes no network."""


@dataclass(frozen=True)
class ExportedModel:
    """A trained network.

    Attributes:
        weights: its weights file.
        model: in evaluation mode, in float32 on the CPU.
        run: the folder of the training, where it was named.
    """

    weights: Path
    metadata: Metadata
    model: ResNet
    registry: Registry
    run: Run | None = None

    @property
    def properties(self) -> dict[str, str]:
        """Properties that a reader of another program needs to use the network; lists are JSON."""
        metadata = self.metadata
        spec = metadata.spec
        known = {
            "network": spec.name,
            "spec_hash": spec.hash,
            "input_size": str(spec.input_size),
            "in_channels": str(spec.in_channels),
            "fit": metadata.fit,
            "resize": str(metadata.resize) if metadata.resize else "",
            "classes": json.dumps(metadata.classes) if metadata.classes else "",
            "mean": json.dumps(metadata.mean) if metadata.mean else "",
            "std": json.dumps(metadata.std) if metadata.std else "",
            "producer": f"resnet-lab {metadata.version}",
        }
        return {name: value for name, value in known.items() if value}

    @contextmanager
    def faults_of_plugins(self, target: str) -> Iterator[None]:
        """Whatever is raised in here by a network of plugins' parts is theirs to mend; one of our own parts is ours.

        Raises:
            ExportError: something was raised, and the network has parts of plugins.
        """
        try:
            yield
        except ResNetLabError:
            raise
        except Exception as error:
            if not self.metadata.plugins:
                raise
            parts = " and ".join(f"{name} {version}" for name, version in self.metadata.plugins.items())
            raise ExportError(
                f"{self.weights}: the network has parts of {parts} and cannot be exported to {target}: {cause(error)}"
            ) from error


def open_exported_model(path: Path, registry: Registry) -> ExportedModel:
    """A run folder with its best weights, or a weights file alone.

    Raises:
        RunError: a folder that is not a run's, one without weights yet, or one whose run.json is not of its weights.
        CheckpointError, PluginError: as `checkpoint.load`.
    """
    run = Run.open(path) if isdir(path) else None
    if run is not None:
        run.require_weights()
    weights = path if run is None else run.best
    metadata, tensors = checkpoint.read(weights)
    if run is not None:
        require_of_run(metadata, run, run.read())
    model = checkpoint.restore(metadata, tensors, str(weights), registry)
    return ExportedModel(weights, metadata, model, registry, run)
