import json
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from resnet_lab import device
from resnet_lab.core.choices import Precision
from resnet_lab.core.errors import ConfigError
from resnet_lab.device import Placement, choose
from resnet_lab.network import zoo
from resnet_lab.network.builder import build
from resnet_lab.network.cost import measure


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    """A GPU as far as questions to torch go; the list holds its compute capability."""
    capability = [(8, 0)]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda chosen: capability[0])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda chosen: "a GPU")
    monkeypatch.setattr(torch.cuda, "get_arch_list", list)
    return capability


@pytest.mark.parametrize(
    ("requested", "message"),
    [
        ({"precision": "fp8"}, "precision 'fp8' must be one of auto, fp32, tf32, bf16, fp16"),
        ({"compile": "yes"}, "compile 'yes' must be one of auto, off, on, max"),
        ({"device": "tpu"}, "device 'tpu' is not a device; write auto, cpu, cuda, cuda:0, mps or xpu"),
        ({"device": "meta"}, "device 'meta' is not supported; write auto, cpu, cuda, cuda:0, mps or xpu"),
        ({"device": "cuda:99"}, "device 'cuda:99' is not there: torch sees "),
        (
            {"device": "cpu", "precision": "tf32"},
            "precision tf32 is for GPUs, and this network runs on the CPU; use bf16 or fp32",
        ),
        (
            {"device": "cpu", "precision": "fp16"},
            "precision fp16 is for GPUs, and this network runs on the CPU; use bf16 or fp32",
        ),
    ],
)
def test_requests_that_cannot_be_met(requested: dict, message: str) -> None:
    with pytest.raises(ConfigError) as failure:
        choose(**requested)
    assert str(failure.value).startswith(message)


def test_cuda_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ConfigError) as failure:
        choose("cuda")
    assert str(failure.value) == "device 'cuda' is not there: torch sees 0 CUDA devices"


def test_bf16_where_a_stride_is_larger_than_its_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnet_lab.device.placement.computes_bf16", lambda device: True)
    strides = ("2 over 1 x 1",)
    taken = choose("cpu", oversized_strides=strides)
    assert str(taken).startswith("cpu in fp32 (bf16 gradients of a stride of 2 over 1 x 1 pixels are wrong on a CPU), ")
    with pytest.raises(ConfigError) as failure:
        choose("cpu", "bf16", oversized_strides=strides)
    assert str(failure.value) == (
        "precision bf16: the network has a convolution with a stride of 2 over 1 x 1 pixels, whose bf16 gradients are "
        "wrong on a CPU; use fp32, or larger images"
    )
    assert choose("cpu").precision == choose("cpu", "bf16").precision == "bf16"
    assert choose("cpu", "fp32", oversized_strides=strides).reason == "as asked"


def test_a_gpu_s_bf16_is_left_alone(gpu: list[tuple[int, int]]) -> None:
    assert choose("cuda", oversized_strides=("2 over 1 x 1",)).precision == "bf16"


def test_small_maps_have_finite_gradients() -> None:
    """What was wrong held memory as it was left, so that memory is filled with NaN before."""
    spec = zoo.get("resnet18").modified(input_size=8)
    placement = choose("cpu", oversized_strides=measure(spec).oversized_strides)
    network = placement.place(build(spec)).train()
    for _ in range(2):
        left = [torch.full((1 << power,), float("nan")) for power in range(8, 24)]
        del left
        with placement.autocast():
            outputs = network(placement.layout(torch.randn(16, 3, 8, 8)))
        outputs.float().logsumexp(1).mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters() if parameter.grad is not None)


def test_tf32_on_an_old_gpu(gpu: list[tuple[int, int]]) -> None:
    gpu[0] = (7, 5)
    with pytest.raises(ConfigError) as failure:
        choose("cuda", "tf32")
    assert str(failure.value) == "precision tf32 is for GPUs from Ampere on, and cuda is older; use fp16 or fp32"


@pytest.mark.parametrize("in_hardware", [True, False])
def test_bf16_is_chosen_on_the_cpu_where_the_hardware_has_it(
    monkeypatch: pytest.MonkeyPatch, in_hardware: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: in_hardware)
    placement = choose("cpu")
    assert placement.dtype == (torch.bfloat16 if in_hardware else torch.float32)
    precision = "bf16 (bf16 in hardware)" if in_hardware else "fp32 (no bf16 in hardware)"
    assert str(placement) == (
        f"cpu in {precision}, channels-last (no reordering between convolutions), compiled where measured to be faster"
    )


def test_every_decision_can_be_overruled() -> None:
    assert str(choose("cpu", "fp32", "max", channels_last=False)) == (
        "cpu in fp32 (as asked), channels-first (as asked), compiled with the longest search (as asked)"
    )


@pytest.mark.parametrize(
    ("capability", "notes"),
    [
        ((6, 1), "fp32 (no bf16 in hardware), channels-first (float32 convolutions of a GPU are made for it)"),
        ((7, 0), "fp16 (fp16 in hardware, and no bf16), channels-last (tensor cores are made for it)"),
        ((7, 5), "fp16 (fp16 in hardware, and no bf16), channels-last (tensor cores are made for it)"),
        ((8, 0), "bf16 (bf16 in hardware), channels-last (tensor cores are made for it)"),
        ((9, 0), "bf16 (bf16 in hardware), channels-last (tensor cores are made for it)"),
    ],
)
def test_auto_takes_a_gpu_and_what_its_generation_computes(
    gpu: list[tuple[int, int]], capability: tuple[int, int], notes: str
) -> None:
    gpu[0] = capability
    assert str(choose()) == f"cuda in {notes}, compiled where measured to be faster"


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), False), ((8, 0), True), ((8, 9), True)])
def test_bf16_in_hardware_from_ampere_on(
    gpu: list[tuple[int, int]], capability: tuple[int, int], expected: bool
) -> None:
    gpu[0] = capability
    assert device.computes_bf16(torch.device("cuda")) is expected


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_the_record_has_the_choices(gpu: list[tuple[int, int]], precision: Precision) -> None:
    dtype = {"fp32": "float32", "tf32": "float32", "bf16": "bfloat16", "fp16": "float16"}[precision]
    record = choose("cuda", precision, "off").record()
    assert json.loads(json.dumps(record)) == {
        "type": "cuda",
        "name": "a GPU",
        "threads": torch.get_num_threads(),
        "precision": precision,
        "dtype": dtype,
        "channels_last": precision != "fp32",
        "compile": "off",
    }


def test_float32_on_a_gpu_is_rounded_where_that_was_asked_for_only(gpu: list[tuple[int, int]]) -> None:
    """Call by call: torch's own default rounds convolutions and not matrix products."""
    backends = torch.backends.cuda.matmul, torch.backends.cudnn.conv

    def now() -> list[str]:
        return [backend.fp32_precision for backend in backends]

    before = now()
    exact, rounded = choose("cuda", "fp32"), choose("cuda", "tf32")
    with exact.products():
        assert now() == ["ieee", "ieee"]
        with rounded.products():
            assert now() == ["tf32", "tf32"]
        assert now() == ["ieee", "ieee"]
    assert now() == before
    with rounded.products(), choose("cpu", "fp32").products(), choose("cuda", "bf16").products():
        assert now() == ["tf32", "tf32"]  # which say nothing of them
    with pytest.raises(ZeroDivisionError), rounded.products():
        raise ZeroDivisionError
    assert now() == before


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
@pytest.mark.parametrize("channels_last", [True, False])
def test_a_placed_network_runs_as_chosen(precision: Precision, dtype: torch.dtype, channels_last: bool) -> None:
    placement = choose("cpu", precision, channels_last=channels_last)
    conv = placement.place(nn.Conv2d(4, 4, 3))
    x = placement.layout(torch.randn(2, 4, 8, 8))
    with placement.autocast():
        out = conv(x)
    assert out.dtype == dtype
    assert conv.weight.dtype == torch.float32
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    for tensor in (x, out, conv.weight):
        assert tensor.is_contiguous(memory_format=memory_format)


def test_bf16_results_are_rounded_as_bf16_is() -> None:
    """Eight bits of significand: 1 + 1/512 is lost in bf16, and kept in fp32."""
    x = torch.tensor([[1 + 1 / 512]])
    layer = nn.Linear(1, 1, bias=False)
    nn.init.ones_(layer.weight)
    found = {}
    for precision in ("fp32", "bf16"):
        with choose("cpu", precision).autocast():
            found[precision] = layer(x).item()
    assert found == {"fp32": 1 + 1 / 512, "bf16": 1.0}


def test_losses_are_scaled_in_fp16_only() -> None:
    """A gradient of 2^-30 is below fp16's smallest number, 2^-24, and the first scale is 2^16."""
    device = torch.device("cpu")  # where torch's scaler works alike
    loss = torch.tensor(2.0**-30)
    assert Placement(device, torch.float16, "a test").scaler().scale(loss).item() == 2.0**-14
    for dtype in (torch.float32, torch.bfloat16):
        assert Placement(device, dtype, "a test").scaler().scale(loss).item() == 2.0**-30


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_taken_where_there_is_one() -> None:
    assert choose().device.type == "cuda"
