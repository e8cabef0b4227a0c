"""Placement of a network: device, precision, memory layout, and whether it is compiled."""

import platform
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TypeVar, get_args

import torch
from torch import Tensor, nn

from resnet_lab.core.allocator import keep_freed_memory
from resnet_lab.core.choices import Compile, Precision, Runtime
from resnet_lab.core.errors import ConfigError
from resnet_lab.device.accelerators import EXPERIMENTAL, computes_bf16, find_device, is_amd

T = TypeVar("T")

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

COMPILATION = {
    "auto": "compiled where measured to be faster",
    "off": "not compiled (as asked)",
    "on": "compiled (as asked)",
    "max": "compiled with the longest search (as asked)",
}


@dataclass(frozen=True)
class Placement:
    """A device with what suits it.

    Attributes:
        dtype: that convolutions and matrix products are computed in; weights and losses stay float32.
        reason: of the precision, for a user, in a few words.
        tf32: whether float32 products are rounded to 10 bits of significand, on GPUs that gain by it.
        channels_last: whether the channels of a pixel lie side by side in memory.
        layout_reason: of the memory layout.
        compile: what was asked for.
        runtime: of trained networks, as asked for.
        remark: on the device, for a user; empty where there is none.
        kernels: of plugins that modules run (`device.kernels`).
    """

    device: torch.device
    dtype: torch.dtype
    reason: str
    tf32: bool = False
    channels_last: bool = True
    layout_reason: str = "as asked"
    compile: Compile = "auto"
    runtime: Runtime = "torch"
    remark: str = ""
    kernels: tuple[str, ...] = ()

    @property
    def precision(self) -> str:
        """Precision in the form that `choose` takes."""
        return "tf32" if self.tf32 else {dtype: name for name, dtype in DTYPES.items() if name != "tf32"}[self.dtype]

    def __str__(self) -> str:
        layout = "channels-last" if self.channels_last else "channels-first"
        kernels = f"; kernels of {', '.join(self.kernels)}" if self.kernels else ""
        return (
            f"{self.device} in {self.precision} ({self.reason}), {layout} ({self.layout_reason}), "
            f"{COMPILATION[self.compile]}{self.remark and f'; {self.remark}'}{kernels}"
        )

    def record(self) -> dict[str, object]:
        """Record the choices, as JSON."""
        return {
            "type": self.device.type,
            "name": self.name,
            "threads": torch.get_num_threads(),
            "precision": self.precision,
            "dtype": str(self.dtype).removeprefix("torch."),
            "channels_last": self.channels_last,
            "compile": self.compile,
            **({"kernels": list(self.kernels)} if self.kernels else {}),
        }

    @property
    def name(self) -> str:
        """Name of the GPU or CPU."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        if self.device.type != "cpu":
            return f"{EXPERIMENTAL[self.device.type]} {self.device.type}"
        return str(torch.cpu.get_capabilities().get("cpu_name") or platform.machine())

    def place(self, model: nn.Module) -> nn.Module:
        """The model moved to the device, in its layout.

        On the CPU the process keeps from now on what memory it frees (`allocator`).
        """
        if self.device.type == "cpu":
            keep_freed_memory()
        return model.to(self.device).to(memory_format=self.memory_format)

    def layout(self, x: Tensor) -> Tensor:
        """A batch N C H W on the device, in its layout."""
        return x.to(self.device).contiguous(memory_format=self.memory_format)

    @property
    def memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """The context in which the network runs in its precision; around a whole step, see `products`."""
        enabled = self.dtype != torch.float32
        with self.products(), torch.autocast(self.device.type, self.dtype if enabled else None, enabled=enabled):
            yield

    def products(self) -> AbstractContextManager[None]:
        """The context in which float32 products of a GPU, gradients' too, are in the precision that was chosen."""
        return float32_products(self.device, self.tf32) if self.dtype == torch.float32 else nullcontext()

    def seed(self, seed: int) -> None:
        """Seed the generators that a step draws from: the CPU's, and the GPU's own.

        `torch.manual_seed` seeds every kind of device, and formats the stack for each that is not in use.
        """
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            with torch.cuda.device(self.device):
                torch.cuda.manual_seed(seed)
        elif self.device.type != "cpu":
            getattr(torch, self.device.type).manual_seed(seed)

    def scaler(self) -> torch.amp.GradScaler:
        """Scales losses so that small gradients survive in fp16 (arXiv:1710.03740); passes them on unchanged else."""
        return torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)

    def facts(self) -> tuple[str, ...]:
        """Everything that a measured time depends on, except the network."""
        return *(f"{key} {value}" for key, value in self.record().items() if key != "compile"), torch.__version__


def choose(
    device: str = "auto",
    precision: Precision = "auto",
    compile: Compile = "auto",
    channels_last: bool | None = None,
    oversized_strides: Sequence[str] = (),
    runtime: Runtime = "torch",
) -> Placement:
    """The placement for what was requested.

    `auto` takes a GPU where there is one; bf16 where it is computed in hardware, else fp16 on GPUs that multiply it
    fast, else fp32; the memory layout that the device's convolutions are made for.

    Args:
        oversized_strides: of a network that is to be trained (`NetworkCost`): on a CPU, bf16 weight gradients of such
            convolutions hold whatever the memory held before (seen with torch 2.14.1, oneDNN 3.12 and AMX).
        runtime: of trained networks; `onnx` is for the CPU and fp32, which `auto` then takes, and `auto` takes it there
            alone.

    Raises:
        ConfigError: something unknown, CUDA where there is none, a precision that the device does not have, or in
            which it does not train the network, or what ONNX Runtime does not do.
    """
    _require("precision", precision, Precision)
    _require("compile", compile, Compile)
    _require("runtime", runtime, Runtime)
    if runtime == "onnx":
        device, precision, compile = _for_onnx(device, precision, compile)
    where, remark = find_device(device)
    taken, reason = _precision(where, precision, oversized_strides)
    last, layout_reason = _layout(where, taken) if channels_last is None else (channels_last, "as asked")
    return Placement(where, DTYPES[taken], reason, taken == "tf32", last, layout_reason, compile, runtime, remark)


def _for_onnx(device: str, precision: Precision, compile: Compile) -> tuple[str, Precision, Compile]:
    """Device, precision and compilation with ONNX Runtime; raises `ConfigError` where another was asked for."""
    for option, value, allowed in (
        ("device", device, ("auto", "cpu")),
        ("precision", precision, ("auto", "fp32")),
        ("compile", compile, ("auto", "off")),
    ):
        if value not in allowed:
            raise ConfigError(
                f"runtime onnx computes in fp32 on the CPU without torch's compiler, and {option} is {value}; "
                f"use {option} {allowed[1]}, or another runtime"
            )
    return "cpu", "fp32", "off"


@contextmanager
def float32_products(device: torch.device, tf32: bool) -> Iterator[None]:
    """Float32 products of a CUDA device rounded to tf32 or not while it is entered, and as before afterwards.

    The setting is the process's, and arms of several precisions take turns: so it is made around each call.
    """
    if device.type != "cuda":
        yield
        return
    backends = torch.backends.cuda.matmul, torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "tf32" if tf32 else "ieee"
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has done all that it was given, as before each look at the clock."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _require(option: str, value: object, allowed: object) -> None:
    if value not in get_args(allowed):
        raise ConfigError(f"{option} {value!r} must be one of {', '.join(get_args(allowed))}")


def _precision(device: torch.device, requested: Precision, oversized_strides: Sequence[str]) -> tuple[str, str]:
    """The precision and why."""
    if requested in ("tf32", "fp16") and device.type == "cpu":
        raise ConfigError(f"precision {requested} is for GPUs, and this network runs on the CPU; use bf16 or fp32")
    if requested == "tf32" and is_amd(device):
        raise ConfigError(f"precision tf32 is for NVIDIA's GPUs, and {device} is AMD's; use bf16, fp16 or fp32")
    if device.type in EXPERIMENTAL:
        return _precision_of_experimental(device, requested)
    if requested == "tf32" and torch.cuda.get_device_capability(device) < (8, 0):
        raise ConfigError(f"precision tf32 is for GPUs from Ampere on, and {device} is older; use fp16 or fp32")
    wrong = device.type == "cpu" and bool(oversized_strides)
    if requested == "bf16" and wrong:
        raise ConfigError(
            f"precision bf16: the network has a convolution with a stride of {oversized_strides[0]} pixels, whose bf16 "
            "gradients are wrong on a CPU; use fp32, or larger images"
        )
    if requested != "auto":
        return requested, "as asked"
    if computes_bf16(device) and wrong:
        return "fp32", f"bf16 gradients of a stride of {oversized_strides[0]} pixels are wrong on a CPU"
    if computes_bf16(device):
        return "bf16", "bf16 in hardware"
    if device.type == "cuda" and not is_amd(device) and torch.cuda.get_device_capability(device) >= (7, 0):
        return "fp16", "fp16 in hardware, and no bf16"
    return "fp32", "no bf16 in hardware"


def _precision_of_experimental(device: torch.device, requested: Precision) -> tuple[str, str]:
    if requested == "auto":
        return "fp32", f"what {device.type} is tried in first"
    if requested not in ("fp32", "bf16"):
        raise ConfigError(f"precision {requested} is not for {device}; use fp32, or bf16 where it computes that")
    if requested == "bf16" and not computes_bf16(device):
        raise ConfigError(f"precision bf16: {device} does not compute it; use fp32")
    return requested, "as asked"


def _layout(device: torch.device, precision: str) -> tuple[bool, str]:
    """Whether channels-last, and why."""
    if device.type == "cpu":
        return True, "no reordering between convolutions"
    if device.type != "cuda" or is_amd(device):
        return False, "nothing else was measured on it"
    if precision == "fp32":
        return False, "float32 convolutions of a GPU are made for it"
    return True, "tensor cores are made for it"
