"""Training steps with the program's pooling, and with torch's, whose gradients lose the layout and count slowly.

Both are one network, uncompiled and channels-last, on noise; they take turns in one process (A B B A), and a figure is
the ratio of the medians of a forward and backward pass.

usage: python benchmarks/gradient_layouts.py OUT.json [SECONDS]
"""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_lab.bench.results import machine
from resnet_lab.core.choices import Precision
from resnet_lab.device import choose
from resnet_lab.device.trial_step import compare, noise
from resnet_lab.network import build, zoo
from resnet_lab.network.builtin import attentions, pools
from resnet_lab.network.builtin.shortcuts import ZeroPadShortcut

TORCHS = {
    "pixel_mean": lambda x: x.mean((2, 3), keepdim=True),
    "channel_mean": lambda x: x.mean(1, keepdim=True),
    "pixel_max": lambda x: x.amax((2, 3), keepdim=True),
    "channel_max": lambda x: x.amax(1, keepdim=True),
}
NETWORKS = (("resnet20", 16, 32), ("resnet18", 96, 32), ("resnet50", 224, 8))
PARTS: tuple[dict[str, str], ...] = ({}, {"act": "gelu"}, {"attn": "cbam"}, {"act": "gelu", "attn": "cbam"})
PRECISIONS: tuple[Precision, ...] = ("bf16", "fp32")


class WithTorchs(nn.Module):
    """The network with torch's own operators."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Any:
        with torchs():
            return self.network(x)


@contextmanager
def torchs() -> Iterator[None]:
    """Means, maxima and slices are torch's while it is entered."""
    with ExitStack() as stack:
        for module in (attentions, pools):
            for name, function in TORCHS.items():
                if hasattr(module, name):
                    stack.enter_context(patch.object(module, name, function))
        stack.enter_context(patch.object(ZeroPadShortcut, "forward", sliced))
        yield


def sliced(shortcut: ZeroPadShortcut, x: Tensor) -> Tensor:
    """Option A by a strided slice."""
    stride = shortcut.every.stride
    return F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, shortcut.before, shortcut.behind))


def main(out: str, seconds: float = 6.0) -> None:
    """Measure every case, and write after each."""
    content: dict[str, Any] = {"machine": machine(torch.device("cpu"), choose("cpu").name), "cases": {}}
    for name, size, batch in NETWORKS:
        for parts in PARTS:
            for precision in PRECISIONS:
                placement = choose("cpu", precision, "off")
                network = placement.place(build(zoo.get(name).modified(input_size=size, **parts))).train()
                x = noise(placement, (batch, 3, size, size))
                ours, theirs = compare(network, WithTorchs(network), placement, x, seconds)
                case = f"{name} at {size} px, batch {batch}, {' '.join(parts.values()) or 'plain'}, {precision}"
                content["cases"][case] = {"ours": ours, "torch's": theirs, "ratio": ours / theirs}
                print(f"{case}: {1000 * ours:.1f} and {1000 * theirs:.1f} ms, {ours / theirs:.2f}", flush=True)
                Path(out).write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main(sys.argv[1], *map(float, sys.argv[2:3]))
