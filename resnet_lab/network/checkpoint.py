"""Weights files: safetensors whose metadata have all that is needed to use them. Nothing is ever unpickled.

The metadata hold one entry, `resnet_lab`: JSON of a `Metadata`, with a SHA-256 over itself and every tensor.
"""

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from os.path import isdir
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn, uint8

from resnet_lab.core.choices import Fit
from resnet_lab.core.errors import CheckpointError, PluginError
from resnet_lab.core.files import write_atomically
from resnet_lab.core.records import (
    ClassNames,
    Entries,
    Finite,
    Malformed,
    Positive,
    Record,
    Tuple,
    parse_json,
    shortened,
    validated,
)
from resnet_lab.network.builder import assemble, components_of, plugins_needed, sources_needed
from resnet_lab.network.model import ResNet
from resnet_lab.network.plugins import Registry, default_registry, warn_of_other_sources, why_missing
from resnet_lab.network.spec import ModelSpec

FORMAT = 1
KEY = "resnet_lab"


class Metadata(Record):
    """Metadata of a weights file.

    Attributes:
        classes: class names in the order of the logits; empty where none were given.
        mean: of each input channel, on a scale of [0, 1]; images are normalised by (x - mean) / std.
        fit: how a picture was made square.
        depth: bits in use of pictures of 16 bits; None where there were none.
        resize: with `fit="crop"`, the shorter side before the middle was cut out; 0 cut out as much as there was.
        plugins: distributions or files that the network's components come from, with versions.
        plugin_sources: SHA-256 of the source of each; files of earlier versions have none.
        version: of resnet-lab when it was written.
    """

    format: int = FORMAT
    spec: ModelSpec
    classes: ClassNames = ()
    mean: Tuple[Finite] = ()
    std: Tuple[Positive] = ()
    fit: Fit = "squash"
    depth: Annotated[int, Field(ge=1, le=16)] | None = None
    resize: int = Field(default=0, ge=0, le=2**16)
    plugins: Entries[str] = Field(default_factory=dict)
    plugin_sources: Entries[str] = Field(default_factory=dict)
    version: str = Field(default_factory=lambda: version("resnet-lab"))

    @model_validator(mode="after")
    def _of_one_network(self) -> Self:
        wanted = {"mean": self.spec.in_channels, "std": self.spec.in_channels, "classes": self.spec.head.num_classes}
        for name, number in wanted.items():
            if (have := len(getattr(self, name))) not in (0, number):
                raise PydanticCustomError(
                    "length", "The network has {number} {of}, and {name} has {have}",
                    {"number": number, "of": "classes" if name == "classes" else "channels", "name": name,
                     "have": have},
                )  # fmt: skip
        if len(self.mean) != len(self.std):
            raise PydanticCustomError("length", "mean and std should both be there, or neither")
        return self


def save(
    path: str | Path,
    model: nn.Module,
    spec: ModelSpec,
    *,
    classes: tuple[str, ...] = (),
    mean: tuple[float, ...] = (),
    std: tuple[float, ...] = (),
    fit: Fit = "squash",
    registry: Registry | None = None,
) -> None:
    """Write the weights of `model`, which was built from `spec`; an existing file is replaced atomically.

    Raises:
        RunError: the file cannot be written.
        CheckpointError: classes, mean or std are not those of the network.
    """
    registry = registry or default_registry()
    described = {
        "spec": spec,
        "classes": classes,
        "mean": mean,
        "std": std,
        "fit": fit,
        "plugins": plugins_needed(spec, registry),
        "plugin_sources": sources_needed(spec, registry),
    }
    write(Path(path), model, validated(Metadata, described, str(path), CheckpointError))


def digest_of(model: nn.Module, metadata: Metadata) -> str:
    """SHA-256 of weights with their description, as a file of `write` has it within."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    return _digest(metadata.model_dump(mode="json"), tensors)


def write(path: Path, model: nn.Module, metadata: Metadata) -> None:
    """Write like `save`, with the metadata already made."""
    write_sealed(path, KEY, metadata.model_dump(mode="json"), model.state_dict())


def read(path: str | Path) -> tuple[Metadata, dict[str, Tensor]]:
    """Read a weights file's metadata and tensors, checked against the file's digest.

    Raises:
        CheckpointError: no such file, not a safetensors file, truncated, not one of ours, damaged, or too new.
    """
    path = Path(path)
    header, tensors = read_sealed(path, KEY, FORMAT, "weights")
    header["spec"] = ModelSpec.from_dict(header.get("spec"), str(path))
    return validated(Metadata, header, str(path), CheckpointError), tensors


def write_sealed(path: Path, key: str, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write tensors with a JSON description under `key`, and a digest over both; raises `RunError`."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    sealed = {**header, "digest": _digest(header, tensors)}
    write_atomically(path, to_safetensors(tensors, {key: json.dumps(sealed)}))


def read_sealed(path: Path, key: str, newest: int, what: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The description and tensors of a file that `write_sealed` wrote.

    Args:
        newest: format that this version reads.
        what: the file holds, for errors.

    Raises:
        CheckpointError: no such file, not a safetensors file, truncated, without `key`, damaged, or too new.
    """
    if isdir(path):
        raise CheckpointError(f"{path} is a folder, not a {what} file; name a .safetensors file in it")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(key)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot read the {what} file: {error.strerror or error}") from None
    except SafetensorError as error:
        raise CheckpointError(
            f"{path}: not a whole safetensors file ({shortened(str(error), 300)}); "
            "pickled .pth and .pt files are never opened here, and a truncated file must be copied again"
        ) from None
    if text is None:
        raise CheckpointError(f"{path}: a safetensors file, but not one of resnet-lab: it holds no network description")
    return _unsealed(text, tensors, newest, str(path), what), tensors


def load(path: str | Path, registry: Registry | None = None) -> ResNet:
    """The network of a weights file, in evaluation mode on the CPU; nothing but the file is needed.

    Raises:
        CheckpointError: as `read`, and where the tensors are not those of the network that the file describes.
        PluginError: the network needs a plugin that is not installed or failed to load.
    """
    metadata, tensors = read(path)
    return restore(metadata, tensors, str(path), registry)


def restore(metadata: Metadata, tensors: Mapping[str, Tensor], where: str, registry: Registry | None = None) -> ResNet:
    """The network of what `read` returned; raises like `load`."""
    registry = registry or default_registry()
    _require_plugins(metadata, registry, where)
    warn_of_other_sources(metadata.plugin_sources, registry, where)
    expected = assemble(metadata.spec, registry, device="meta").model.state_dict()
    for name in sorted(expected.keys() | tensors.keys()):
        want, have = (str(tuple(t[name].shape)) if name in t else "absent" for t in (expected, tensors))
        if want != have:
            raise CheckpointError(
                f"{where}: the weights are of another network than the file describes ({metadata.spec.name}): "
                f"{name} is {have}, expected {want}"
            )
    model = assemble(metadata.spec, registry).model  # of no more than the file has, now that the shapes are known
    model.load_state_dict(dict(tensors))
    return model.eval()


def _unsealed(text: str, tensors: Mapping[str, Tensor], newest: int, where: str, what: str) -> dict[str, Any]:
    damaged = f"{where}: the {what} file is damaged: its content does not match its checksum; copy it again"
    try:
        header: dict[str, Any] = parse_json(text, non_finite=True)
        written, digest = header.get("format"), header.pop("digest", None)
    except (Malformed, AttributeError):
        raise CheckpointError(damaged) from None
    if isinstance(written, int) and written > newest:
        raise CheckpointError(
            f"{where}: {what} format {written} is newer than this resnet-lab reads ({newest}); upgrade resnet-lab"
        )
    if digest != _digest(header, tensors):
        raise CheckpointError(damaged)
    return header


def _digest(metadata: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(uint8).numpy().data)
    return digest.hexdigest()


def _require_plugins(metadata: Metadata, registry: Registry, where: str) -> None:
    loaded = {plugin.owner.distribution for plugin in registry.plugins if plugin.status == "loaded"}
    unknown = sorted(components_of(metadata.spec) - registry.entries.keys())
    what = " and ".join(f"{kind} {name!r}" for kind, name in unknown)
    for distribution, written_with in metadata.plugins.items():
        if distribution in loaded:
            continue
        wanted = f"unknown {what}; it came from" if what else "the network needs"
        state = why_missing(distribution, written_with, registry)
        raise PluginError(f"{where}: {wanted} {distribution} {written_with}; {state}")
