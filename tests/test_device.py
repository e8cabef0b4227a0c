import pytest
import torch
from torch import nn

from resnet_lab import device
from resnet_lab.errors import ConfigError


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"precision": "fp8"}, "precision 'fp8' must be one of auto, fp32, bf16"),
        ({"device": "tpu"}, "device 'tpu' is not a device; write auto, cpu, cuda or cuda:0"),
        ({"device": "meta"}, "device 'meta' is not supported; write auto, cpu, cuda or cuda:0"),
        ({"device": "cuda:99"}, "device 'cuda:99' is not there: torch sees "),
    ],
)
def test_devices_that_are_not(wish: dict, message: str) -> None:
    with pytest.raises(ConfigError) as failure:
        device.choose(**wish)
    assert str(failure.value).startswith(message)


@pytest.mark.parametrize("in_hardware", [True, False])
def test_bf16_is_chosen_where_the_hardware_has_it(monkeypatch: pytest.MonkeyPatch, in_hardware: bool) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: in_hardware)
    placement = device.choose("cpu")
    assert placement.dtype == (torch.bfloat16 if in_hardware else torch.float32)
    said = (
        "cpu in bf16, channels-last (bf16 in hardware)"
        if in_hardware
        else ("cpu in fp32, channels-last (no bf16 in hardware)")
    )
    assert str(placement) == said
    assert str(device.choose("cpu", "fp32")) == "cpu in fp32, channels-last (as asked)"


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_a_placed_network_runs_as_said(precision: device.Precision, dtype: torch.dtype) -> None:
    placement = device.choose("cpu", precision)
    conv = placement.place(nn.Conv2d(4, 4, 3))
    x = placement.layout(torch.randn(2, 4, 8, 8))
    with placement.autocast():
        out = conv(x)
    assert out.dtype == dtype
    assert conv.weight.dtype == torch.float32
    for tensor in (x, out, conv.weight):
        assert tensor.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_taken_where_there_is_one() -> None:
    assert device.choose().device.type == "cuda"


def test_cuda_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ConfigError) as failure:
        device.choose("cuda")
    assert str(failure.value) == "device 'cuda' is not there: torch sees 0 CUDA devices"


@pytest.mark.parametrize(
    ("capability", "dtype"),
    [((7, 5), torch.float32), ((8, 0), torch.bfloat16), ((8, 9), torch.bfloat16), ((9, 0), torch.bfloat16)],
)
def test_auto_takes_a_gpu_and_bf16_from_ampere_on(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda chosen: capability)
    placement = device.choose()
    assert (placement.device.type, placement.dtype) == ("cuda", dtype)


def test_bf16_results_are_rounded_as_bf16_is() -> None:
    """Eight bits of significand: 1 + 1/512 is lost in bf16, and kept in fp32."""
    x = torch.tensor([[1 + 1 / 512]])
    layer = nn.Linear(1, 1, bias=False)
    nn.init.ones_(layer.weight)
    found = {}
    for precision in ("fp32", "bf16"):
        with device.choose("cpu", precision).autocast():
            found[precision] = layer(x).item()
    assert found == {"fp32": 1 + 1 / 512, "bf16": 1.0}
