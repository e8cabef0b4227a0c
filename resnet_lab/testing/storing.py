"""Checks that a module can be made again: from a seed, from its state, from its spec, by copying."""

import copy

import torch
from safetensors.torch import load, save

from resnet_lab.core.errors import ResNetLabError
from resnet_lab.network.plugins import Entry
from resnet_lab.network.spec import Component, ModelSpec
from resnet_lab.testing.component_under_test import ComponentUnderTest, small_network
from resnet_lab.testing.results import BreachError, breach_if_raised
from resnet_lab.testing.values import run

DEFAULTS = "give each keyword-only parameter a default of its annotated type: bool, int, float, str or a Literal"


def initial_weights(tested: ComponentUnderTest) -> str:
    """Initial weights depend on the program's seed and the parameter's name alone."""
    case = tested.plain
    first, second = (tested.fresh(case, seed=0, chance=chance).state_dict() for chance in (1, 2))
    for name, tensor in first.items():
        if not torch.equal(tensor, second[name]):
            raise BreachError(
                f"{name!r} starts at random, and differently in two networks of one seed",
                str(case),
                "define reset_parameters(), which draws it again; the program calls it under its own seed",
            )
    return f"{len(first)} tensors"


def fixed_state(tested: ComponentUnderTest) -> str:
    """A forward pass, in evaluation or training, creates and removes no parameter and no buffer."""
    case = tested.plain
    hint = "make layers and buffers in __init__"
    for training in (False, True):
        module = tested.fresh(case).train(training)
        before = {name: tensor.shape for name, tensor in module.state_dict().items()}
        run(module, case)
        after = {name: tensor.shape for name, tensor in module.state_dict().items()}
        changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        if changed:
            what = "makes" if changed[0] not in before else "removes" if changed[0] not in after else "reshapes"
            raise BreachError(
                f"a forward pass {what} {changed[0]!r}", f"{'train' if training else 'eval'}, {case}", hint
            )
    return f"{len(before)} tensors"


def state_dict(tested: ComponentUnderTest) -> str:
    """A state dict saved to safetensors and loaded into another module gives the same outputs."""
    case = tested.plain
    module, other = tested.make(case, seed=0), tested.make(case, seed=1)
    hint = "register what the output depends on by nn.Parameter or register_buffer, each tensor once"
    with breach_if_raised(str(case), hint, "the round trip raises"):
        stored = save({name: tensor.contiguous() for name, tensor in module.state_dict().items()})
        other.load_state_dict(load(stored), strict=True)
    if not torch.equal(run(module, case), run(other, case)):
        raise BreachError("outputs differ after a round trip: something is not in the state dict", str(case), hint)
    return f"{len(module.state_dict())} tensors"


def deep_copy(tested: ComponentUnderTest) -> str:
    """A deep copy, made after a training step, shares nothing with the module."""
    case = tested.plain
    module = tested.make(case).train()
    hint = "keep no tensor of a forward pass, no generator and no lambda as an attribute"
    with breach_if_raised(str(case), hint, "copy.deepcopy raises"):
        module(case.input().requires_grad_().clone()).sum().backward()
        copied = copy.deepcopy(module).eval()
    before = run(module.eval(), case)
    if not torch.equal(before, run(copied, case)):
        raise BreachError("the copy computes something else", str(case), hint)
    with torch.no_grad():
        for tensor in (*copied.parameters(), *copied.buffers()):
            tensor.zero_()
    if not torch.equal(before, run(module, case)):
        raise BreachError("the copy shares tensors with the module", str(case), hint)
    return ""


def spec(tested: ComponentUnderTest) -> str:
    """The component with every parameter written out round-trips through text and JSON to the same module."""
    written = written_out(tested.entry, tested.component)
    if (text := str(written)) and Component.parse(text) != written:
        raise BreachError(f"{text} is read back as {Component.parse(text)}", text, DEFAULTS)
    network = small_network("basic", tested.kind, written)
    if ModelSpec.from_json(network.to_json()) != network:
        raise BreachError("the spec of a network with it is read back as another", text, DEFAULTS)
    try:
        tested.registry.bind(tested.kind, written, "check")
    except ResNetLabError as error:
        raise BreachError(str(error), text, DEFAULTS) from None
    again = ComponentUnderTest(tested.entry, written, tested.registry)
    if not torch.equal(run(tested.make(tested.plain), tested.plain), run(again.make(tested.plain), tested.plain)):
        raise BreachError("with its defaults written out it computes something else", text, DEFAULTS)
    return text


def written_out(entry: Entry, component: Component) -> Component:
    """The component with every parameter that has a default written out."""
    values = {name: default for name, (_, default) in entry.parameter_types().items() if default is not ...}
    values |= dict(component.parameters)
    for name, value in values.items():
        if not isinstance(value, bool | int | float | str):
            raise BreachError(f"parameter {name!r} has the default {value!r}", str(component), DEFAULTS)
    return Component(name=component.name, parameters=tuple(sorted(values.items())))
