"""Inference on the processor beside timm's: `python benchmarks/inference_speed.py out.json [rounds]`.

ResNet-50 at 224 pixels, and the same with GELU and CBAM, in bf16 and channels-last, eager and compiled. The arms take
turns in one process, in each round first in one order and then in the other; the figure is the median over the rounds
of the ratio of timm's time to ours. Theirs run with the C library's memory settings as they come, ours with
`device.allocator`'s; a second table has both with ours. "timm frozen" is timm compiled with inductor's `freezing`,
which `torch.compile` alone leaves out.
"""

import ctypes
import json
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

import resnet_lab
from resnet_lab.device import choose
from resnet_lab.device.allocator import M_MMAP_MAX, M_TOP_PAD, M_TRIM_THRESHOLD, keep_freed_memory
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
    """Seconds an image of every arm in every round, and ratios of timm's faster plain arm to ours."""
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
        "seconds an image": {"timm as it comes": as_it_comes, "timm with our memory setting": alike},
    }


def arms_of(ours: dict[str, Any], theirs: dict[str, Any], x: Tensor) -> dict[str, Arm]:
    """Ours as `for_inference` makes them; timm's with bf16 weights, not autocast, which would be slower."""

    def timm_model() -> nn.Module:
        model = timm.create_model("resnet50", **theirs).eval()
        return model.to(torch.bfloat16).to(memory_format=torch.channels_last).requires_grad_(False)

    model = resnet_lab.build("resnet50", **ours)
    eager, compiled = (choose("cpu", "bf16", wish).for_inference(model) for wish in ("off", "on"))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in (*eager.modules(), *compiled.modules()))
    return {
        "ours eager": eager,
        "ours compiled": compiled,
        "timm eager": timm_model(),
        "timm compiled": torch.compile(own_code(timm_model()), dynamic=False),
        "timm frozen": Frozen(timm_model(), x.shape, "on"),
    }


def in_turns(arms: dict[str, Arm], x: Tensor, rounds: int, setting: Callable[[str], Any]) -> dict[str, list[float]]:
    """Seconds an image, of each arm in each round."""
    repeats = max(1, SAMPLE // len(x))
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(rounds):
        found: dict[str, float] = dict.fromkeys(arms, 0.0)
        for name in (*arms, *reversed(arms)):
            with setting(name):
                arms[name](x)
                start = perf_counter()
                for _ in range(repeats):
                    arms[name](x)
                found[name] += (perf_counter() - start) / (2 * repeats * len(x))
        for name, value in found.items():
            seconds[name].append(value)
    return seconds


@contextmanager
def kept() -> Iterator[None]:
    """Ours: freed memory is kept."""
    keep_freed_memory()
    yield


@contextmanager
def stock() -> Iterator[None]:
    """What glibc's own thresholds rise to by themselves, and an empty heap to begin with."""
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_MAX, 65536)
    libc.mallopt(M_MMAP_THRESHOLD, 32 * 2**20)
    libc.mallopt(M_TRIM_THRESHOLD, 64 * 2**20)
    libc.mallopt(M_TOP_PAD, 128 * 2**10)
    libc.malloc_trim(0)
    yield


M_MMAP_THRESHOLD = -3


def ratios(seconds: dict[str, list[float]]) -> dict[str, Any]:
    """How many times as fast ours are, by round, as the faster of timm eager and compiled; and as timm frozen."""
    fastest = min(("timm eager", "timm compiled"), key=lambda name: median(seconds[name]))
    return {
        f"{mine} over {theirs}": spread([b / a for a, b in zip(seconds[mine], seconds[theirs], strict=True)])
        for mine, theirs in (
            ("ours compiled", fastest),
            ("ours eager", "timm eager"),
            ("ours compiled", "timm frozen"),
        )
    }


def spread(values: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, _, high = quantiles(values, n=4)
    return {"median": median(values), "low": low, "high": high, "n": len(values)}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 15)
