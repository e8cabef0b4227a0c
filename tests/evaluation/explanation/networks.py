"""Networks to explain, and the formula of Grad-CAM without any shortcut."""

from copy import deepcopy
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_lab.network import zoo
from resnet_lab.network.builder import build
from resnet_lab.network.model import ResNet, Stage
from resnet_lab.network.plugins import load
from tests.device.networks import lived_in

BUILT_IN = load(only=())
SMALL = zoo.get("resnet20").modified(num_classes=5, input_size=16)


@cache
def network(name: str, **choices: object) -> ResNet:
    """Network with random weights and the statistics of a trained one; a test that changes it takes a copy."""
    model = lived_in(build(name, registry=BUILT_IN, num_classes=5, **choices))
    assert isinstance(model, ResNet)
    return model.eval()


def tiny(weight: list[list[float]], *blocks: nn.Module) -> ResNet:
    """Whose last stage's output is its input of two channels, unless `blocks` say otherwise."""
    fc = nn.Linear(2, len(weight), bias=False)
    fc.weight.data = torch.tensor(weight, dtype=torch.float32)
    nothing = [nn.Identity() for _ in range(4)]
    return ResNet(
        *nothing,
        stages=[Stage(*blocks or [nn.Identity()])],
        avgpool=nn.AdaptiveAvgPool2d(1),
        dropout=nn.Dropout(0.5),
        fc=fc,
    )


def images(number: int, size: int) -> Tensor:
    return torch.randn(number, 3, size, size, generator=torch.Generator().manual_seed(number))


def without_overwriting(model: nn.Module) -> nn.Module:
    """A copy in which no operator works in place."""
    copied = deepcopy(model).requires_grad_(True)
    for module in copied.modules():
        for flag in ("inplace", "add_in_place"):
            if hasattr(module, flag):
                setattr(module, flag, False)
    return copied


def by_hand(model: nn.Module, x: Tensor, classes: Tensor, layer: str) -> Tensor:
    """relu(sum_k mean(dy/dA_k) A_k), image by image in float64, at the image's size and as a share of its maximum."""
    copied = without_overwriting(model).eval().double()
    outputs: list[Tensor] = []

    def keep(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        outputs.append(output.clone())  # what a module hands on unchanged would get the gradient of all who use it
        outputs[-1].retain_grad()
        return outputs[-1]

    copied.get_submodule(layer).register_forward_hook(keep)
    maps = []
    for image, k in zip(x.double().requires_grad_(True), classes.tolist(), strict=True):
        copied(image.unsqueeze(0))[0, k].backward()
        a, gradient = outputs[-1].detach()[0], outputs[-1].grad[0]
        coarse = sum(gradient[c].mean() * a[c] for c in range(len(a))).clamp(min=0)
        fine = F.interpolate(coarse[None, None], x.shape[2:], mode="bilinear", align_corners=False)[0, 0]
        maps.append(fine / fine.max() if fine.max() > 0 else fine)
    return torch.stack(maps).float()
