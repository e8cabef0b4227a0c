#!/usr/bin/env bash
# torch 2.14.1 (oneDNN 3.12, CPU with AMX): bf16 weight gradients of a convolution are wrong where its stride is larger
# than its input.
#
# A ResNet-18 at 16 pixels or fewer ends in such a one: 3x3, stride 2, over a map of 1 x 1. Outputs and input gradients
# are right. Of the 9 taps of a kernel only the middle one ever meets a pixel, so that the gradients of the other 8 are
# exactly 0, as float32 has them; in bf16 they hold what the memory held before: nothing on a fresh page, anything,
# also NaN, later in a training. Maps of at least the stride are right, and so are strides of 1.
# Seen: stride 2 over 1 x 1: gradients off the middle are not 0; over 2 x 2, and with stride 1 over 1 x 1: all right.
set -euo pipefail
grep -qw amx_bf16 /proc/cpuinfo || { echo "this processor has no AMX in bf16: other code of oneDNN runs here"; exit 0; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.14.1 numpy
"$folder/venv/bin/python" - <<'PYTHON'
import torch
from torch import nn

torch.manual_seed(0)


def wrong(stride, size):
    """Weights, of those whose gradient differs from float32's by over a twentieth of the largest, in ten tries."""
    found = 0
    for _ in range(10):
        conv = nn.Conv2d(64, 64, 3, stride, padding=1, bias=False)
        x = torch.randn(16, 64, size, size)
        left = [torch.full((1 << power,), 1e4) for power in range(8, 22)]  # what memory may hold that is used again
        del left
        with torch.autocast("cpu", torch.bfloat16):
            y = conv(x)
        gradient = torch.randn_like(y)
        (bf16,) = torch.autograd.grad(y, conv.weight, gradient)
        (fp32,) = torch.autograd.grad(conv(x), conv.weight, gradient.float())
        found += int(((bf16 - fp32).abs() > 0.05 * fp32.abs().max()).sum())
    return found


cases = {(stride, size): wrong(stride, size) for stride, size in ((2, 1), (2, 2), (2, 4), (1, 1))}
for (stride, size), found in cases.items():
    print(f"torch {torch.__version__}: stride {stride} over {size} x {size}: {found} of 368,640 gradients are wrong")
assert cases.pop((2, 1)) > 0
assert not any(cases.values()), cases
PYTHON
