"""Inference on the CPU beside timm's: `python benchmarks/inference_speed.py out.json [rounds]`.

ResNet-50 at 224 pixels, and the same with GELU and CBAM, in bf16 and channels-last, eager and compiled. The arms take
turns in one process, in each round first in one order and then in the other; the figure is the median over the rounds
of the ratio of timm's time to ours. Theirs run with the C library's memory settings as they come, ours with
`allocator`'s; a second table has both with ours. "timm frozen" is timm compiled with inductor's `freezing`,
which `torch.compile` alone leaves out.

A round counts where other programs had under 5% of the processor; the others are kept in the file too.
"""

import ctypes
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter, process_time, sleep
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

import resnet_lab
from resnet_lab.core.allocator import M_MMAP_MAX, M_TOP_PAD, M_TRIM_THRESHOLD, keep_freed_memory
from resnet_lab.device import choose, optimize_for_inference
from resnet_lab.device.compiling import own_code
from resnet_lab.device.inference import Frozen

NETWORKS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "resnet50": ({}, {}),
    "resnet50, GELU and CBAM": (
        {"act": "gelu", "attn": "cbam"},
        {"act_layer": "gelu", "block_args": {"attn_layer": "cbam"}},
    ),
}
BATCHES = (1, 8, 32)
SAMPLE = 16
"""Images that are timed together at least."""

QUIET = 0.05
"""Share of the processor that other programs may have in a round that counts."""

PATIENCE = 20
"""Rounds that are tried for each that is to count, and seconds that are waited for the others before a round."""

ARMS = ("ours eager", "ours compiled", "timm eager", "timm compiled", "timm frozen")

Arm = Callable[[Tensor], Tensor]


def main(out: str, rounds: int = 15) -> None:
    """Measure everything and write it as JSON, after each part."""
    content: dict[str, Any] = {
        "setting": {
            "size": 224, "dtype": "bfloat16", "layout": "channels-last", "rounds": rounds,
            "threads": torch.get_num_threads(),
            "processor": torch.cpu.get_capabilities().get("cpu_name", platform.machine()),
            "python": platform.python_version(), "torch": torch.__version__, "timm": timm.__version__,
        }
    }  # fmt: skip
    for name, (ours, theirs) in NETWORKS.items():
        for batch in BATCHES:
            content[f"{name}, batch {batch}"] = measured(ours, theirs, batch, rounds)
            Path(out).write_text(json.dumps(content, indent=1))
            print(name, batch, json.dumps(content[f"{name}, batch {batch}"]["ratios"], indent=1), flush=True)


@torch.inference_mode()
def measured(ours: dict[str, Any], theirs: dict[str, Any], batch: int, rounds: int) -> dict[str, Any]:
    """Seconds per image of every arm in every round, and ratios of timm's faster plain arm to ours."""
    x = torch.randn(batch, 3, 224, 224).bfloat16().contiguous(memory_format=torch.channels_last)
    arms = arms_of(ours, theirs, x)
    packed = counters["inductor"]["mkldnn_conv_weight_pack_matcher_count"]
    for arm in arms.values():
        arm(x)
    assert counters["inductor"]["mkldnn_conv_weight_pack_matcher_count"] >= packed + 2 * 53
    as_it_comes = in_turns(arms, x, rounds, lambda name: kept() if name.startswith("ours") else stock())
    alike = in_turns(arms, x, max(3, rounds // 2), lambda name: kept())
    return {
        "ratios": {
            "timm as it comes": ratios(as_it_comes),
            "timm with our memory setting": ratios(alike),
        },
        "rounds": {"timm as it comes": as_it_comes, "timm with our memory setting": alike},
    }


def arms_of(ours: dict[str, Any], theirs: dict[str, Any], x: Tensor) -> dict[str, Arm]:
    """Ours as `optimize_for_inference` makes them; timm's with bf16 weights, not autocast, which would be slower."""

    def timm_model() -> nn.Module:
        model = timm.create_model("resnet50", **theirs).eval()
        return model.to(torch.bfloat16).to(memory_format=torch.channels_last).requires_grad_(False)

    model = resnet_lab.build("resnet50", **ours)
    eager, compiled = (optimize_for_inference(model, choose("cpu", "bf16", requested)) for requested in ("off", "on"))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in (*eager.modules(), *compiled.modules()))
    return {
        "ours eager": eager,
        "ours compiled": compiled,
        "timm eager": timm_model(),
        "timm compiled": torch.compile(own_code(timm_model()), dynamic=False),
        "timm frozen": Frozen(timm_model(), x.shape, "on"),
    }


def in_turns(arms: dict[str, Arm], x: Tensor, rounds: int, setting: Callable[[str], Any]) -> list[dict[str, float]]:
    """Interleaved rounds: seconds per image of each arm, and the share of the processor that `others` had."""
    done: list[dict[str, float]] = []
    while sum(map(is_quiet, done)) < rounds and len(done) < PATIENCE * rounds:
        wait_for_the_others()
        begin = clocks()
        seconds = dict.fromkeys(arms, 0.0)
        for name in (*arms, *reversed(arms)):
            with setting(name):
                seconds[name] += seconds_an_image(arms[name], x) / 2
        done.append({"others": share_of_others(begin, clocks()), **seconds})
    return done


def seconds_an_image(arm: Arm, x: Tensor) -> float:
    """Seconds per image, after one call that is not timed."""
    repeats = max(1, SAMPLE // len(x))
    arm(x)
    start = perf_counter()
    for _ in range(repeats):
        arm(x)
    return (perf_counter() - start) / (repeats * len(x))


def is_quiet(found: dict[str, float]) -> bool:
    return found["others"] < QUIET


def wait_for_the_others() -> None:
    """Wait for the other processes until they rest for a second."""
    for _ in range(PATIENCE):
        begin = clocks()
        sleep(1)
        if share_of_others(begin, clocks()) < QUIET:
            return


def clocks() -> tuple[float, float, float]:
    """Wall time, and seconds of all processors that were used by this process and by all."""
    ticks = [int(number) for number in Path("/proc/stat").read_text().split()[1:9]]
    idle = ticks[3] + ticks[4]
    return perf_counter(), process_time(), (sum(ticks) - idle) / os.sysconf("SC_CLK_TCK")


def share_of_others(begin: tuple[float, float, float], end: tuple[float, float, float]) -> float:
    """Share of other programs in the processors' time between two looks at the clocks."""
    wall, own, all_ = (b - a for a, b in zip(begin, end, strict=True))
    return max(0.0, all_ - own) / (wall * (os.cpu_count() or 1))


@contextmanager
def kept() -> Iterator[None]:
    """Ours: freed memory is kept."""
    keep_freed_memory()
    yield


@contextmanager
def stock() -> Iterator[None]:
    """Set glibc's own thresholds to what they rise to by themselves, with an empty heap to begin with."""
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_MAX, 65536)
    libc.mallopt(M_MMAP_THRESHOLD, 32 * 2**20)
    libc.mallopt(M_TRIM_THRESHOLD, 64 * 2**20)
    libc.mallopt(M_TOP_PAD, 128 * 2**10)
    libc.malloc_trim(0)
    yield


M_MMAP_THRESHOLD = -3


def ratios(rounds: list[dict[str, float]]) -> dict[str, Any]:
    """Speed-ups by round over the faster of timm eager and compiled, and over timm frozen."""
    counted = [found for found in rounds if is_quiet(found)]
    if len(counted) < 3:
        return {}
    fastest = min(("timm eager", "timm compiled"), key=lambda name: median(found[name] for found in counted))
    return {
        f"{mine} over {theirs}": spread([found[theirs] / found[mine] for found in counted])
        for mine, theirs in (("ours compiled", fastest), ("ours eager", "timm eager"), ("ours compiled", "timm frozen"))
    } | {"milliseconds": {name: round(1000 * median(found[name] for found in counted), 2) for name in ARMS}}


def spread(values: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, _, high = quantiles(values, n=4)
    return {"median": median(values), "low": low, "high": high, "n": len(values)}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 15)
