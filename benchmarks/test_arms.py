"""Every combination of the study's three changes to ResNet-50: `pytest benchmarks/ --benchmark-json=OUT.json`.

The arms of `resnet-lab bench --act relu,gelu --conv dense,depthwise --attn none,cbam`, one after the other, for those
who follow figures from commit to commit; ratios between arms are better taken from the command, where they take turns.
On a processor at 128 pixels.
"""

from typing import Any

import pytest
import torch

from resnet_lab.bench.arms import BenchArm, arms_of
from resnet_lab.bench.config import Mode
from resnet_lab.bench.results import machine
from resnet_lab.bench.timed_networks import NetworkCache, placement_of, ready
from resnet_lab.network import zoo
from resnet_lab.network.plugins import default_registry

GPU = torch.cuda.is_available()
BATCH, SIZE = (256, 224) if GPU else (4, 128)
ROUNDS: dict[Mode, int] = {"latency": 20, "infer": 10, "train": 10} if GPU else {"latency": 8, "infer": 5, "train": 3}
ARMS = arms_of(
    [zoo.get("resnet50")],
    {"act": ["relu", "gelu"], "conv": ["dense", "depthwise"], "attn": ["none", "cbam"]},
    sizes=[SIZE],
    batches=[BATCH],
)


@pytest.mark.parametrize("mode", ROUNDS)
@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm.name.replace(" ", "-"))
def test_arm(benchmark: Any, arm: BenchArm, mode: Mode) -> None:
    call = ready(arm, mode, NetworkCache(default_registry()), "auto")

    def timed() -> None:
        call()
        if GPU:
            torch.cuda.synchronize()

    placement = placement_of(arm, "auto", default_registry())
    benchmark.extra_info.update(
        machine(placement.device, placement.name), batch=1 if mode == "latency" else BATCH, spec_hash=arm.spec.hash,
        **{key: placement.record()[key] for key in ("dtype", "channels_last")},
    )  # fmt: skip
    benchmark.pedantic(timed, rounds=ROUNDS[mode], warmup_rounds=2)
