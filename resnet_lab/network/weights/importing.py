"""A run folder of weights that no training here made."""

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from resnet_lab.core.files import write_atomically
from resnet_lab.core.run_folder import Run
from resnet_lab.network import checkpoint
from resnet_lab.network.plugins import Registry
from resnet_lab.network.weights.adopting import Adopted


def write_run(adopted: Adopted, folder: Path, registry: Registry, command: Sequence[str] = ()) -> Run:
    """Write a run folder whose best weights are these; raises `RunError` where it cannot be made."""
    metadata = adopted.metadata
    run = Run(folder)
    content = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": list(command),
        "status": "imported",
        "spec": metadata.spec.model_dump(mode="json"),
        "spec_hash": metadata.spec.hash,
        "data": {
            "source": "",
            "cache": "auto",
            "classes": list(metadata.classes),
            "mean": metadata.mean,
            "std": metadata.std,
        },
        "weights": adopted.coverage.model_dump(mode="json"),
        "plugins": metadata.plugins,
        "plugin_sources": metadata.plugin_sources,
        "plugin_files": registry.files(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("resnet-lab", "torch", "torchvision", "numpy", "pillow")},
        },
    }
    run.create(content, b"path,label,split\n")
    write_atomically(run.metrics, b"epoch\n")
    checkpoint.write(run.best, adopted.model, metadata)
    return run
