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
