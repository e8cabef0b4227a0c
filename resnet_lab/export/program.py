"""Files of torch.export. Legend: N batch, C channels, S size, K classes."""

import json
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from resnet_lab.device import onnx_graph
from resnet_lab.device.agreement import OutputAgreement
from resnet_lab.export.agreement import random_images, require_same
from resnet_lab.export.exported_model import ExportedModel

PROPERTIES = "resnet_lab.json"
"""Name of the text in the file that holds `ExportedModel.properties`."""


def traced(original: ExportedModel, target: str) -> ExportedProgram:
    """The network's operators in order, for any N.

    Args:
        target: what the program is for, for errors.

    Raises:
        ExportError: a plugin's part that cannot be traced.
    """
    with original.faults_of_plugins(target):
        return onnx_graph.traced(original.model, random_images(original, 2))


def write_program(original: ExportedModel, path: Path) -> tuple[OutputAgreement, dict[str, Any]]:
    """Write an exported program, (N, C, S, S), normalised, to logits (N, K), for any N.

    Raises:
        ExportError: a plugin's part that cannot be exported, or what was read back computes something else.
    """
    program = traced(original, "torch.export")
    torch.export.save(program, path, extra_files={PROPERTIES: json.dumps(original.properties)})
    read_back = torch.export.load(path).module()
    return require_same(original, read_back, "exported program"), {"properties": PROPERTIES}
