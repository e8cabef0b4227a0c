"""Weights that torchvision's own networks load, name by name. Legend: N batch, C channels, S size, K classes."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from resnet_lab.device.agreement import OutputAgreement
from resnet_lab.export.agreement import require_same
from resnet_lab.export.exported_model import ExportedModel, ExportError
from resnet_lab.network import zoo
from resnet_lab.network.differences import differences
from resnet_lab.network.spec import ModelSpec
from resnet_lab.network.weights.compatibility import anatomy, relatives

CONSTRUCTORS = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "wide_resnet50_2",
    "wide_resnet101_2",
)


def constructor_of(spec: ModelSpec, where: str) -> str:
    """The name of torchvision's function that makes this network.

    Raises:
        ExportError: there is none; each part that differs from the nearest is named.
    """
    alike = relatives(spec, CONSTRUCTORS)
    if not alike:
        raise ExportError(
            f"{where}: none of torchvision's networks is {anatomy(spec)}, so its weights fit none; "
            "export it with --to onnx or --to program"
        )
    changed = differences(spec, zoo.get(alike[0]), dropout=False)
    if changed:
        raise ExportError(
            f"{where}: the network is not torchvision's {alike[0]}, and its weights cannot be loaded there: it has "
            f"{'; '.join(changed)}; export it with --to onnx or --to program"
        )
    return alike[0]


def write_torchvision(original: ExportedModel, path: Path) -> tuple[OutputAgreement, dict[str, Any]]:
    """Write tensors by torchvision's names: safetensors, or with the ending .pth or .pt a state dict of `torch.save`.

    Returns:
        What torchvision's network found that loaded the file strictly, and how that network is made.

    Raises:
        ExportError: torchvision has no such network.
    """
    from torchvision.models import get_model

    spec = original.metadata.spec
    name = constructor_of(spec, str(original.weights))
    tensors = {key: tensor.contiguous() for key, tensor in original.model.state_dict().items()}
    pickled = path.suffix in (".pth", ".pt")
    if pickled:
        torch.save(tensors, path)
    else:
        save_file(tensors, path, {"format": "pt", "torchvision": name, **original.properties})
    network: nn.Module = get_model(name, weights=None, num_classes=spec.head.num_classes)
    network.load_state_dict(torch.load(path, weights_only=True) if pickled else load_file(path), strict=True)

    def outputs(images: Tensor) -> Tensor:
        result: Tensor = network(images)
        return result

    network.eval()
    agreement = require_same(original, outputs, "file of weights")
    return agreement, {"constructor": name, "num_classes": spec.head.num_classes}
