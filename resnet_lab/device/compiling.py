"""Networks compiled by torch. Legend: N batch, C channels, H W pixels.

A trap: Dynamo keeps what it compiled with the code object of a function, so that networks of one class share one
store, which counts their compilations together and after eight of them silently runs uncompiled. So each network
here gets a code object of its own, and what cannot be compiled whole is an error.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from copy import deepcopy
from itertools import count
from typing import Any, Literal
from weakref import WeakSet, finalize

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from resnet_lab.core.cache_location import code_folder
from resnet_lab.device.compiled_code import keep_compiled_code

Mode = Literal["on", "max"]

MODES = {"on": "default", "max": "max-autotune-no-cudagraphs"}
"""torch's names. CUDA graphs would keep the memory of each shape, and outputs that the next step overwrites."""

KEPT = 32
"""Compiled networks that a process keeps for others of the same structure."""

PLAIN = (bool, int, float, str, tuple)
"""Types of attributes by which modules of a class differ."""

OWN_PACKAGES = ("torch", "torchvision", "resnet_lab")
"""Packages whose modules keep all that a step changes in parameters, buffers and the training mode."""

_numbers = count()


class Compiled(nn.Module):
    """A network whose pass is compiled at the first call; its parameters and buffers are those of `network`.

    Batches of another N than the first need no compilation of their own; maps of other sizes have code of their own,
    which is faster than code for any size.

    Args:
        key: whatever else the compiled code depends on. Networks of the same structure and key share their code, in
            this process; None: with no other.

    Attributes:
        is_shared: whether an earlier network's code is taken, so that nothing is left to compile.
    """

    def __init__(self, network: nn.Module, mode: Mode, key: Hashable = None) -> None:
        super().__init__()
        keep_compiled_code()
        self.network = network
        self._mode, self._key = mode, key
        self._first = self._made(key)
        self._codes: dict[torch.Size, _Code] = {}
        self.is_shared = self._first.is_compiled
        self.train(network.training)

    def forward(self, x: Tensor) -> Any:
        torch._dynamo.maybe_mark_dynamic(x, 0)  # not imported above: the compiler takes two seconds
        size = x.shape[2:]
        if size not in self._codes:
            self._codes[size] = self._made((self._key, size)) if self._codes else self._first
        return self._codes[size](self.network, x)

    def _made(self, key: Hashable) -> "_Code":
        code = _Code(self.network, self._mode) if self._key is None else _shared_code(self.network, self._mode, key)
        if code.stand_in is not self.network:
            code.users.add(self)
            finalize(self, code.forget_tensors)
        return code


class _Code:
    """The compiled pass of a network, or of a stand-in that takes on the tensors of any network of its structure."""

    def __init__(self, network: nn.Module, mode: Mode) -> None:
        self.users: WeakSet[nn.Module] = WeakSet()
        self.stand_in = network
        self.is_compiled = False
        self._call = torch.compile(own_code(network), fullgraph=True, mode=MODES[mode])

    def __call__(self, network: nn.Module, x: Tensor) -> Any:
        if network is not self.stand_in:
            for own, given in zip(self.stand_in.modules(), network.modules(), strict=True):
                own.training = given.training
                own._parameters.update(given._parameters)
                own._buffers.update(given._buffers)
        outputs, self.is_compiled = self._call(x), True
        return outputs

    def forget_tensors(self) -> None:
        """Let go of the last network's memory once all that used the code are gone."""
        if not list(self.users):  # its length still counts the one that is going
            for module in self.stand_in.modules():
                for tensors in (module._parameters, module._buffers):
                    tensors.update(dict.fromkeys(tensors))


_shared: OrderedDict[Hashable, _Code] = OrderedDict()


def _shared_code(network: nn.Module, mode: Mode, key: Hashable) -> _Code:
    """The code of an earlier network of the same structure, or new code."""
    if not all(map(_is_plain, network.modules())):
        return _Code(network, mode)
    full = (mode, key, structure(network))
    if full not in _shared:
        _shared[full] = _Code(deepcopy(network), mode)
        while len(_shared) > KEPT:
            _shared.popitem(last=False)
    _shared.move_to_end(full)
    return _shared[full]


def _is_plain(module: nn.Module) -> bool:
    """Whether its pass depends on nothing but attributes and tensors, and leaves no others behind."""
    package = type(module).__module__.split(".")[0]
    return package in OWN_PACKAGES and not (isinstance(module, DistributedDataParallel) or module._forward_hooks)


def structure(network: nn.Module) -> Hashable:
    """Modules with their plain attributes, and tensors with their layout."""
    modules = tuple(
        (name, type(module), *((key, repr(each)) for key, each in _plain_attributes(module)))
        for name, module in network.named_modules()
    )
    tensors = tuple(
        (name, tensor.shape, tensor.stride(), tensor.dtype, tensor.device, tensor.requires_grad)
        for name, tensor in (*network.named_parameters(), *network.named_buffers())
    )
    return modules, tensors


def _plain_attributes(module: nn.Module) -> list[tuple[str, object]]:
    return [(key, each) for key, each in vars(module).items() if isinstance(each, PLAIN) and key != "training"]


def own_code(network: nn.Module) -> Callable[[Tensor], Any]:
    """A function that calls `network` and shares its code object with no other."""

    def forward(x: Tensor) -> Any:
        return network(x)

    forward.__code__ = forward.__code__.replace(co_name=f"forward_{next(_numbers)}")
    return forward


class NotPossible(Exception):
    """A network that a compiler or an exporter does not take; the text says why."""


def cause(error: Exception) -> str:
    """Why a compilation failed: the kind of error and its first line, and what helps where kept code was cut short."""
    line = next(iter(str(error).strip().splitlines()), "")
    is_kept = str(code_folder()) in str(error)
    hint = "; `resnet-lab data cache clear` removes code that was kept and is damaged" if is_kept else ""
    return f"{type(error).__name__}: {line[:200]}{hint}"
