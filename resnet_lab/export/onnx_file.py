"""ONNX files by torch's exporter, checked with onnxruntime. Legend: N batch, C channels, S size, K classes."""

import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnet_lab.export.agreement import OutputAgreement, require_same
from resnet_lab.export.exported_model import ExportedModel, ExportError
from resnet_lab.export.program import traced

INPUT, OUTPUT = "image", "logits"
PACKAGES = ("onnx", "onnxruntime", "onnxscript")


def require_packages() -> None:
    """Raise `ExportError` where one that the export needs is not installed."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise ExportError(
            f"the export to ONNX needs {', '.join(PACKAGES)}; not installed: {', '.join(missing)}; "
            'pip install "resnet-lab[onnx]"'
        )


def write_onnx(original: ExportedModel, path: Path) -> tuple[OutputAgreement, dict[str, Any]]:
    """Write a file with input `image` (N, C, S, S), normalised, and output `logits` (N, K), for any N.

    Weights of more than 1.5 GB lie beside it in a file of their own, since protobuf holds no more than 2 GB.

    Returns:
        What onnxruntime found, and the version of ONNX's operators.

    Raises:
        ExportError: a part that cannot be exported, or onnxruntime computes something else.
    """
    program = traced(original, "ONNX")
    with (
        original.faults_of_plugins("ONNX"),
        warnings.catch_warnings(action="ignore"),
    ):  # of the exporter, to torch's own
        exported = torch.onnx.export(
            program,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: "batch"},),  # its name
            dynamo=True,
            verbose=False,
        )
    assert exported is not None
    exported.model.metadata_props.update(original.properties)
    exported.save(str(path))
    agreement = require_same(original, _onnxruntime(path), "ONNX file")
    return agreement, {"opset": exported.model.opset_imports[""], "input": INPUT, "output": OUTPUT}


def _onnxruntime(path: Path) -> Callable[[Tensor], Tensor]:
    """The file as onnxruntime runs it on the CPU."""
    session = import_module("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0])

    return run
