"""Work, memory traffic and time of a network's operators. Legend: N batch, C channels, H W pixels."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from resnet_lab.device.placement import wait_for

MATRIX = ("convolution", "depthwise", "linear")
"""Kinds that a perfect compiler computes one after the other; everything else could ride along with them."""


@dataclass(frozen=True)
class Operator:
    """One call of an operator in a forward pass.

    Attributes:
        kind: such as `convolution 1x1`, `depthwise 3x3`, `batch_norm`, `relu`.
        stage: `stem`, `layer1` to `layerN` or `head`.
        macs: multiply-adds of convolutions and matrix products, else 0.
        read, written: elements of inputs and weights, and of outputs.
        weights: elements of weights among those read.
    """

    kind: str
    stage: str
    macs: int
    read: int
    written: int
    weights: int

    @property
    def is_matrix(self) -> bool:
        """Whether it is a convolution or a matrix product."""
        return self.kind.startswith(MATRIX)

    def nbytes(self, itemsize: int) -> int:
        """Bytes that it moves when nothing of it is in a cache."""
        return (self.read + self.written) * itemsize


def operators(model: nn.Module, shape: tuple[int, int, int, int]) -> list[Operator]:
    """The operators of a forward pass in evaluation mode on (N, C, H, W).

    Args:
        model: on the meta device.
    """
    return _traced(model, torch.empty(shape, device="meta")).found


def timed(model: nn.Module, x: Tensor, passes: int = 5) -> list[tuple[Operator, float]]:
    """The operators of a forward pass on `x` with the median seconds of each over some passes.

    Each operator is waited for before the next begins, and the time that looking takes is left out, on a GPU with the
    launch of a kernel.
    """
    one = x.new_zeros(1)
    empty = median(_looking(one) for _ in range(101))
    traces = [_traced(model, x, timing=True) for _ in range(passes + 1)][1:]
    seconds = (median(each) for each in zip(*(trace.seconds for trace in traces), strict=True))
    return [(each, max(0.0, time - empty)) for each, time in zip(traces[0].found, seconds, strict=True)]


def activations(found: list[Operator]) -> int:
    """Elements that convolutions and matrix products put out (Radosavovic et al. 2020, arXiv:2003.13678)."""
    return sum(each.written for each in found if each.is_matrix)


def _traced(model: nn.Module, x: Tensor, *, timing: bool = False) -> "_Tracer":
    tracer = _Tracer({_storage(parameter) for parameter in model.parameters()}, x.device if timing else None)
    was_training = model.training
    model.eval()
    with torch.no_grad(), _stages(model, tracer), tracer:
        model(x)
    model.train(was_training)
    return tracer


class _Tracer(TorchDispatchMode):
    """Records operators.

    Args:
        weights: storages of the network's parameters, which their views share.
        timed_on: device whose time is taken; None where none is.
    """

    def __init__(self, weights: set[int], timed_on: torch.device | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[Operator] = []
        self.seconds: list[float] = []
        self.stage = "stem"
        self._weights = weights
        self._timed_on = timed_on

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        start = self._now()
        outputs = func(*args, **kwargs)
        seconds = self._now() - start
        packet = func._overloadpacket
        if not func.is_view and packet not in (torch.ops.aten.empty, torch.ops.aten.detach):
            inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
            written = [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)][:1]
            count = flop_registry.get(packet)
            self.seconds.append(seconds)
            self.found.append(
                Operator(
                    kind=_kind(packet, args),
                    stage=self.stage,
                    macs=int(count(*args, **kwargs, out_val=outputs)) // 2 if count else 0,
                    read=sum(tensor.numel() for tensor in inputs),
                    written=sum(tensor.numel() for tensor in written),
                    weights=sum(tensor.numel() for tensor in inputs if _storage(tensor) in self._weights),
                )
            )
        return outputs

    def _now(self) -> float:
        if self._timed_on is None:
            return 0.0
        wait_for(self._timed_on)
        return perf_counter()


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _looking(one: Tensor) -> float:
    """Seconds between two looks at the clock, in which a GPU adds to a number."""
    wait_for(one.device)
    start = perf_counter()
    if one.device.type != "cpu":
        one.add_(1)
    wait_for(one.device)
    return perf_counter() - start


def _kind(packet: Any, args: Any) -> str:
    name = str(packet).removeprefix("aten.").rstrip("_")
    if name == "convolution":
        weight, groups = args[1], args[8]
        kernel = "x".join(str(length) for length in weight.shape[2:])
        if groups == 1:
            return f"convolution {kernel}"
        return f"depthwise {kernel}" if groups == args[0].shape[1] else f"convolution {kernel} in {groups} groups"
    if name in ("addmm", "mm", "bmm"):
        return "linear"
    return "batch_norm" if "batch_norm" in name else name


@contextmanager
def _stages(model: nn.Module, tracer: _Tracer) -> Iterator[None]:
    """Tell the tracer which part is running: layers by name, what follows the last one is the head."""
    layers = sorted(name for name, _ in model.named_children() if name.startswith("layer") and name[5:].isdigit())

    def enter(name: str) -> Any:
        def hook(module: nn.Module, args: Any) -> None:
            tracer.stage = name

        return hook

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        tracer.stage = "head"

    handles = [model.get_submodule(name).register_forward_pre_hook(enter(name)) for name in layers]
    if layers:
        handles.append(model.get_submodule(layers[-1]).register_forward_hook(leave))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def largest_output(found: list[Operator]) -> int:
    """Elements that the operator with the most of them reads and writes, weights left out."""
    return max(each.read - each.weights + each.written for each in found)
