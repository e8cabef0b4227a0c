"""Checks of shapes, and of what a component's traits promise. Legend: N batch, C channels, H W pixels."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from resnet_lab.core.errors import SpecError
from resnet_lab.testing.component_under_test import Case, ComponentUnderTest
from resnet_lab.testing.results import BreachError, NotCheckedError, breach_if_raised


def shapes(tested: ComponentUnderTest) -> str:
    """Output shapes over odd sizes, channel counts, strides, and single images."""
    refused: dict[str, None] = {}
    cases = tested.cases()
    for case in cases:
        with breach_if_raised(str(case), tested.entry.row.hint), torch.no_grad():
            try:
                module = tested.fresh(case)
            except SpecError:
                refused[case.words] = None
                continue
            out = module(case.input())
        _require_shape(out, case, tested.entry.row.hint)
    if len(refused) == len({case.words for case in cases}):
        raise BreachError("every case is refused with a SpecError", str(cases[0]), "accept some number of channels")
    tried = f"{len(cases)} cases"
    return f"{tried}; refused with a SpecError: {', '.join(refused)}" if refused else tried


def _require_shape(out: object, case: Case, hint: str) -> None:
    if not isinstance(out, Tensor):
        raise BreachError(f"forward gave {type(out).__name__}, not a tensor", str(case), "return the tensor alone")
    if tuple(out.shape) != case.expected:
        raise BreachError(f"the output is {tuple(out.shape)}, expected {case.expected}", str(case), hint)


def elementwise(tested: ComponentUnderTest) -> str:
    """Activations are elementwise: each output depends on one input alone, wherever it is."""
    case = tested.plain
    module, x = tested.make(case), case.input()
    order = torch.randperm(x.numel(), generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), breach_if_raised(str(case)):
        straight = module(x.clone()).flatten()[order]
        shuffled = module(x.flatten()[order].view(x.shape)).flatten()
    if not torch.allclose(straight, shuffled, rtol=1e-4, atol=1e-5):
        raise BreachError(
            "shuffled values do not give the shuffled outputs",
            str(case),
            "an activation is elementwise; what looks at channels or pixels is a norm or an attention",
        )
    return ""


def traits(tested: ComponentUnderTest) -> str:
    """Traits given at registration hold: `mixes_channels`, `takes_groups`, `adds_bias`, and the argument `bias`."""
    row = tested.entry.row
    kept = [promise(tested) for name, promise in PROMISES.items() if name in {*row.traits, *row.given}]
    if not kept:
        raise NotCheckedError(f"there is no check of {', '.join(row.traits)}")
    return ", ".join(text for text in kept if text)


def _case(tested: ComponentUnderTest, channels: int, groups: int, bias: bool = False) -> Case:
    wanted = (channels, channels, 1, groups, bias)
    return next(case for case in tested.cases() if case.arguments == wanted and case.shape[2:] == (8, 8))


def _influence(module: nn.Module, case: Case) -> Tensor:
    """Matrix of which output channels (rows) have a gradient from which input channels (columns)."""
    rows = []
    for channel in range(case.expected[1]):
        x = case.input().requires_grad_()
        with breach_if_raised(str(case)):
            module(x.clone())[:, channel].sum().backward()
        rows.append(torch.zeros(case.shape[1]) if x.grad is None else x.grad.abs().sum((0, 2, 3)))
    return torch.stack(rows) > 0


def _groups(tested: ComponentUnderTest) -> str:
    if not tested.entry.trait("takes_groups"):
        return ""
    case = _case(tested, 8, 2)
    influence = _influence(tested.make(case), case)
    if influence[:4, 4:].any() or influence[4:, :4].any():
        raise BreachError(
            "with groups 2, an output channel depends on channels of the other group",
            str(case),
            "pass groups on to the convolutions, or register it with takes_groups=False",
        )
    return "groups"


def _bias(tested: ComponentUnderTest) -> str:
    without, having = (_case(tested, 8, 1, bias=bias) for bias in (False, True))
    counts = [sum(each.numel() for each in tested.make(case).parameters()) for case in (without, having)]
    if counts[1] <= counts[0]:
        raise BreachError(
            f"with bias True it has {counts[1]} parameters, with bias False {counts[0]}",
            str(having),
            "pass bias on to the last convolution: it is True where no norm follows that adds one",
        )
    return "bias"


def _mixing(tested: ComponentUnderTest) -> str:
    mixes = tested.entry.trait("mixes_channels")
    case = _case(tested, 8, 1)
    others = _influence(tested.make(case), case)[0, 1:].any()
    if mixes and not others:
        raise BreachError(
            "an output channel depends on its own input channel alone, and it was registered as mixing them",
            str(case),
            "register it with mixes_channels=False, so that a 1x1 follows it where needed",
        )
    if not mixes and others:
        raise BreachError(
            "an output channel depends on other channels, and it was registered with mixes_channels=False",
            str(case),
            "register it without mixes_channels=False",
        )
    return "channel mixing"


def _added_bias(tested: ComponentUnderTest) -> str:
    """A norm that adds a bias can move a channel of zeros."""
    case = tested.plain
    module = tested.make(case)
    names = {name.rpartition(".")[2] for name, _ in module.named_parameters()}
    with torch.no_grad(), breach_if_raised(str(case)):
        moved = bool(module(torch.zeros(case.shape)).abs().max() > 0)
    if not names:
        raise NotCheckedError("it has no parameters")
    if tested.entry.trait("adds_bias") and not moved:
        raise BreachError(
            "it adds no bias (zeros stay zeros), and it was registered as adding one",
            str(case),
            "register it with adds_bias=False, so that the convolution before it gets a bias",
        )
    if not tested.entry.trait("adds_bias") and moved:
        raise BreachError(
            "it adds a bias (zeros do not stay zeros), and it was registered with adds_bias=False",
            str(case),
            "register it without adds_bias=False",
        )
    return "bias"


PROMISES: dict[str, Callable[[ComponentUnderTest], str]] = {
    "takes_groups": _groups,
    "bias": _bias,
    "mixes_channels": _mixing,
    "adds_bias": _added_bias,
}
"""Checks by the trait, or the argument of a factory, that they are about; each gives what was found to hold."""
