#!/usr/bin/env bash
# torch 2.14.1: mean((2, 3)), mean(1), adaptive_avg_pool2d(1) and strided slices give a channels-last map a
# channels-first gradient; avg_pool2d over the whole map and amax keep the layout. Values are equal.
#
# Residual additions hand that layout on: activations that are not in place (GELU, SiLU) take over the layout of the
# gradient, up to the next projection shortcut; in a network without projections (option A of He et al. 2015, whose slices
# begin it anew) through all blocks. Pointwise operators that meet both layouts are not vectorised. No warning. Seen in
# torchvision 0.29.1, resnet18 channels-last: channels-first gradients at 2 of 8 blocks with GELU, at 1 with ReLU, at
# none with avg_pool2d as the head. On one core of an AMD EPYC GELU's backward pass of 32 x 16 x 16 x 16 values takes
# 0.17 ms, and 1.5 ms where the gradient is channels-first.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.14.1 torchvision==0.29.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from statistics import median
from time import perf_counter

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import resnet18

torch.set_num_threads(1)


def channels_last(*shape):
    return torch.randn(shape).contiguous(memory_format=torch.channels_last)


def is_kept(reduce):
    x = channels_last(4, 8, 7, 5).requires_grad_()
    (gradient,) = torch.autograd.grad(reduce(x).square().sum(), x)
    return gradient.is_contiguous(memory_format=torch.channels_last)


class WholeMap(nn.Module):
    def forward(self, x):
        return F.avg_pool2d(x, x.shape[2:])


def channels_first_blocks(activation, head):
    model, found = resnet18(), []
    blocks = [block for stage in (model.layer1, model.layer2, model.layer3, model.layer4) for block in stage]
    for module in (model, *blocks):
        module.relu = activation
    model.avgpool = head
    model.to(memory_format=torch.channels_last)

    def note(gradient):
        found.append(not gradient.is_contiguous(memory_format=torch.channels_last))

    for block in blocks:
        block.register_forward_hook(lambda module, args, output: output.register_hook(note) and None)
    model(channels_last(2, 3, 64, 64)).square().sum().backward()
    return sum(found)


def milliseconds(gradient):
    x, times = channels_last(32, 16, 16, 16).requires_grad_(), []
    for _ in range(50):
        y = F.gelu(x)
        start = perf_counter()
        torch.autograd.grad(y, x, gradient)
        times.append(1e3 * (perf_counter() - start))
    return median(times)


reductions = {
    "mean((2, 3))": lambda x: x.mean((2, 3)),
    "mean(1)": lambda x: x.mean(1),
    "adaptive_avg_pool2d": lambda x: F.adaptive_avg_pool2d(x, 1),
    "slice": lambda x: x[:, :, ::2, ::2],
    "avg_pool2d": lambda x: F.avg_pool2d(x, x.shape[2:]),
    "amax": lambda x: x.amax((2, 3)),
}
kept = [name for name, reduce in reductions.items() if is_kept(reduce)]
print("the gradient keeps the layout:", ", ".join(kept))
counts = (
    channels_first_blocks(nn.GELU(), nn.AdaptiveAvgPool2d(1)),
    channels_first_blocks(nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1)),
    channels_first_blocks(nn.GELU(), WholeMap()),
)
print("blocks with a channels-first gradient: GELU %d, ReLU %d, GELU with avg_pool2d %d" % counts)
gradient = channels_last(32, 16, 16, 16)
print("GELU's backward pass: %.2f ms, and %.2f ms of a channels-first gradient"
      % (milliseconds(gradient), milliseconds(gradient.contiguous())))
sys.exit((kept, counts) != (["avg_pool2d", "amax"], (2, 1, 0)))
PYTHON
