"""Devices of several makers, as far as questions to torch go."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from resnet_lab.core.errors import ConfigError
from resnet_lab.device import choose, computes_bf16

BUILT = ["sm_75", "sm_80", "sm_90a", "sm_100", "compute_100"]


def gpu(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int] = (8, 0), hip: str | None = None) -> None:
    """An NVIDIA GPU, or an AMD GPU of an architecture, whose capability torch makes of it."""
    built = BUILT if hip is None else ["gfx90a", "gfx1100", "gfx906"]
    monkeypatch.setattr(torch.version, "hip", None if hip is None else "6.4")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: built)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla V100")
    properties = SimpleNamespace(gcnArchName=f"{hip}:sramecc+:xnack-")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)


@pytest.mark.parametrize(
    ("capability", "runs"),
    [
        ((7, 0), False),
        ((7, 5), True),
        ((8, 9), True),
        ((9, 0), True),
        ((10, 0), True),
        ((12, 0), True),
        ((6, 1), False),
    ],
)
def test_kernels_of_a_build(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], runs: bool) -> None:
    gpu(monkeypatch, capability)
    if runs:
        assert choose().device.type == choose("cuda").device.type == "cuda"
        return
    version = f"{capability[0]}.{capability[1]}"
    what = (
        f"cuda is a Tesla V100 of compute capability {version}, and this torch has kernels for sm_75, sm_80, sm_90a, "
        "sm_100, compute_100"
    )
    with pytest.raises(ConfigError) as failure:
        choose("cuda")
    assert str(failure.value) == f"{what}; install a torch that was built for it, or give --device cpu"
    placement = choose()
    assert placement.device.type == "cpu"
    assert str(placement).endswith(f"; {what}: the CPU is used")


@pytest.mark.parametrize(
    ("architecture", "precision"), [("gfx90a", "bf16 (bf16 in hardware)"), ("gfx906", "fp32 (no bf16 in hardware)")]
)
def test_an_amd_gpu_is_read_by_its_architecture(
    monkeypatch: pytest.MonkeyPatch, architecture: str, precision: str
) -> None:
    """Its capability, (9, 0) for both, would be that of an H100."""
    gpu(monkeypatch, (9, 0), architecture)
    assert str(choose()) == (
        f"cuda in {precision}, channels-first (nothing else was measured on it), compiled where measured to be faster; "
        "ROCm is untested"
    )
    assert computes_bf16(torch.device("cuda")) == (architecture == "gfx90a")
    assert choose("cuda", channels_last=True).channels_last
    with pytest.raises(ConfigError) as failure:
        choose("cuda", "tf32")
    assert str(failure.value) == "precision tf32 is for NVIDIA's GPUs, and cuda is AMD's; use bf16, fp16 or fp32"


def test_an_amd_gpu_without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu(monkeypatch, (9, 0), "gfx803")
    with pytest.raises(ConfigError) as failure:
        choose("cuda")
    assert str(failure.value) == (
        "cuda is gfx803, and this torch has kernels for gfx90a, gfx1100, gfx906; install a torch that was built for "
        "it, or give --device cpu"
    )


@pytest.mark.parametrize("kind", ["mps", "xpu"])
def test_experimental_gpus_have_to_be_asked_for(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device(kind))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 1)
    monkeypatch.setattr("resnet_lab.device.accelerators._multiplies_bf16", lambda device: kind == "xpu")
    assert choose().device.type == "cpu"
    assert str(choose(kind)) == (
        f"{kind} in fp32 (what {kind} is tried in first), channels-first (nothing else was measured on it), compiled "
        f"where measured to be faster; {kind} is experimental and untested"
    )
    assert choose(kind).name == {"mps": "Apple mps", "xpu": "Intel xpu"}[kind]
    messages: dict[Any, str] = {
        "tf32": f"precision tf32 is not for {kind}; use fp32, or bf16 where it computes that",
        "fp16": f"precision fp16 is not for {kind}; use fp32, or bf16 where it computes that",
    }
    if kind == "mps":
        messages["bf16"] = "precision bf16: mps does not compute it; use fp32"
    else:
        assert choose("xpu", "bf16").dtype == torch.bfloat16
    for precision, message in messages.items():
        with pytest.raises(ConfigError) as failure:
            choose(kind, precision)
        assert str(failure.value) == message
    with pytest.raises(ConfigError) as failure:
        choose(f"{kind}:1")
    assert str(failure.value).startswith(f"device '{kind}:1' is not there: torch sees 1 GPUs of ")


def test_experimental_gpus_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for there in (None, torch.device("cuda")):
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available, there=there: there)
        with pytest.raises(ConfigError) as failure:
            choose("mps")
        assert str(failure.value) == "device 'mps' is not there: torch sees 0 GPUs of Apple's"
