"""Networks as ONNX graphs, and ONNX Runtime on the CPU. Legend: N batch, C channels, S size, K classes."""

import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from resnet_lab.core.errors import ConfigError, ResNetLabError

INPUT, OUTPUT = "image", "logits"
PACKAGES = ("onnx", "onnxruntime", "onnxscript")


def missing_packages() -> tuple[str, ...]:
    """Names of those that are needed and not installed."""
    return tuple(name for name in PACKAGES if find_spec(name) is None)


def require_packages(what: str, error: type[ResNetLabError] = ConfigError, imported: Sequence[str] = PACKAGES) -> None:
    """Raise `error` where a package is not installed, or cannot be imported.

    Args:
        what: needs them, for the error.
        imported: those that are needed in any case, and are imported.
    """
    if missing := missing_packages():
        raise error(
            f'{what} needs {", ".join(PACKAGES)}; not installed: {", ".join(missing)}; pip install "resnet-lab[onnx]"'
        )
    for name in imported:
        try:
            import_module(name)
        except (ImportError, OSError) as failure:  # such as of a library that it links to
            raise error(
                f"{what} needs {name}, which is installed and cannot be imported ({failure}); install it again"
            ) from failure


def traced(network: nn.Module, images: Tensor) -> ExportedProgram:
    """The network's operators in order, for any N. They are aliased with which lines of which files they came.

    Args:
        images: two or more, (N, C, S, S).

    Raises:
        Exception: whatever torch raises for code that it cannot trace.
    """
    program = torch.export.export(network, (images,), dynamic_shapes=({0: Dim("batch")},))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


def as_onnx(program: ExportedProgram) -> Any:
    """torch's `ONNXProgram` with input `image` (N, C, S, S) and output `logits` (N, K), for any N.

    Raises:
        Exception: whatever torch raises for operators that ONNX does not have.
    """
    with warnings.catch_warnings(action="ignore"):  # of the exporter, to torch's own
        exported = torch.onnx.export(
            program,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: "batch"},),  # its name
            dynamo=True,
            verbose=False,
        )
    assert exported is not None
    return exported


def onnx_session(graph: Path | bytes) -> Callable[[Tensor], Tensor]:
    """A graph as ONNX Runtime runs it on the CPU: images (N, C, S, S) to logits (N, K).

    It takes as many threads as torch. Between operators they sleep rather than wait actively, since others decode
    images on the same cores; beside programs that keep all cores busy, active waiting took twice as long.
    """
    runtime = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors, which are raised too; warnings are about its own optimisations
    session = runtime.InferenceSession(
        str(graph) if isinstance(graph, Path) else graph, options, providers=["CPUExecutionProvider"]
    )

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run([OUTPUT], {INPUT: images.contiguous().numpy()})[0])

    return run
