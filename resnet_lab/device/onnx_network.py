"""Trained networks run by ONNX Runtime. Legend: N batch, C channels, H W pixels, K classes."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from resnet_lab.core.watcher import Watcher
from resnet_lab.device.agreement import Disagreement, agreement_of
from resnet_lab.device.compiling import NotPossible, cause
from resnet_lab.device.onnx_cache import is_whole, keep_graph, kept_graph, key_of
from resnet_lab.device.onnx_graph import as_onnx, onnx_session, traced

EXPORTING = 10.0
"""Seconds that exporting a network may take."""

STARTING = 1.0
"""Seconds that loading a graph that is kept may take."""


class OnnxNetwork:
    """A network in float32 on the CPU, run by ONNX Runtime: (N, C, H, W) to (N, K), for any N.

    Its graph is taken from the cache, where it was verified before it was kept, or is exported and verified on these
    images and on one of them alone.

    Args:
        network: folded, so that its graph is too.
        images: the first batch.

    Raises:
        NotPossible: it cannot be exported or run, or its answers are not those of `network`.
    """

    def __init__(self, network: nn.Module, images: Tensor, watcher: Watcher) -> None:
        key = key_of(network, images.shape)
        kept = kept_graph(key) if key is not None else None
        if kept is not None and (session := _loaded(kept)) is not None:
            self._session = session
            return
        watcher.say("exporting the network to ONNX, which can take some seconds")
        try:
            graph = _exported(network, images)
            self._session = onnx_session(graph)
            for batch in (images, images[:1]):
                agreement_of(network(batch), self(batch))
        except Disagreement as difference:
            raise NotPossible(f"ONNX Runtime does not compute what torch does: {difference}") from None
        except Exception as error:  # exporters raise whatever they like; the network itself has run or will
            raise NotPossible(f"the network cannot be exported to ONNX ({cause(error)})") from error
        if key is not None:
            keep_graph(key, graph)

    def __call__(self, images: Tensor) -> Tensor:
        return self._session(images)


def _exported(network: nn.Module, images: Tensor) -> bytes:
    two = torch.zeros(2, *images.shape[1:])
    with torch.inference_mode(False), torch.no_grad():  # the exporter makes constants, which it then changes
        return cast(bytes, as_onnx(traced(network, two)).model_proto.SerializeToString())


def _loaded(kept: Path) -> Callable[[Tensor], Tensor] | None:
    """The session of a kept graph, made while the file is checked; None where it is damaged."""
    with ThreadPoolExecutor(1) as thread:
        checked = thread.submit(is_whole, kept)
        try:
            session = onnx_session(kept)
        except Exception:  # what a damaged file makes onnxruntime raise
            return None
        return session if checked.result() else None


def cost_of_start(network: nn.Module, shape: torch.Size) -> float:
    """Seconds that it may take until the network can run."""
    key = key_of(network, shape)
    return EXPORTING if key is None or kept_graph(key) is None else STARTING
