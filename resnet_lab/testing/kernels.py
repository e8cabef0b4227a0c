"""Checks of kernels: networks with them are those without them. Legend: N batch."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from resnet_lab.core.errors import PluginError
from resnet_lab.device.kernels import take_kernels
from resnet_lab.device.placement import float32_products
from resnet_lab.network.builder import assemble
from resnet_lab.network.plugins import load
from resnet_lab.network.registry import Kernels, Registry
from resnet_lab.testing.component_under_test import small_network
from resnet_lab.testing.results import BreachError, NotCheckedError, Report, Result, breach_if_raised, in_a_line

NEAR = 1e-3
"""Largest deviation on CUDA, relative to the largest value: sums of float32 in another order."""

HINT = "kernels compute what their class does, and leave to `super().forward` what they cannot"


@dataclass(frozen=True)
class Pair:
    """A small network without kernels, and its copy with them."""

    name: str
    plain: nn.Module
    fast: nn.Module


def check_kernels(
    offer: Kernels, *, registry: Registry | None = None, on_result: Callable[[Result], None] = lambda result: None
) -> Report:
    """Check that kernels keep their hook's contract, in small networks of both kinds of block.

    Args:
        registry: whose convolutions and attentions the networks have; by default the program's own alone.
        on_result: called with each result as it comes.
    """
    results: list[Result] = []
    try:
        pairs = list(_pairs(offer, registry or load(only=(), files=())))
    except PluginError as error:
        results.append(Result("suits", "failed", str(error)))
        on_result(results[-1])
        return Report("kernels", offer.kernels.__name__, str(offer.owner), tuple(results))
    for check in (names, elsewhere, cuda):
        results.append(_result(check, pairs))
        on_result(results[-1])
    return Report("kernels", offer.kernels.__name__, str(offer.owner), tuple(results))


def _result(check: Callable[[list[Pair]], str], pairs: list[Pair]) -> Result:
    try:
        if not pairs:
            raise NotCheckedError("they suit no module of small networks here")
        with torch.random.fork_rng(devices=[]):
            return Result(check.__name__, "passed", check(pairs))
    except NotCheckedError as reason:
        return Result(check.__name__, "skipped", str(reason))
    except BreachError as breach:
        return Result(check.__name__, "failed", breach.what, breach.case, breach.hint)
    except Exception as error:
        return Result(check.__name__, "failed", f"raises {in_a_line(error)}")


def names(pairs: list[Pair]) -> str:
    """Parameters and buffers have the same names and shapes, and weights load either way."""
    for pair in pairs:
        with breach_if_raised(pair.name, HINT, "loading weights raises"):
            pair.fast.load_state_dict(pair.plain.state_dict())
            pair.plain.load_state_dict(pair.fast.state_dict())
    return ", ".join(pair.name for pair in pairs)


def elsewhere(pairs: list[Pair]) -> str:
    """Networks on the processor give the same bits with and without."""
    for pair in pairs:
        for mine, other in zip(_step(pair.fast, "cpu"), _step(pair.plain, "cpu"), strict=True):
            if not torch.equal(mine, other):
                raise BreachError("the processor gives something else with than without", pair.name, HINT)
    return ""


def cuda(pairs: list[Pair]) -> str:
    """Outputs and gradients on CUDA are those without, up to rounding."""
    if not torch.cuda.is_available():
        raise NotCheckedError("there is no CUDA device")
    for pair in pairs:
        with breach_if_raised(pair.name, HINT, "a training step on CUDA raises"):
            fast, plain = _step(pair.fast, "cuda"), _step(pair.plain, "cuda")
        for mine, other in zip(fast, plain, strict=True):
            difference = float((mine - other).abs().max() / other.abs().max().clamp_min(NEAR))
            if not difference <= NEAR:
                raise BreachError(f"CUDA gives something else with than without, by {difference:.2g}", pair.name, HINT)
    return torch.cuda.get_device_name()


def _pairs(offer: Kernels, registry: Registry) -> Iterator[Pair]:
    """Networks that the kernels have to do with."""
    for block in ("basic", "bottleneck"):
        for kind in ("convolution", "attention"):
            for name in registry.names(kind):
                spec = small_network(block, kind, name)
                plain = assemble(spec, registry).model
                fast = deepcopy(plain)
                if taken := take_kernels(fast, [offer]):
                    yield Pair(f"{block} with {name} ({taken[0].rpartition(' x ')[2]} modules)", plain, fast)


def _step(network: nn.Module, device: str) -> list[Tensor]:
    """Outputs of a copy in training, gradients of its input and parameters, and its buffers."""
    copied = deepcopy(network).to(device).to(memory_format=torch.channels_last).train()
    x = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)).to(device)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    with float32_products(x.device, tf32=False):
        out = copied(x)
        gradients = torch.autograd.grad(out.square().sum(), [x, *copied.parameters()], allow_unused=True)
    buffers = (buffer for buffer in copied.buffers() if buffer.is_floating_point())
    return [each.detach() for each in (out, *gradients, *buffers) if each is not None]
