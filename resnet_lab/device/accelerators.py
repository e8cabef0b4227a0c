"""Devices by their makers: whether they are there, what torch has for them, and what they compute."""

import re

import torch

from resnet_lab.core.errors import ConfigError

WRITE = "write auto, cpu, cuda, cuda:0, mps or xpu"

EXPERIMENTAL = {"mps": "Apple", "xpu": "Intel"}
"""Kinds of GPU that have to be asked for, by maker: nothing was measured on them."""

ROCM_BF16 = ("gfx90a", "gfx94", "gfx95", "gfx11", "gfx12")
"""Beginnings of AMD's architectures that multiply bf16 in hardware, as AMD's documentation has it."""


def find_device(requested: str) -> tuple[torch.device, str]:
    """The device for what was requested, and a remark on it, which may be empty.

    Raises:
        ConfigError: there is no such device, or this torch has no kernels for it.
    """
    if requested == "auto":
        return _own_choice()
    try:
        device = torch.device(requested)
    except RuntimeError:
        raise ConfigError(f"device {requested!r} is not a device; {WRITE}") from None
    if device.type == "cuda":
        if (device.index or 0) >= torch.cuda.device_count():
            raise ConfigError(f"device {requested!r} is not there: torch sees {torch.cuda.device_count()} CUDA devices")
        if missing := missing_kernels(device):
            raise ConfigError(f"{missing}; install a torch that was built for it, or give --device cpu")
    elif device.type in EXPERIMENTAL:
        there = torch.accelerator.current_accelerator(check_available=True)
        count = torch.accelerator.device_count() if there is not None and there.type == device.type else 0
        if (device.index or 0) >= count:
            maker = EXPERIMENTAL[device.type]
            raise ConfigError(f"device {requested!r} is not there: torch sees {count} GPUs of {maker}'s")
    elif device.type != "cpu":
        raise ConfigError(f"device {requested!r} is not supported; {WRITE}")
    return device, _remark(device)


def computes_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 in hardware rather than by conversion; on experimental ones, at all."""
    if is_amd(device):
        return architecture(device).startswith(ROCM_BF16)
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type in EXPERIMENTAL:
        return _multiplies_bf16(device)
    return bool(torch.cpu._is_avx512_bf16_supported())


def is_amd(device: torch.device) -> bool:
    """Whether it is a GPU of ROCm's, which torch calls CUDA too."""
    return device.type == "cuda" and torch.version.hip is not None


def architecture(device: torch.device) -> str:
    """Name of an AMD GPU's architecture, such as gfx90a; its compute capability would be read as one of NVIDIA's."""
    return str(torch.cuda.get_device_properties(device).gcnArchName).split(":")[0]


def missing_kernels(device: torch.device) -> str:
    """Why this torch cannot compute on a CUDA device, or nothing."""
    built = torch.cuda.get_arch_list()
    if is_amd(device):
        if not built or architecture(device) in built:
            return ""
        return f"{device} is {architecture(device)}, and this torch has kernels for {', '.join(built)}"
    capability = torch.cuda.get_device_capability(device)
    if not built or any(_runs(name, capability) for name in built):
        return ""
    name, version = torch.cuda.get_device_name(device), ".".join(map(str, capability))
    return f"{device} is a {name} of compute capability {version}, and this torch has kernels for {', '.join(built)}"


def _runs(name: str, capability: tuple[int, int]) -> bool:
    """Whether kernels of a name, `sm_90`, run: binaries within a generation, `compute_90` on all that came later."""
    found = re.fullmatch(r"(sm|compute)_(\d+)(\d)([a-z]?)", name)
    if found is None:
        return True  # of a form not known here
    kind, exact = found[1], bool(found[4])
    version = int(found[2]), int(found[3])
    if exact or kind == "compute":
        return version == capability if exact else version <= capability
    return version[0] == capability[0] and version[1] <= capability[1]


def _own_choice() -> tuple[torch.device, str]:
    cpu = torch.device("cpu")
    if not torch.cuda.is_available():
        return cpu, ""
    device = torch.device("cuda")
    if missing := missing_kernels(device):
        return cpu, f"{missing}: the CPU is used"
    return device, _remark(device)


def _remark(device: torch.device) -> str:
    if is_amd(device):
        return "ROCm is untested"
    return f"{device.type} is experimental and untested" if device.type in EXPERIMENTAL else ""


def _multiplies_bf16(device: torch.device) -> bool:
    try:
        x = torch.ones(8, 8, dtype=torch.bfloat16, device=device)
        return bool((x @ x).float().eq(8).all())
    except (RuntimeError, TypeError):
        return False
