"""ONNX files by torch's exporter, checked with ONNX Runtime. Legend: N batch, C channels, S size, K classes."""

from pathlib import Path
from typing import Any

from resnet_lab.device.agreement import OutputAgreement
from resnet_lab.device.onnx_graph import INPUT, OUTPUT, as_onnx, onnx_session
from resnet_lab.export.agreement import require_same
from resnet_lab.export.exported_model import ExportedModel
from resnet_lab.export.program import traced


def write_onnx(original: ExportedModel, path: Path) -> tuple[OutputAgreement, dict[str, Any]]:
    """Write a file with input `image` (N, C, S, S), normalised, and output `logits` (N, K), for any N.

    Weights of more than 1.5 GB lie beside it in a file of their own, since protobuf holds no more than 2 GB.

    Returns:
        What ONNX Runtime found, and the version of ONNX's operators.

    Raises:
        ExportError: a part that cannot be exported, or ONNX Runtime computes something else.
    """
    program = traced(original, "ONNX")
    with original.faults_of_plugins("ONNX"):
        exported = as_onnx(program)
    exported.model.metadata_props.update(original.properties)
    exported.save(str(path))
    agreement = require_same(original, onnx_session(path), "ONNX file")
    return agreement, {"opset": exported.model.opset_imports[""], "input": INPUT, "output": OUTPUT}
