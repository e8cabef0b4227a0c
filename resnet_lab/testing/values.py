"""Checks of what a module computes: again, in other types and layouts, and backwards."""

import random

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from resnet_lab.device.placement import float32_products
from resnet_lab.testing.component_under_test import Case, ComponentUnderTest
from resnet_lab.testing.results import BreachError, NotCheckedError, breach_if_raised

COARSE = 0.1
"""Tolerance of bfloat16 against float32, relative to the largest value."""


def determinism(tested: ComponentUnderTest) -> str:
    """Same input, same output; randomness only in training, and from torch's generator."""
    case = tested.plain
    module = tested.make(case)
    hint = "draw random numbers in training alone, with torch's own functions"
    before = _generators()
    first = run(module, case)
    if _generators() != before:
        raise BreachError("in evaluation it draws from a global generator of random numbers", f"eval, {case}", hint)
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    if not torch.equal(first, run(module, case)):
        raise BreachError("in evaluation the same input gives another output", f"eval, {case}", hint)
    outputs = []
    for chance in (2, 3):
        again = tested.make(case).train()
        torch.manual_seed(0)
        np.random.seed(chance)
        random.seed(chance)
        outputs.append(run(again, case))
    if not torch.equal(*outputs):
        raise BreachError("in training the same input and torch seed give another output", f"train, {case}", hint)
    return ""


def _generators() -> tuple[bytes, str, str]:
    return torch.get_rng_state().numpy().tobytes(), repr(np.random.get_state()), repr(random.getstate())


def run(module: nn.Module, case: Case, x: Tensor | None = None) -> Tensor:
    """The output for an input of its own, which an activation may overwrite; without gradients."""
    with torch.no_grad(), breach_if_raised(f"{'train' if module.training else 'eval'}, {case}"):
        output: Tensor = module((case.input() if x is None else x).clone())
    return output


def input_kept(tested: ComponentUnderTest) -> str:
    """The input, which the shortcut may need, is not modified."""
    case = tested.plain
    for training in (False, True):
        x = case.input()
        with torch.no_grad(), breach_if_raised(str(case)):
            tested.make(case).train(training)(x)
        if not torch.equal(x, case.input()):
            raise BreachError(
                "it overwrites its input", str(case), "use x * gate rather than x *= gate, and no inplace=True on x"
            )
    return ""


def dtype(tested: ComponentUnderTest) -> str:
    """Output dtype equals input dtype for float32, bfloat16 and float64, with nearly the same values."""
    case = tested.plain
    reference = run(tested.make(case).double(), case, case.input().double())
    for kind in (torch.float32, torch.bfloat16, torch.float64):
        where = f"{str(kind).removeprefix('torch.')}, {case}"
        with breach_if_raised(where, "make new tensors with dtype=x.dtype and device=x.device"), torch.no_grad():
            out = tested.make(case).to(kind)(case.input().to(kind))
        if out.dtype != kind:
            raise BreachError(
                f"the output is {str(out.dtype).removeprefix('torch.')}",
                where,
                "where float32 is needed inside, end with .to(x.dtype)",
            )
        _require_near(out.double(), reference, where, COARSE if kind == torch.bfloat16 else 1e-3)
    return ""


def _require_near(out: Tensor, reference: Tensor, where: str, tolerance: float) -> None:
    apart = float((out - reference).abs().max() / reference.abs().max().clamp_min(1e-6))
    if not apart <= tolerance:
        raise BreachError(
            f"outputs differ from the reference by {apart:.2g} of the largest, more than {tolerance:g}",
            where,
            "sums and variances over many pixels need float32",
        )


def channels_last(tested: ComponentUnderTest) -> str:
    """A channels-last input gives a channels-last output with the same values."""
    case = tested.plain
    module = tested.make(case)
    expected = run(module, case)
    out = run(
        tested.make(case).to(memory_format=torch.channels_last),
        case,
        case.input().to(memory_format=torch.channels_last),
    )
    if not out.is_contiguous(memory_format=torch.channels_last):
        raise BreachError(
            "the output of a channels-last input is not channels-last",
            str(case),
            "avoid view, reshape, flatten and contiguous() on the feature map; reduce with pixel_mean(x)",
        )
    _require_near(out, expected, f"channels-last, {case}", 1e-3)
    return ""


def gradient(tested: ComponentUnderTest) -> str:
    """Gradients of input and parameters against finite differences in float64."""
    case = tested.small
    module = tested.make(case).double()
    if torch.equal(*(run(module.train(), case, case.input().double()) for _ in range(2))):
        module.train()
    else:
        module.eval()  # what is random in training has no derivative there
    values = {name: each.detach() for name, each in module.named_parameters() if each.requires_grad}

    def function(x: Tensor, *parameters: Tensor) -> Tensor:
        output: Tensor = functional_call(module, dict(zip(values, parameters, strict=True)), (x.clone(),))
        return output

    inputs = [each.clone().requires_grad_() for each in (case.input().double(), *values.values())]
    hint = "let autograd derive it, or correct the backward of the autograd.Function"
    with breach_if_raised(f"float64, {case}", hint, "the gradient is wrong:"):
        torch.autograd.gradcheck(function, inputs, fast_mode=True, nondet_tol=0.0)
    return f"input and {len(values)} parameters"


def parameters(tested: ComponentUnderTest) -> str:
    """Every parameter gets a non-zero gradient."""
    case = tested.plain
    names = [name for name, each in tested.make(case).named_parameters() if each.requires_grad]
    if not names:
        raise NotCheckedError("it has no parameters")
    missing: dict[str, str] = {}
    for seed in range(4):
        module = tested.make(case, seed).train()
        x = case.input(seed)
        weights = torch.randn(case.expected, generator=torch.Generator().manual_seed(seed))
        with breach_if_raised(f"train, {case}"):
            (module(x) * weights).sum().backward()
        found = {
            name: "no gradient" if each.grad is None else "a gradient that is zero everywhere"
            for name, each in module.named_parameters()
            if each.requires_grad and (each.grad is None or not each.grad.any())
        }
        missing = found if seed == 0 else {name: why for name, why in found.items() if name in missing}
    for name, why in missing.items():
        raise BreachError(
            f"parameter {name!r} gets {why}", f"train, {case}", "use it in forward, or do not register it"
        )
    return f"{len(names)} parameters"


def train_eval(tested: ComponentUnderTest) -> str:
    """Evaluation changes nothing and keeps images independent; training changes no parameter by itself."""
    case = tested.plain
    module = tested.make(case)
    before = _copied(module.state_dict())
    together = run(module, case)
    _require_same(before, module.state_dict(), f"eval, {case}", "in evaluation a forward pass changes")
    alone = run(module, case, case.input()[:1])
    if not torch.allclose(together[:1], alone, rtol=1e-3, atol=1e-4):
        raise BreachError(
            "in evaluation an image's output depends on the other images of its batch",
            f"eval, {case}",
            "keep running statistics for evaluation, or take them over one image",
        )
    module.train()
    values = _copied(dict(module.named_parameters()))
    out = run(module, case)
    _require_same(values, dict(module.named_parameters()), f"train, {case}", "in training a forward pass changes")
    if not out.isfinite().all():
        raise BreachError("in training the output is not finite", f"train, {case}", "guard divisions with an epsilon")
    return ""


def _copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def _require_same(before: dict[str, Tensor], after: dict[str, Tensor], where: str, what: str) -> None:
    for name, tensor in before.items():
        if not torch.equal(tensor, after[name]):
            raise BreachError(f"{what} {name!r}", where, "change state in training alone, and in buffers")


def autocast(tested: ComponentUnderTest) -> str:
    """Mixed precision: float32 parameters under bfloat16 autocast, forward and backward."""
    case = tested.plain
    reference = run(tested.make(case), case)
    for kind in (torch.float32, torch.bfloat16):
        module, x = tested.make(case), case.input().to(kind).requires_grad_()
        where = f"autocast to bfloat16, input {str(kind).removeprefix('torch.')}, {case}"
        hint = "let torch's own functions choose the type; of two tensors, convert one with .to(other.dtype)"
        with breach_if_raised(where, hint):
            with torch.autocast("cpu", torch.bfloat16):
                out = module(x.clone())
            out.float().sum().backward()
        _require_near(out.detach().float(), reference, where, COARSE)
    return ""


def cuda(tested: ComponentUnderTest) -> str:
    """The same values on a CUDA device, forward and backward."""
    case = tested.plain
    expected = run(tested.make(case), case)
    module, x = tested.make(case).cuda(), case.input().cuda().requires_grad_()
    hint = "make new tensors with device=x.device"
    with breach_if_raised(f"cuda, {case}", hint), float32_products(x.device, tf32=False):
        out = module(x.clone())
        out.sum().backward()
    _require_near(out.detach().cpu(), expected, f"cuda, {case}", 1e-3)
    return torch.cuda.get_device_name()
