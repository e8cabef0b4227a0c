"""Sources of weights: torchvision, a file or a run folder. Nothing but tensors is ever unpickled."""

import pickle
import re
import sys
import warnings
from argparse import Namespace
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from http.client import HTTPException
from os.path import exists, isdir, isfile
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlparse

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from resnet_lab.core.choices import Fit
from resnet_lab.core.errors import CheckpointError, nearest
from resnet_lab.core.records import shortened
from resnet_lab.core.run_folder import Run
from resnet_lab.network import checkpoint, zoo
from resnet_lab.network.spec import Component, ModelSpec
from resnet_lab.network.weights.compatibility import relatives
from resnet_lab.network.weights.layouts import layout_of, with_stages

_SUFFIXES = frozenset({".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar"})
_WRAPPINGS = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model", "net")
"""Keys under which state dicts lie, averages of the weights first."""
_PREFIX = re.compile(r"(module|_orig_mod|model|backbone|encoder|encoder_q|base_encoder|resnet|net)\.")
"""Prefixes of DistributedDataParallel, torch.compile, and of what a network was part of."""


@dataclass(frozen=True)
class Weights:
    """Floating-point tensors by name, with what is known of them.

    Attributes:
        name: of the weights, for a reader.
        classes: names in the order of the logits; empty where not known.
        mean: of each input channel, on a scale of [0, 1]; None where not known.
        spec: the network that they are of; None where not known.
        layout: the public code base that names and shapes are those of, and `spec` therefore too; empty where none.
        size: of the images they were scored with, in pixels; 0 where not known.
        fit, resize: how a picture became square, as in a weights file's metadata.
        outputs: the names that each class may go by, in the order of the logits; empty where not known.
        taken: the key of the file under which they lie, and others that were not taken; empty where there is none.
    """

    name: str
    tensors: dict[str, Tensor]
    classes: tuple[str, ...] = ()
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    spec: ModelSpec | None = None
    layout: str = ""
    size: int = 0
    fit: Fit = "squash"
    resize: int = 0
    outputs: tuple[tuple[str, ...], ...] = ()
    taken: tuple[str, ...] = ()

    def network(self, spec: ModelSpec) -> ModelSpec:
        """`spec` with the zeros of its zero_pad shortcuts on the side of the weights' network, unless it sets it."""
        if self.spec is None:
            return spec
        plain = Component(name="zero_pad")
        stages = list(spec.stages)
        for index, (own, other) in enumerate(zip(spec.stages, self.spec.stages, strict=False)):
            if own.block.shortcut == plain and other.block.shortcut.name == plain.name:
                block = own.block.model_copy(update={"shortcut": other.block.shortcut})
                stages[index] = own.model_copy(update={"block": block})
        return spec.model_copy(update={"stages": tuple(stages)})


def open_weights(source: str, spec: ModelSpec) -> Weights:
    """The weights that `source` names, on the CPU; of torchvision's, those for the network that `spec` derives from.

    Raises:
        CheckpointError: no such weights, or not readable as tensors alone.
        RunError: a folder that is no run.
    """
    path, key = _file_and_key(source)
    if isdir(path):
        return _own(Run.open(path).best)
    if path.suffix == ".safetensors":
        return _safetensors(path, key)
    if exists(path) or path.suffix in _SUFFIXES or len(path.parts) > 1:
        return _foreign(source, _unpickled(path), key)
    return _of_torchvision(source, spec)


def _file_and_key(source: str) -> tuple[Path, str]:
    """The parts of `FILE:KEY`, if there is no file of the whole name."""
    file, colon, key = source.rpartition(":")
    if not colon or exists(source) or not (isfile(file) or Path(file).suffix in _SUFFIXES):
        return Path(source), ""
    return Path(file), key


def _own(path: Path) -> Weights:
    metadata, tensors = checkpoint.read(path)
    tensors = _tensors(tensors, str(path))
    return Weights(
        str(path),
        tensors,
        metadata.classes,
        metadata.mean or None,
        metadata.std or None,
        spec=metadata.spec,
        size=metadata.spec.input_size,
        fit=metadata.fit,
        resize=metadata.resize,
        outputs=tuple((name,) for name in metadata.classes),
    )


def _foreign(name: str, content: Any, key: str) -> Weights:
    """Weights that a file does not describe, except perhaps by the names of its tensors."""
    content, taken = _unwrapped(content, key, name)
    tensors = _tensors(content, name)
    layout = layout_of(tensors)
    if layout is None:
        return Weights(name, tensors, taken=taken)
    return Weights(
        name,
        tensors,
        mean=layout.mean,
        std=layout.std,
        spec=layout.spec,
        layout=layout.name,
        outputs=tuple((name,) for name in layout.classes),
        taken=taken,
    )


def _safetensors(path: Path, key: str) -> Weights:
    try:
        with safe_open(path, framework="pt") as file:
            if checkpoint.KEY in (file.metadata() or {}) and not key:
                return _own(path)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except OSError as error:
        raise _unreadable(path, error) from None
    except SafetensorError as error:
        raise CheckpointError(
            f"{path}: not a whole safetensors file ({shortened(str(error), 300)}); copy it again"
        ) from None
    return _foreign(f"{path}:{key}" if key else str(path), tensors, key)


def _unpickled(path: Path) -> Any:
    """Unpickle a .pth file of tensors, plain containers and the arguments of a training; nothing else in it is run."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise _unreadable(path, error) from None
    except ValueError as error:  # a NUL in the path
        raise CheckpointError(f"{path}: cannot be read: {error}") from None
    with file, warnings.catch_warnings(action="ignore"):  # they are about protocols of pickle
        try:
            with torch.serialization.safe_globals([Namespace]):  # torch sets its attributes and calls nothing of it
                return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # foreign bytes make torch.load fail in every way, from KeyError to struct.error
            raise _refused(path, error) from None


def _refused(path: Path, error: Exception) -> CheckpointError:
    code = re.search(r"GLOBAL ([\w.]+)", str(error))
    if code is None:
        return CheckpointError(
            f"{path}: not a whole file of tensors as torch.save writes it, and nothing in it was run; "
            "give a .safetensors file, or a .pth file of a state_dict"
        )
    return CheckpointError(
        f"{path}: asks for code to be run ({code[1]}) and is not tensors alone, so it was refused and nothing in it "
        "was run; where you trust it, save its state_dict alone: torch.save(model.state_dict(), ...)"
    )


def _unreadable(path: Path, error: OSError) -> CheckpointError:
    cause = "no such file" if isinstance(error, FileNotFoundError) else error.strerror or error
    return CheckpointError(f"{path}: the weights file cannot be read: {cause}")


def _unwrapped(content: Any, key: str, where: str) -> tuple[Any, tuple[str, ...]]:
    """The state dict in a file, and its key with those that were not taken.

    Args:
        key: of it, or what the names of its tensors begin with; where it is empty, a usual key.

    Raises:
        CheckpointError: there is no such key.
    """
    if not isinstance(content, Mapping):
        return content, ()
    tables = [name for name, value in content.items() if isinstance(name, str) and isinstance(value, Mapping)]
    usual = [name for name in _WRAPPINGS if name in tables]
    if not key:
        return (content[usual[0]], tuple(usual)) if usual else (content, ())
    if key in tables:
        return content[key], (key, *(name for name in usual if name != key))
    content = content[usual[0]] if usual else content
    under = {below: tensor for name, tensor in content.items() if (below := _below(str(name), key))}
    if not under:
        begins = dict.fromkeys(str(name).partition(".")[0] for name in content)
        known = ", ".join((*tables, *begins)[:8])
        raise CheckpointError(f"{where}: nothing in the file is under {key!r}; it has {known}")
    return under, (key,)


def _below(name: str, prefix: str) -> str:
    """Rest of a name after `prefix`, before which usual prefixes may occur; empty where it is not there."""
    while not name.startswith(f"{prefix}."):
        if not (usual := _PREFIX.match(name)):
            return ""
        name = name[usual.end() :]
    return name.removeprefix(f"{prefix}.")


def _bare(name: str) -> str:
    """A name without the usual prefixes, in whatever order they are."""
    while usual := _PREFIX.match(name):
        name = name[usual.end() :]
    return name


def _tensors(content: Any, where: str) -> dict[str, Tensor]:
    """The floating-point tensors of a state dict, whose names may have usual prefixes."""
    tensors: dict[str, Tensor] = {}
    origins: dict[str, str] = {}
    for name, tensor in content.items() if isinstance(content, Mapping) else ():
        if not isinstance(tensor, Tensor):
            continue
        if problem := _not_plain(str(name), tensor):
            raise CheckpointError(f"{where}: {name} {problem}")
        if not tensor.is_floating_point():
            continue
        bare = _bare(str(name))
        if bare in tensors:
            raise CheckpointError(
                f"{where}: {origins[bare]} and {name} are both {bare} of a network; choose one of the two by what "
                f"its names begin with, as in --weights FILE:{str(name).removesuffix(bare).rstrip('.') or 'KEY'}"
            )
        tensors[bare], origins[bare] = tensor, str(name)
    if not tensors:
        raise CheckpointError(
            f"{where}: holds no weights but {_described(content)}; "
            f"wanted are tensors by name, alone or under one of {', '.join(_WRAPPINGS)}"
        )
    return with_stages(tensors)


def _not_plain(name: str, tensor: Tensor) -> str:
    """Reason why a tensor's values are no plain numbers, with the remedy; empty where they are."""
    integers = name.endswith("weight") and not tensor.is_floating_point() and not tensor.is_complex()
    if tensor.is_quantized or integers:
        return f"is quantized ({tensor.dtype}); give the weights as they were before, in floating point"
    if tensor.layout != torch.strided:
        return f"is a sparse tensor ({tensor.layout}); save it with tensor.to_dense()"
    if tensor.is_floating_point() and tensor.itemsize == 1:
        return f"has 8 bits per value ({tensor.dtype}) and no scales; give the weights in float32, float16 or bfloat16"
    if tensor.is_complex():
        return f"is complex ({tensor.dtype}); the networks here are real"
    return "has no values (it was saved from the meta device); give trained weights" if tensor.is_meta else ""


def _described(content: Any) -> str:
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    return f"a table of {', '.join(str(key) for key in list(content)[:3])}" if content else "an empty table"


def _of_torchvision(name: str, spec: ModelSpec) -> Weights:
    from torchvision.models import get_model_weights, list_models

    published = list_models()
    alike = relatives(spec, published)
    if not alike:
        raise CheckpointError(
            f"weights {name!r}: no such file or folder, and none of torchvision's networks has the depths, blocks and "
            f"channels of {spec.name}; give a weights file or a run folder"
        )
    members = get_model_weights(alike[0]).__members__
    if name not in members:
        raise CheckpointError(
            f"weights {name!r}: no such file or folder, and torchvision's {alike[0]} has no such weights; "
            f"{nearest(name, members)}"
        )
    weights = members[name]
    title = f"{weights.name} of torchvision's {alike[0]}"
    content, _ = _unwrapped(_downloaded(weights, title), "", title)
    tensors, normalised = _tensors(content, title), weights.transforms()
    return Weights(
        title,
        tensors,
        mean=tuple(normalised.mean),
        std=tuple(normalised.std),
        spec=zoo.get(alike[0]),
        size=normalised.crop_size[0],
        fit="crop",
        resize=normalised.resize_size[0],
        outputs=tuple((name,) for name in weights.meta["categories"]),
    )


def _downloaded(weights: Any, title: str) -> Any:
    """The state dict of a member of torchvision's enums; torch.hub downloads it once and checks it by its hash."""
    kept = Path(torch.hub.get_dir(), "checkpoints", PurePosixPath(urlparse(weights.url).path).name)
    try:
        with redirect_stdout(sys.stderr):  # where torch.hub's announcement belongs
            return weights.get_state_dict(
                progress=sys.stderr.isatty(), check_hash=True, map_location="cpu", weights_only=True
            )
    except (OSError, HTTPException) as error:
        raise CheckpointError(
            f"{title}: cannot be downloaded from {weights.url} ({getattr(error, 'reason', None) or error}); "
            f"download that file elsewhere, and give its path or put it at {kept}"
        ) from None
    except (RuntimeError, EOFError, pickle.UnpicklingError):  # a wrong hash; a kept file that is cut off or another
        raise CheckpointError(
            f"{title}: what came from {weights.url}, or lies at {kept}, is damaged or not what torchvision published; "
            "remove that file, if it is there, and try again"
        ) from None
