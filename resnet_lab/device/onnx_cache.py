"""ONNX graphs of networks for inference, kept in the cache so that the next process does not export them again.

They lie in the folder of compiled code, which only this user can enter. A graph's name has two SHA-256: of all that it
and its verification depend on (the network's code and weights, the shape of the images, versions, the processor), and
of the file, so that one that is damaged is not used.
"""

import hashlib
import inspect
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import _get_qualified_name

from resnet_lab.core.errors import RunError
from resnet_lab.core.files import write_atomically
from resnet_lab.device.compiled_code import own_code_folder
from resnet_lab.device.compiling import structure
from resnet_lab.device.onnx_graph import PACKAGES

KEPT = 8
"""Graphs that are kept at most; the oldest go first."""

FOLDER = "onnx"

KNOWN = ("torch", "_operator", "getattr")
"""Where the functions of a traced network come from whose meaning follows from torch's version."""

OWN = "resnet_lab"
"""Where they come from whose meaning follows from their source."""


def key_of(network: nn.Module, shape: torch.Size) -> str | None:
    """Name of the graph of a traced network in float32 on the CPU for images (N, C, H, W), any N.

    None where what it computes is not known from its code and weights: untraced networks, and functions of others.
    """
    if not isinstance(network, fx.GraphModule) or not all(map(_is_known, network.graph.nodes)):
        return None
    targets: list[Any] = [node.target for node in network.graph.nodes if _origin(node) == OWN]
    own = sorted(map(inspect.getsource, targets))
    versions = [f"{name} {version(name)}" for name in ("resnet-lab", "torch", *PACKAGES)]
    processor = (torch.backends.cpu.get_cpu_capability(), sorted(torch.cpu.get_capabilities().items()))
    digest = hashlib.sha256(
        repr((versions, own, processor, tuple(shape[1:]), network.code, structure(network))).encode()
    )
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        for each in threads.map(_digest, (*network.parameters(), *network.buffers())):
            digest.update(each)
    return digest.hexdigest()


def _digest(tensor: Tensor) -> bytes:
    flat = tensor.detach().permute(0, 2, 3, 1) if tensor.ndim == 4 else tensor.detach()  # channels-last: no copy
    return hashlib.sha256(flat.contiguous().view(-1).view(torch.uint8).numpy().data).digest()


def _is_known(node: fx.Node) -> bool:
    return _origin(node) in (None, OWN, *KNOWN)


def _origin(node: fx.Node) -> str | None:
    """Package of the function that a node calls; None where it calls none."""
    return _get_qualified_name(node.target).split(".")[0] if node.op == "call_function" else None  # type: ignore[arg-type]


def kept_graph(key: str) -> Path | None:
    """The graph that `keep_graph` kept under a key, which may be damaged since."""
    code = own_code_folder()
    return None if code is None else next((code / FOLDER).glob(_name(key, "*")), None)


def is_whole(graph: Path) -> bool:
    """Whether a kept graph is byte for byte what was kept."""
    with suppress(OSError), graph.open("rb") as file:
        return graph.stem.endswith(hashlib.file_digest(file, "sha256").hexdigest())
    return False


def keep_graph(key: str, graph: bytes) -> None:
    """Keep a graph that was verified; where that cannot be, the next process makes it again."""
    code = own_code_folder()
    if code is None:
        return
    with suppress(OSError, RunError):
        (folder := code / FOLDER).mkdir(mode=0o700, exist_ok=True)
        write_atomically(folder / _name(key, hashlib.sha256(graph).hexdigest()), graph)
        for old in sorted(folder.glob("*.onnx"), key=lambda each: -each.stat().st_mtime)[KEPT:]:
            old.unlink(missing_ok=True)


def _name(key: str, digest: str) -> str:
    return f"{key}-{digest}.onnx"
