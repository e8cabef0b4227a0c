"""One way in for all formats."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from resnet_lab.core.errors import ConfigError
from resnet_lab.core.watcher import SILENT, Watcher
from resnet_lab.device.agreement import OutputAgreement
from resnet_lab.device.onnx_graph import require_packages
from resnet_lab.export.card import model_card
from resnet_lab.export.drafts import draft
from resnet_lab.export.exported_model import ExportedModel, ExportError, open_exported_model
from resnet_lab.export.int8_file import write_int8
from resnet_lab.export.onnx_file import write_onnx
from resnet_lab.export.program import write_program
from resnet_lab.export.torchvision_weights import constructor_of, write_torchvision
from resnet_lab.network.plugins import Registry, default_registry

Format = Literal["onnx", "program", "torchvision", "card"]
FORMATS: tuple[Format, ...] = get_args(Format)

INT8 = "model.int8.onnx"
NAMES = {"onnx": "model.onnx", "program": "model.pt2", "torchvision": "torchvision.safetensors", "card": "README.md"}
"""File names in the run folder, unless others are asked for."""


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Attributes:
        size: in bytes.
        agreement: what the check found; None for a card, which computes nothing, and for int8, which computes
            something else: `facts["int8"]` has what accuracy that costs.
        facts: what else is to be known of it, such as torchvision's constructor.
    """

    format: Format
    path: Path
    size: int
    sha256: str
    agreement: OutputAgreement | None
    facts: Mapping[str, Any]


def export(
    weights: Path,
    format: Format,
    out: Path | None = None,
    *,
    force: bool = False,
    license: str | None = None,
    int8: bool = False,
    registry: Registry | None = None,
    watcher: Watcher = SILENT,
) -> Exported:
    """Write a trained network, or what is known of it, for others. A file takes its name once it is checked.

    Args:
        weights: a run folder, whose best weights are taken, or a weights file.
        out: the file to write; by default one in the run folder, or beside the weights file and named after it.
        force: whether an existing file is overwritten.
        license: of the network, for the card: an identifier such as `apache-2.0`.
        int8: whether an ONNX file is quantised, calibrated on the run's training images and scored on its validation
            part.

    Raises:
        RunError: the run folder has no weights, or the file is there already or cannot be written.
        CheckpointError, PluginError: the weights cannot be used.
        ExportError: the format cannot hold the network, a package is missing, or the file failed its check.
        ConfigError: a license for what has none, or int8 for what is not ONNX.
    """
    if license is not None and format != "card":
        raise ConfigError(f"a license belongs in the model card, not in {format}; leave it out, or export a card")
    if int8 and format != "onnx":
        raise ConfigError(f"int8 is for onnx, not for {format}; leave it out, or export to onnx")
    if format == "onnx":
        require_packages("the export to ONNX", ExportError)
    original = open_exported_model(weights, registry or default_registry())
    if format == "torchvision":
        constructor_of(original.metadata.spec, str(original.weights))
    path = out or _usual(original, INT8 if int8 else NAMES[format])

    def write_card(original: ExportedModel, path: Path) -> tuple[None, dict[str, Any]]:
        path.write_text(model_card(original, license=license), encoding="utf-8")
        return None, {}

    writers: dict[Format, Callable[[ExportedModel, Path], tuple[OutputAgreement | None, dict[str, Any]]]] = {
        "onnx": partial(write_int8, watcher=watcher) if int8 else write_onnx,
        "program": write_program,
        "torchvision": write_torchvision,
        "card": write_card,
    }
    with draft(path, force=force) as temporary:
        watcher.say(f"writing {path} from {original.weights}")
        agreement, facts = writers[format](original, temporary)
        size, digest = temporary.stat().st_size, digest_of(temporary)
    return Exported(format, path, size, digest, agreement, facts)


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _usual(original: ExportedModel, name: str) -> Path:
    if original.run is not None:
        return original.run.folder / name
    stem, end = name.split(".", 1)
    own = name if stem == "torchvision" else end
    return original.weights.with_name(f"{original.weights.stem}.{own}")
