"""How a network runs on the device at hand: where, in which precision, in which memory layout."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from resnet_lab.errors import ConfigError

Precision = Literal["auto", "fp32", "tf32", "bf16", "fp16"]
Compile = Literal["auto", "off", "on", "max"]


@dataclass(frozen=True)
class Placement:
    """A device with the precision that suits it.

    Attributes:
        dtype: that convolutions and matrix products are computed in; weights and losses stay float32.
        reason: for a user, in a few words.
    """

    device: torch.device
    dtype: torch.dtype
    reason: str

    def __str__(self) -> str:
        precision = "bf16" if self.dtype == torch.bfloat16 else "fp32"
        return f"{self.device} in {precision}, channels-last ({self.reason})"

    def place(self, model: nn.Module) -> nn.Module:
        """The model moved to the device, in channels-last layout, which the convolutions of CPU and GPU prefer."""
        return model.to(self.device).to(memory_format=torch.channels_last)

    def layout(self, x: Tensor) -> Tensor:
        """A batch N C H W in the same layout."""
        return x.to(self.device).contiguous(memory_format=torch.channels_last)

    def scaler(self) -> torch.amp.GradScaler:
        return torch.amp.GradScaler(self.device.type, enabled=False)

    def record(self) -> dict[str, object]:
        return {"type": self.device.type, "dtype": str(self.dtype).removeprefix("torch.")}

    def autocast(self) -> AbstractContextManager[object]:
        """The context in which the network runs in `dtype`."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16)


def choose(device: str = "auto", precision: Precision = "auto") -> Placement:
    """The placement for a user's wish; `auto` takes a GPU where there is one and bf16 where it is computed in hardware.

    Raises:
        ConfigError: an unknown device or precision, or CUDA where there is none.
    """
    if precision not in get_args(Precision):
        raise ConfigError(f"precision {precision!r} must be one of {', '.join(get_args(Precision))}")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ConfigError(f"device {device!r} is not a device; write auto, cpu, cuda or cuda:0") from None
    if chosen.type not in ("cpu", "cuda"):
        raise ConfigError(f"device {device!r} is not supported; write auto, cpu, cuda or cuda:0")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device {device!r} is not there: torch sees {torch.cuda.device_count()} CUDA devices")
    if precision == "auto":
        in_hardware = computes_bf16(chosen)
        dtype = torch.bfloat16 if in_hardware else torch.float32
        return Placement(chosen, dtype, "bf16 in hardware" if in_hardware else "no bf16 in hardware")
    return Placement(chosen, torch.bfloat16 if precision == "bf16" else torch.float32, "as asked")


def computes_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 in hardware rather than by conversion."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return bool(torch.cpu._is_avx512_bf16_supported())
