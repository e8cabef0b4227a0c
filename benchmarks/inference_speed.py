"""Inference beside timm's and ONNX Runtime's.

usage: python benchmarks/inference_speed.py OUT.json [ROUNDS] [bf16|fp32] [wall|processor] [--device DEVICE]

ResNet-50 at 224 pixels, and the same with GELU and CBAM, by torch in bf16 (or fp32) and channels-last, eager and
compiled, and by ONNX Runtime in fp32 and int8. The arms take turns in one process, in each round first in one order and
then in the other; the figure is the median over the rounds of the ratio of their time to ours, with its 95% interval.
Theirs run with the C library's memory settings as they come, ours with `allocator`'s; a second table has both with
ours. "timm frozen" is timm compiled with inductor's `freezing`, which `torch.compile` alone leaves out; "ONNX Runtime"
is timm's network as torch exports it, in a session with its default options; "ours int8" is calibrated on noise, as
time does not depend on it. On a GPU the arms are torch's alone.

A round counts where other programs had under 5% of the processor. Where fewer than three do, all count, and the result
says `"disturbed": true`. Beside busy programs, `processor` compares seconds of the processor, with OMP_NUM_THREADS=1: a
thread that waits for another would count. The variables SIZE, BATCHES (1,8,32) and ALIKE (0 leaves out the second
table) make it shorter.
"""

import ctypes
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from time import perf_counter, process_time, sleep
from typing import Any

import onnxruntime
import timm
import torch
from devices import device_of
from scipy.stats import binom
from torch import Tensor, nn
from torch._dynamo.utils import counters

import resnet_lab
from resnet_lab.core.allocator import M_MMAP_MAX, M_TOP_PAD, M_TRIM_THRESHOLD, keep_freed_memory
from resnet_lab.device import choose, optimize_for_inference
from resnet_lab.device.compiling import own_code
from resnet_lab.device.folding import folded
from resnet_lab.device.inference import Frozen
from resnet_lab.device.onnx_graph import as_onnx, onnx_session, traced
from resnet_lab.device.placement import wait_for
from resnet_lab.export.int8_file import quantise

NETWORKS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "resnet50": ({}, {}),
    "resnet50, GELU and CBAM": (
        {"act": "gelu", "attn": "cbam"},
        {"act_layer": "gelu", "block_args": {"attn_layer": "cbam"}},
    ),
}
BATCHES = tuple(map(int, os.environ.get("BATCHES", "1,8,32").split(",")))
SAMPLE = {"cpu": 16, "gpu": 2048}
"""Images that are timed together at least."""

QUIET = 0.05
"""Share of the processor that other programs may have in a round that counts."""

PATIENCE = 3
"""Rounds that are tried for each that is to count, and seconds that are waited for the others before a round."""

SIZE = int(os.environ.get("SIZE", "224"))
"""Pixels; fewer to try the program itself."""

ALIKE = os.environ.get("ALIKE", "1") == "1"
"""Whether the second table is measured."""

OURS = ("ours eager", "ours compiled", "ours onnx")
"""Arms that `--runtime auto` and `--compile auto` choose from; ONNX Runtime in fp32 on the CPU alone."""

CLOCKS: dict[str, Callable[[], float]] = {"wall": perf_counter, "processor": process_time}

THEIRS = ("timm eager", "timm compiled", "ONNX Runtime")

Arm = Callable[..., Tensor]


def main(out: str, rounds: int = 15, precision: str = "bf16", clock: str = "wall", device: str = "cpu") -> None:
    """Measure everything and write it as JSON, after each part."""
    content: dict[str, Any] = {
        "setting": {
            "size": SIZE, "precision": precision, "clock": clock, "layout": "channels-last", "rounds": rounds,
            "threads": torch.get_num_threads(), "device": choose(device).name,
            "processor": torch.cpu.get_capabilities().get("cpu_name", platform.machine()),
            "python": platform.python_version(), "torch": torch.__version__, "timm": timm.__version__,
            "onnxruntime": onnxruntime.__version__,
        }
    }  # fmt: skip
    for name, (ours, theirs) in NETWORKS.items():
        for batch in BATCHES:
            content[f"{name}, batch {batch}"] = measured(ours, theirs, batch, rounds, precision, clock, device)
            Path(out).write_text(json.dumps(content, indent=1))
            print(name, batch, json.dumps(content[f"{name}, batch {batch}"]["ratios"], indent=1), flush=True)


def measured(
    ours: dict[str, Any], theirs: dict[str, Any], batch: int, rounds: int, precision: str, clock: str, device: str
) -> dict[str, Any]:
    """Seconds per image of every arm in every round, and ratios of their fastest plain arm to ours."""
    arms = arms_of(ours, theirs, torch.randn(batch, 3, SIZE, SIZE), precision, device)
    where = choose(device).device
    packed = counters["inductor"]["mkldnn_conv_weight_pack_matcher_count"]
    with torch.inference_mode():
        for arm in arms.values():
            arm()
    assert where.type != "cpu" or counters["inductor"]["mkldnn_conv_weight_pack_matcher_count"] >= packed + 2 * 53
    as_it_comes = in_turns(
        arms, batch, rounds, lambda name: kept() if name.startswith("ours") else stock(), clock, where
    )
    tables = {"timm as it comes": as_it_comes}
    if ALIKE:
        alike = in_turns(arms, batch, max(3, rounds // 2), lambda name: kept(), clock, where)
        tables["timm with our memory setting"] = alike
    return {"ratios": {name: ratios(table, precision, clock) for name, table in tables.items()}, "rounds": tables}


def arms_of(
    ours: dict[str, Any], theirs: dict[str, Any], x: Tensor, precision: str, device: str = "cpu"
) -> dict[str, Arm]:
    """Arms by name, each with the input that suits it.

    Ours are as `optimize_for_inference` makes them; timm's have weights in bf16, not autocast, which would be slower.
    """
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]
    where = choose(device).device
    suited = x.to(where, dtype).contiguous(memory_format=torch.channels_last)

    def timm_model() -> nn.Module:
        model = timm.create_model("resnet50", **theirs).eval()
        return model.to(where, dtype).to(memory_format=torch.channels_last).requires_grad_(False)

    model = resnet_lab.build("resnet50", **ours)
    eager, compiled = (
        optimize_for_inference(model, choose(device, precision, asked, channels_last=True)) for asked in ("off", "on")
    )
    assert not any(isinstance(module, nn.BatchNorm2d) for module in (*eager.modules(), *compiled.modules()))
    by_torch = {
        "ours eager": eager,
        "ours compiled": compiled,
        "timm eager": timm_model(),
        "timm compiled": torch.compile(own_code(timm_model()), dynamic=False),
        "timm frozen": Frozen(timm_model(), x.shape, "on"),
    }
    if where.type != "cpu":
        return {name: partial(arm, suited) for name, arm in by_torch.items()}
    by_onnx = {
        "ours onnx": optimize_for_inference(model, choose(runtime="onnx")),
        "ours int8": int8(model, x),
        "ONNX Runtime": plain_onnx(timm.create_model("resnet50", **theirs).eval(), x),
    }
    return {name: partial(arm, suited) for name, arm in by_torch.items()} | {
        name: partial(arm, x) for name, arm in by_onnx.items()
    }


def plain_onnx(model: nn.Module, x: Tensor) -> Arm:
    """A network as torch exports it, in a session with as many threads as torch has and otherwise default options."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(graph_of(model, x), options, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {"image": x.numpy()})[0])


def int8(model: nn.Module, x: Tensor) -> Arm:
    """Our network in int8."""
    with TemporaryDirectory() as folder:
        plain, path = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        plain.write_bytes(graph_of(folded(model), x))
        quantise(plain, path, iter([x[:8]]), reduce_range=not torch.cpu._is_vnni_supported())
        return onnx_session(path)


def graph_of(model: nn.Module, x: Tensor) -> bytes:
    return as_onnx(traced(model, torch.zeros(2, *x.shape[1:]))).model_proto.SerializeToString()


@torch.inference_mode()
def in_turns(
    arms: dict[str, Arm], batch: int, rounds: int, setting: Callable[[str], Any], clock: str, device: torch.device
) -> list[dict[str, float]]:
    """Interleaved rounds: seconds per image of each arm, and the share of the processor that `others` had."""
    done: list[dict[str, float]] = []
    patience = PATIENCE if clock == "wall" else 1
    while sum(map(is_quiet, done)) < rounds and len(done) < patience * rounds:
        if clock == "wall":
            wait_for_the_others()
        begin = clocks()
        seconds = dict.fromkeys(arms, 0.0)
        for name in (*arms, *reversed(arms)):
            with setting(name):
                seconds[name] += seconds_an_image(arms[name], batch, CLOCKS[clock], device) / 2
        done.append({"others": share_of_others(begin, clocks()), **seconds})
    return done


def seconds_an_image(arm: Arm, batch: int, seconds: Callable[[], float], device: torch.device) -> float:
    """Seconds per image, after one call that is not timed."""
    repeats = max(1, SAMPLE["cpu" if device.type == "cpu" else "gpu"] // batch)
    arm()
    wait_for(device)
    start = seconds()
    for _ in range(repeats):
        arm()
    wait_for(device)
    return (seconds() - start) / (repeats * batch)


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


def ratios(rounds: list[dict[str, float]], precision: str, clock: str) -> dict[str, Any]:
    """Speed-ups by round: of our best over the fastest of theirs, of int8 over the fastest float, and of pairs."""
    counted = [found for found in rounds if is_quiet(found)]
    disturbed = len(counted) < 3 and clock == "wall"
    counted = rounds if disturbed or clock == "processor" else counted
    times = {name: median(found[name] for found in counted) for name in counted[0] if name != "others"}
    chosen_from = [name for name in OURS if name in times and (precision == "fp32" or name != "ours onnx")]
    there = [name for name in THEIRS if name in times]
    best, fastest = (min(names, key=lambda name: times[name]) for names in (chosen_from, there))
    fastest_float = min((name for name in times if name != "ours int8"), key=lambda name: times[name])
    pairs = [
        (best, fastest), ("ours eager", "timm eager"), ("ours compiled", "timm compiled"),
        ("ours compiled", "timm frozen"), ("ours onnx", "ONNX Runtime"), ("ours int8", fastest_float),
    ]  # fmt: skip
    return {
        "disturbed": disturbed,
        "ours over theirs": f"{best} over {fastest}",
        **{
            f"{mine} over {theirs}": spread([found[theirs] / found[mine] for found in counted])
            for mine, theirs in pairs
            if mine in times
        },
        "milliseconds": {name: round(1000 * seconds, 2) for name, seconds in times.items()},
    }


def spread(values: list[float]) -> dict[str, Any]:
    """Median, its 95% interval by the binomial distribution of signs (None for few values), and quartiles."""
    low, _, high = quantiles(values, n=4)
    below = int(binom.ppf(0.025, len(values), 0.5)) - 1  # the values that may lie outside at each end
    ordered = sorted(values)
    interval = [ordered[below], ordered[-1 - below]] if below >= 0 else None
    return {"median": median(values), "interval": interval, "low": low, "high": high, "n": len(values)}


if __name__ == "__main__":
    device, arguments = device_of(sys.argv[1:])
    main(arguments[0], int(arguments[1]) if len(arguments) > 1 else 15, *arguments[2:4], device=device)
