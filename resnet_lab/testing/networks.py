"""Checks of a component within networks: built, trained a step, counted, and timed against what it replaces."""

from typing import Any, get_args

import torch
from torch import nn
from torch.nn import functional as F

from resnet_lab.bench.arms import BenchArm
from resnet_lab.bench.config import Mode
from resnet_lab.bench.interleaved_timing import interleave
from resnet_lab.bench.statistics import timing
from resnet_lab.bench.timed_networks import NetworkCache, ready
from resnet_lab.core.errors import SpecError
from resnet_lab.network.builder import assemble
from resnet_lab.network.builtin.attentions import SqueezeExcitation
from resnet_lab.network.cost import NetworkCost, measure
from resnet_lab.network.model import DropPath
from resnet_lab.network.spec import Component, ModelSpec
from resnet_lab.testing.component_under_test import ComponentUnderTest, small_network
from resnet_lab.testing.results import BreachError, NotCheckedError, breach_if_raised

BLOCKS = ("basic", "bottleneck")
ROUNDS = 6
BATCH = 4
TIMED: tuple[Mode, ...] = ("infer", "train")


def network(tested: ComponentUnderTest) -> str:
    """Networks of both kinds of block are built with it, trained one step, and run again."""
    for name, spec in _networks(tested):
        with breach_if_raised(name, "see the hook's contract for what a factory is given", "building raises"):
            built = assemble(spec, tested.registry)
        model = built.model.train()
        x = torch.randn(BATCH, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        with breach_if_raised(name, what="a training step raises"):
            optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
            F.cross_entropy(model(x), torch.arange(BATCH)).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        _require_finite(model, x, name)
    return ", ".join(name for name, _ in _networks(tested))


APPLIED: dict[str, tuple[dict[str, Any], type[nn.Module]]] = {
    "act": ({"act": "mish"}, nn.Mish),
    "attn": ({"attn": "se"}, SqueezeExcitation),
    "output_attn": ({"attn": "se(position=output)"}, SqueezeExcitation),
    "inner_attn": ({"attn": "se(position=inner)"}, SqueezeExcitation),
    "dropout": ({"dropout": 0.1}, nn.Dropout),
    "drop_path": ({"drop_path": 0.1}, DropPath),
}
"""Parts of a block that other checks would not miss: what chooses each, and of which type it then is."""


def parts(tested: ComponentUnderTest) -> str:
    """Blocks apply what they ask `parts` for."""
    applied = []
    for part, (choice, kind) in APPLIED.items():
        try:
            spec = small_network("basic", tested.kind, tested.component).modified(**choice)
            model = assemble(spec, tested.registry).model.train()
        except SpecError:  # the block has no place for it, and says so to whoever chooses one
            continue
        with breach_if_raised(f"with {part}"):
            idle = _idle(model, kind)
        if idle:
            hint = "apply it in forward, or do not make it: then the program refuses a choice that would do nothing"
            raise BreachError(f"parts.{part} is made and never applied", idle[0], hint)
        applied.append(part)
    return ", ".join(applied) or "none of those looked at"


def _idle(model: nn.Module, kind: type[nn.Module]) -> list[str]:
    """Modules of a type that a forward pass does not call."""
    called: set[nn.Module] = set()
    made = {name: module for name, module in model.named_modules() if isinstance(module, kind)}
    for module in made.values():
        module.register_forward_hook(lambda module, *_: called.add(module))
    model(torch.randn(BATCH, 3, 16, 16, generator=torch.Generator().manual_seed(0)))
    return [name for name, module in made.items() if module not in called]


def _networks(tested: ComponentUnderTest) -> list[tuple[str, ModelSpec]]:
    """Networks by name, with the component where it can be used."""
    found = [(f"{block} blocks", small_network(block, tested.kind, tested.component)) for block in BLOCKS]
    for parameter, (annotation, default) in tested.entry.row.parameters.items():
        for value in get_args(annotation):
            if value != default:
                parameters = dict(tested.component.parameters) | {parameter: value}
                changed = Component(name=tested.component.name, parameters=tuple(sorted(parameters.items())))
                found.append((f"basic blocks with {parameter}={value}", small_network("basic", tested.kind, changed)))
    return found


def _require_finite(model: nn.Module, x: torch.Tensor, where: str) -> None:
    for name, parameter in model.named_parameters():
        if not parameter.isfinite().all():
            raise BreachError(
                f"after a training step {name!r} is not finite", where, "guard divisions and roots with an epsilon"
            )
    with torch.no_grad(), breach_if_raised(where):
        if not model.eval()(x).isfinite().all():
            raise BreachError("after a training step the outputs are not finite", where)


def macs(tested: ComponentUnderTest) -> str:
    """Multiply-adds are counted on the meta device, as in `build` and `bench`; unknown operators are listed."""
    hint = "let forward work on shapes alone: `build` and `bench` count without computing"
    with breach_if_raised("basic blocks", hint, "counting without computing raises"):
        own, base = _costs(tested)
    uncounted = sorted(set(own.uncounted) - set(base.uncounted))
    measured = f"{own.macs:,} in a small network, {own.macs / base.macs:.2f} times as many as with {_rival(tested)}"
    return measured + (f"; not counted: {', '.join(uncounted)}" if uncounted else "")


def cost(tested: ComponentUnderTest) -> str:
    """Parameters, multiply-adds and time relative to the built-in that it replaces; informational."""
    if tested.component.name == _rival(tested):
        raise NotCheckedError("it is the built-in that others are compared with")
    own, base = _costs(tested)
    measured = [f"parameters {own.parameters / base.parameters:.3f}", f"MACs {own.macs / base.macs:.3f}"]
    for mode in TIMED:
        arms = {
            name: ready(BenchArm(name, spec, BATCH, precision="fp32"), mode, NetworkCache(tested.registry), "cpu")
            for name, spec in (("base", _base(tested)), ("own", _own(tested)))
        }
        samples = interleave(arms, ROUNDS, torch.device("cpu")).samples
        found = timing(samples["own"], samples["base"])
        low, high = found.interval or (found.ratio, found.ratio)
        measured.append(f"time of {mode} {found.ratio:.2f} ({low:.2f} to {high:.2f})")
    return f"times those of {_rival(tested)} in a small network: {', '.join(measured)}"


def _rival(tested: ComponentUnderTest) -> str:
    return tested.entry.row.default


def _own(tested: ComponentUnderTest) -> ModelSpec:
    return small_network("basic", tested.kind, tested.component)


def _base(tested: ComponentUnderTest) -> ModelSpec:
    return small_network("basic", tested.kind, _rival(tested))


def _costs(tested: ComponentUnderTest) -> tuple[NetworkCost, NetworkCost]:
    return measure(_own(tested), tested.registry), measure(_base(tested), tested.registry)
