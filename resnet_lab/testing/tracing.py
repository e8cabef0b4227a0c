"""Checks that torch's tracers see the whole of a module. Legend: N batch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from resnet_lab.core.errors import ResNetLabError
from resnet_lab.device.onnx_graph import as_onnx, onnx_session, require_packages
from resnet_lab.testing.component_under_test import Case, ComponentUnderTest
from resnet_lab.testing.results import BreachError, NotCheckedError, breach_if_raised
from resnet_lab.testing.values import run

HINT = "no branches or loops on tensor values, no print, no .item(): torch.where chooses between values"


def compile_of(backend: str) -> Callable[[ComponentUnderTest], str]:
    """The check `compile` by a backend of torch.compile: `aot_eager` traces, `inductor` makes code too."""

    def check(tested: ComponentUnderTest) -> str:
        """torch.compile(fullgraph=True), forward and backward."""
        case = tested.plain
        module = tested.make(case)
        expected = run(module, case)
        with _fresh_dynamo(), breach_if_raised(str(case), HINT, "torch.compile(fullgraph=True) raises"):
            compiled = torch.compile(module, fullgraph=True, backend=backend)
            out = compiled(case.input().requires_grad_().clone())
            out.sum().backward()
        _require_equal(out.detach(), expected, "the compiled module", str(case))
        return f"backend {backend}"

    return check


@contextmanager
def _fresh_dynamo() -> Iterator[None]:
    """Reset torch's compiler, so that earlier compilations do not count against its limit of recompilations."""
    torch.compiler.reset()
    try:
        yield
    finally:
        torch.compiler.reset()


def export(tested: ComponentUnderTest) -> str:
    """torch.export for any number of images."""
    program, case = _exported(tested)
    three = torch.cat((case.input(), case.input(1)[:1]))
    with torch.no_grad():
        out = program.module()(three.clone())
    _require_equal(out, run(tested.make(case), case, three), "the exported program", f"3 images, {case}")
    return ""


@lru_cache(maxsize=1)  # `onnx` follows `export`
def _exported(tested: ComponentUnderTest) -> tuple[ExportedProgram, Case]:
    case = tested.plain
    with _fresh_dynamo(), breach_if_raised(str(case), HINT + ", nor on the number of images", "torch.export raises"):
        program = torch.export.export(tested.make(case), (case.input(),), dynamic_shapes=({0: Dim("batch")},))
    return program, case


def onnx(tested: ComponentUnderTest) -> str:
    """An ONNX file for any number of images, run by onnxruntime."""
    try:
        require_packages("the check of ONNX")
    except ResNetLabError as error:
        raise NotCheckedError(str(error)) from None
    program, case = _exported(tested)
    hint = "use operators that torch.onnx knows"
    with breach_if_raised(str(case), hint, "torch.onnx.export raises"):
        graph = as_onnx(program).model_proto.SerializeToString()
    three = torch.cat((case.input(), case.input(1)[:1]))
    with breach_if_raised(f"3 images, {case}", hint, "onnxruntime raises"):
        out = onnx_session(graph)(three)
    _require_equal(out, run(tested.make(case), case, three), "onnxruntime", f"3 images, {case}")
    return ""


def _require_equal(out: Tensor, expected: Tensor, what: str, where: str) -> None:
    if out.shape != expected.shape or not torch.allclose(out, expected, rtol=1e-3, atol=1e-4):
        raise BreachError(f"{what} computes something else than the module", where, HINT)
