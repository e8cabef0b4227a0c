"""State of a machine as the program finds it, and what would make it faster there."""

import os
import platform
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

import torch

from resnet_lab.core.cache_location import cache_folder, code_folder
from resnet_lab.core.errors import DataError
from resnet_lab.core.processor import allowed_cores, busy_cores
from resnet_lab.core.system_memory import free_memory, total_memory
from resnet_lab.data.cache_folders import bytes_free, entries
from resnet_lab.device import Placement, choose
from resnet_lab.device.compiled_code import VARIABLE, own_code_folder
from resnet_lab.network.registry import Registry

PROGRAM = "resnet-lab"
LITTLE_SPACE = 5 * 10**9
"""Free bytes of the cache's disk below which a remark is made; 10,000 images of 224 pixels take 1.5 GB."""

LOADED = 0.25
"""Cores that other programs keep busy from which on a remark is made."""

GIB = 2**30


@dataclass(frozen=True)
class Diagnosis:
    """State of the machine.

    Attributes:
        facts: by topic, a line each.
        advice: what would be faster, or work, and how to get there; the most important first.
    """

    facts: dict[str, str]
    advice: tuple[str, ...]


def diagnose(registry: Registry, device: str = "auto") -> Diagnosis:
    """Look at device, processor, memory, compilers, cache, plugins and optional packages; nothing is computed.

    Raises:
        ConfigError: the device is not there.
    """
    placement = choose(device)
    compiler, without_compiler = _compiler(placement.device)
    cache, of_cache = _cache()
    busy = busy_cores()
    extras = dict(_extras())
    facts = {
        "versions": f"resnet-lab {version(PROGRAM)}, Python {platform.python_version()}, torch {torch.__version__} "
        f"({_build()}), torchvision {version('torchvision')}, {platform.platform(terse=True)}",
        "device": f"{placement.name}, {placement}",
        "processor": f"{allowed_cores()} of {os.cpu_count()} cores may be used, others keep {busy:.1f} busy; torch "
        f"computes with {torch.get_num_threads()} threads here",
        "memory": f"{free_memory() / GIB:.1f} of {total_memory() / GIB:.1f} GiB free",
        "compiler": compiler,
        "cache": cache,
        "plugins": ", ".join(f"{each.name} ({each.status})" for each in registry.plugins) or "none",
        "optional packages": _installed(extras),
    }
    advice = (
        *_of_device(placement), *_of_processor(busy), *without_compiler, *_of_runtime(placement, extras), *of_cache,
        *map(str, registry.failures),
    )  # fmt: skip
    return Diagnosis(facts, advice)


def _build() -> str:
    """The devices that torch was built for."""
    if torch.version.cuda:
        return f"built for CUDA {torch.version.cuda}"
    return f"built for ROCm {torch.version.hip}" if torch.version.hip else "built for the CPU"


def _of_device(placement: Placement) -> Iterator[str]:
    if placement.remark:
        yield placement.remark
    if placement.device.type != "cpu" or torch.cuda.is_available():
        return
    if shutil.which("nvidia-smi"):
        yield (
            "an NVIDIA driver is installed, and torch sees no GPU: "
            + ("install a torch built for CUDA" if torch.version.cuda is None else "see what nvidia-smi says")
        )
    elif torch.version.cuda:
        yield (
            "torch was built for CUDA, and there is no GPU: its CPU build computes the same and takes some 5 GB less "
            "(https://pytorch.org/get-started/locally/)"
        )
    if placement.precision == "fp32":
        yield (
            "the processor has no bf16 in hardware, so that networks run in fp32; smaller images in the first epochs "
            "save time (train --progressive 0.57,1)"
        )


def _of_processor(busy: float) -> Iterator[str]:
    if busy > LOADED:
        yield (
            f"other programs keep {busy:.1f} cores busy: times vary, and train takes only the cores that are free "
            "(--threads N takes more)"
        )
    if (wanted := os.environ.get("OMP_NUM_THREADS", "")).isdigit() and 0 < int(wanted) < allowed_cores():
        yield f"OMP_NUM_THREADS is {wanted}, and {allowed_cores()} cores may be used: unset it to use them all"


def _compiler(device: torch.device) -> tuple[str, list[str]]:
    """The compiler behind `--compile`, and advice where there is none."""
    if device.type == "cuda":
        if find_spec("triton"):
            return f"Triton {version('triton')}", []
        return "none", ["Triton is not installed, so that networks are not compiled: pip install triton"]
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        return get_cpp_compiler(), []
    except InvalidCxxCompiler:
        return "none", [
            "there is no C++ compiler, so that networks are not compiled (compiled steps were measured to be 1.02 to "
            "1.26 times as fast on a CPU): install g++ or clang"
        ]


def _of_runtime(placement: Placement, extras: dict[str, bool]) -> Iterator[str]:
    if placement.device.type == "cpu" and placement.precision == "fp32" and not extras.get("onnx", True):
        yield 'predict and eval can be faster by ONNX Runtime in fp32: pip install "resnet-lab[onnx]"'


def _cache() -> tuple[str, list[str]]:
    """State of the cache, and advice on it."""
    folder, advice = cache_folder(), []
    try:
        held = entries()
    except DataError as error:
        return str(folder), [str(error)]
    free = bytes_free()
    if not os.access(_existing(folder), os.W_OK):
        advice.append(f"{folder} cannot be written, so that images are decoded again each time: set RESNET_LAB_CACHE")
    elif VARIABLE not in os.environ and own_code_folder() is None:
        advice.append(
            f"{code_folder()} can be entered by other users, so that compiled code and graphs are not kept: "
            "chmod 700 it"
        )
    if free < LITTLE_SPACE:
        advice.append(
            f"only {free / GIB:.1f} GiB are free for the cache: run resnet-lab data cache clear, or set "
            "RESNET_LAB_CACHE"
        )
    size = sum(each.nbytes for each in held)
    return f"{folder}: {size / GIB:.1f} GiB in {len(held)} folders, {free / GIB:.1f} GiB free", advice


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())


def _extras() -> Iterator[tuple[str, bool]]:
    """Extras of the distribution, and whether all their packages are installed."""
    wanted: dict[str, list[str]] = {}
    for line in requires(PROGRAM) or ():
        if found := re.match(r"([\w.-]+).*extra == ['\"]([\w-]+)['\"]", line):
            wanted.setdefault(found[2], []).append(found[1])
    for extra, packages in wanted.items():
        yield extra, all(map(_is_installed, packages))


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _installed(extras: dict[str, bool]) -> str:
    there = [name for name, installed in extras.items() if installed]
    missing = [name for name, installed in extras.items() if not installed and name != "dev"]
    words = [f"{', '.join(there) or 'none'} installed"]
    return "; ".join(words + ([f"not {', '.join(missing)}"] if missing else []))
