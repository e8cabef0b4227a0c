"""Networks compiled by torch. Legend: N batch, C channels, H W pixels.

A trap: Dynamo keeps what it compiled with the code object of a function, so that networks of one class share one
store, which counts their compilations together and after eight of them silently runs uncompiled. So each network
here gets a code object of its own, and what cannot be compiled whole is an error.
"""

from collections.abc import Callable
from itertools import count
from typing import Any, Literal

import torch
from torch import Tensor, nn

Mode = Literal["on", "max"]

MODES = {"on": "default", "max": "max-autotune-no-cudagraphs"}
"""torch's names. CUDA graphs would keep the memory of each shape, and outputs that the next step overwrites."""

_numbers = count()


class Compiled(nn.Module):
    """A network whose pass is compiled at the first call; its parameters and buffers are those of `network`.

    Batches of other sizes than the first need no compilation of their own.
    """

    def __init__(self, network: nn.Module, mode: Mode) -> None:
        super().__init__()
        self.network = network
        self._call = torch.compile(own_code(network), fullgraph=True, mode=MODES[mode])
        self.train(network.training)

    def forward(self, x: Tensor) -> Any:
        torch._dynamo.maybe_mark_dynamic(x, 0)  # not imported above: the compiler takes two seconds
        return self._call(x)


def own_code(network: nn.Module) -> Callable[[Tensor], Any]:
    """A function that calls `network` and shares its code object with no other."""

    def forward(x: Tensor) -> Any:
        return network(x)

    forward.__code__ = forward.__code__.replace(co_name=f"forward_{next(_numbers)}")
    return forward


def cause(error: Exception) -> str:
    """Why a compilation failed: the kind of error and its first line."""
    line = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {line[:200]}"
