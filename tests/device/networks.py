"""Small networks, and what stands in for torch's compiler, which takes seconds."""

from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

from resnet_lab.core.watcher import Watcher

SHAPE = (4, 3, 8, 8)


def small(*last: nn.Module) -> nn.Module:
    """A convolution, batch norm and a classifier, with `last` before it."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        *last,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )


def lived_in(model: nn.Module) -> nn.Module:
    """Network with statistics and weights of batch norms such as a training leaves, not those of the first step."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.3, 3, generator=generator)
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, 0, 0.3, generator=generator)
    return model


class Breaking(nn.Module):
    """Network that Dynamo cannot compile whole."""

    def forward(self, x: Tensor) -> Tensor:
        torch._dynamo.graph_break()
        return x * 1


class Choosing(nn.Module):
    """Network that cannot be traced symbolically."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.sum() > 0 else x * 3


class Listener(Watcher):
    """Keeps all messages."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def say(self, text: str) -> None:
        self.notes.append(text)


class Counting:
    """A compiler that counts what it is given and changes nothing."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, graph: fx.GraphModule, inputs: list[Tensor]) -> Any:
        self.calls += 1
        return graph.forward


def put_in_place_of_the_compiler(monkeypatch: pytest.MonkeyPatch) -> Counting:
    """`torch.compile` without compiling."""
    counting, real = Counting(), torch.compile

    def compile(function: Any, *, fullgraph: bool, mode: str, dynamic: bool | None = None) -> Any:
        assert mode in ("default", "max-autotune-no-cudagraphs")
        return real(function, fullgraph=fullgraph, dynamic=dynamic, backend=counting)

    monkeypatch.setattr(torch, "compile", compile)
    return counting
