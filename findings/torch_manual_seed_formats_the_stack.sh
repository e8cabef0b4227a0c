#!/usr/bin/env bash
# torch 2.14.1: torch.manual_seed formats the whole Python stack once per kind of accelerator that is not initialised.
#
# On a processor alone each call makes three lists of formatted stack lines (CUDA, XPU, MTIA), so that its cost grows
# with the depth of the stack: seeding once per layer, as a test suite under pytest or a command line does, took
# milliseconds per layer. torch.default_generator.manual_seed gives the same numbers on the processor without them.
# Seen: 3 format_stack calls per seed; 100 frames deep about 1 ms against 1 us.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.14.1 numpy
"$folder/venv/bin/python" - <<'PYTHON'
import traceback
from time import perf_counter

import torch

calls, genuine = [], traceback.format_stack


def counted(*arguments, **options):
    calls.append(1)
    return genuine(*arguments, **options)


def deep(frames, work):
    return deep(frames - 1, work) if frames else work()


def seconds(work):
    """The median of 51 calls."""
    taken = []
    for _ in range(51):
        start = perf_counter()
        work()
        taken.append(perf_counter() - start)
    return sorted(taken)[25]


traceback.format_stack = counted
torch.manual_seed(0)
by_all = torch.rand(3)
found = len(calls)
torch.default_generator.manual_seed(0)
assert torch.equal(by_all, torch.rand(3)), "the same numbers"
assert len(calls) == found, "the generator's own method formats nothing"
traceback.format_stack = genuine
shallow = seconds(lambda: torch.manual_seed(1))
high = deep(100, lambda: seconds(lambda: torch.manual_seed(1)))
own = deep(100, lambda: seconds(lambda: torch.default_generator.manual_seed(1)))
print(f"torch {torch.__version__}: {found} stacks per torch.manual_seed; {1e3 * shallow:.3f} ms, 100 frames deep "
      f"{1e3 * high:.3f} ms; the generator's own method {1e3 * own:.4f} ms")
assert found == 3, found
assert high > 1.5 * shallow
assert high > 50 * own
PYTHON
