from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from resnet_lab.core.errors import ConfigError
from resnet_lab.device import choose, largest_batch, memory, optimize_for_inference, out_of_memory, try_step
from resnet_lab.network.builder import build
from tests.device.networks import small

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def allocating_too_much() -> BaseException:
    with pytest.raises(RuntimeError) as failure:
        torch.empty(2**50)
    return failure.value


@pytest.mark.parametrize(
    "error",
    [
        allocating_too_much(),
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_that_mean_too_little_memory(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    monkeypatch.setattr(memory, "_taken", lambda device: 3 * 2**30)
    monkeypatch.setattr(memory, "_total", lambda device: 7 * 2**29)
    assert str(out_of_memory(error, GPU, 32)) == (
        "batch size 32 does not fit into the memory of cuda: 3.0 GiB were taken of 3.5 GiB when there was no more; "
        "give a smaller --batch-size (or auto) or --accumulate 2 or --precision bf16"
    )
    assert str(out_of_memory(error, CPU, 4, accumulate=4)) == (
        "batch size 4 in 4 micro-batches does not fit into the memory of cpu: 3.0 GiB were taken of 3.5 GiB when "
        "there was no more; give a smaller --batch-size (or auto) or --precision bf16"
    )
    assert str(out_of_memory(error, CPU, 1)) == (
        "batch size 1 does not fit into the memory of cpu: 3.0 GiB were taken of 3.5 GiB when there was no more; "
        "give smaller images (--size) or --precision bf16"
    )


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2"), ValueError("not enough memory"), KeyboardInterrupt()])
def test_other_errors(error: BaseException) -> None:
    assert out_of_memory(error, CPU, 32) is None


def test_the_figures_are_the_process_s_and_the_machine_s() -> None:
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    assert memory._taken(CPU) == pytest.approx(peak, rel=0.05)
    assert memory._taken(CPU) < memory._total(CPU)


def on_the_processor(step: Callable[[], object]) -> int:
    return memory.peak_of_step(lambda images: step(), 1, CPU)


def test_the_peak_is_of_what_is_held_at_once() -> None:
    """float32: 4 bytes a number."""
    before = torch.ones(1000)

    def one_after_the_other() -> None:
        x = torch.ones(100)
        x = x * 2  # 800 bytes, then 400
        x.add_(before[:100])  # nothing new
        x.view(10, 10).t()
        x = x.repeat(3)  # 400 + 1200

    assert on_the_processor(one_after_the_other) == 1600
    assert on_the_processor(lambda: before.add_(1)) == 0


def test_activations_are_counted_without_any() -> None:
    """Counted by hand: convolution and sigmoid give 4 channels of 8 x 8 each; backward needs the sigmoid's alone."""
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sigmoid()).eval()
    each = 5 * 4 * 8 * 8 * 4
    assert memory._activations(network, (5, 3, 8, 8), training=True) == each
    assert memory._activations(network, (5, 3, 8, 8), training=False) == 2 * each
    assert not network.training


@pytest.mark.parametrize("training", [True, False])
def test_activations_on_the_meta_device_are_those_of_the_processor(training: bool) -> None:
    network, x = build("resnet20", attn="cbam", num_classes=7), torch.zeros(4, 3, 24, 24)
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    found = memory._activations(network, x.shape, training=training)
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in network.named_buffers())
    with torch.set_grad_enabled(training), memory._Allocations() as allocations:
        outputs = network.train(training)(x)
    assert found == pytest.approx(allocations.now if training else allocations.peak, rel=0.06)
    assert len(outputs) == 4


@pytest.mark.parametrize(("precision", "part"), [("fp32", 1), ("bf16", 2)])
def test_a_batch_beyond_the_memory_is_refused_before_it_is_allocated(
    monkeypatch: pytest.MonkeyPatch, precision: Any, part: int
) -> None:
    network, placement = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sigmoid()), choose("cpu", precision)
    shape, needed = (256, 3, 8192, 8192), 256 * 4 * 8192**2 * 4 // part
    monkeypatch.setattr(memory, "total_memory", lambda: needed)
    memory.require_memory(network, shape, placement, training=True)
    monkeypatch.setattr(memory, "total_memory", lambda: needed - 1)
    with pytest.raises(ConfigError) as failure:
        memory.require_memory(network, shape, placement, training=True)
    message = (
        f"256 images of 8192 x 8192 pixels takes {256 // part}.0 GiB for activations alone, and cpu has {256 // part}.0"
    )
    assert str(failure.value) == (
        f"a training step on {message}; take fewer at a time (--batch-size, --accumulate) or smaller images (--size)"
    )


def test_one_image_beyond_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "total_memory", lambda: 2**16)
    network = optimize_for_inference(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sigmoid()), choose("cpu", "fp32"))
    with pytest.raises(ConfigError) as failure:
        network(torch.zeros(1, 3, 64, 64))
    assert str(failure.value) == (
        "inference on 1 image of 64 x 64 pixels takes 0.0 GiB for activations alone, and cpu has 0.0; take smaller "
        "images (--size)"
    )


class Running(nn.Module):
    """A layer whose forward pass is a function."""

    def __init__(self, function: Callable[[torch.Tensor], object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.function(x)
        return x


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.sum().item(),
        lambda x: x.detach().numpy(),
        lambda x: x.tolist(),
        lambda x: x[x > 0],
        lambda x: x.unique(),
        lambda x: x + torch.ones(x.shape),
        lambda x: f"{x.sum():.2f}",
    ],
    ids=["item", "numpy", "tolist", "mask", "unique", "constant", "format"],
)
def test_a_network_that_cannot_run_without_values_is_let_through(
    monkeypatch: pytest.MonkeyPatch, function: Callable[[torch.Tensor], object]
) -> None:
    monkeypatch.setattr(memory, "total_memory", lambda: 1)
    memory.require_memory(Running(function), (8, 3, 64, 64), choose("cpu"), training=True)


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (lambda x: x @ x.new_ones(5, 2), RuntimeError),
        (lambda x: len(3), TypeError),  # type: ignore[arg-type]
        (lambda x: {}["gate"], KeyError),
    ],
    ids=["shapes", "types", "lookup"],
)
def test_a_defect_of_a_network_is_raised(
    monkeypatch: pytest.MonkeyPatch, function: Callable[[torch.Tensor], object], error: type[Exception]
) -> None:
    monkeypatch.setattr(memory, "total_memory", lambda: 1)
    with pytest.raises(error):
        memory.require_memory(Running(function), (8, 3, 64, 64), choose("cpu"), training=True)


def test_the_peak_of_a_backward_pass() -> None:
    """y = x² holds x and y, and then the gradients of y and x, which need 2 x and its product with that of y."""

    def step() -> None:
        x = torch.ones(100, requires_grad=True)
        (x * x).backward(torch.ones(100))

    assert on_the_processor(step) >= 4 * 400
    assert on_the_processor(step) == on_the_processor(step)


def with_memory(monkeypatch: pytest.MonkeyPatch, free: int, peak: Callable[[int], int]) -> None:
    monkeypatch.setattr(memory, "_free", lambda device: free)
    monkeypatch.setattr(memory, "peak_of_step", lambda step, images, device: peak(images))


@pytest.mark.parametrize(
    ("free", "most", "expected"),
    [(10_000, 1000, 32), (10_000, 31, 16), (9_833, 1000, 16), (9_834, 1000, 32), (484, 1000, 1), (10_000, 1, 1)],
)
def test_the_largest_power_of_two_that_fits(
    monkeypatch: pytest.MonkeyPatch, free: int, most: int, expected: int
) -> None:
    """A step takes 100 bytes, and 150 an image; of the free memory 0.6 may be taken, and 1000 are reserved elsewhere.

    For 32 images: (100 + 32 * 150 + 1000) / 0.6 = 9,833.3.
    """
    with_memory(monkeypatch, free, lambda images: 100 + 150 * images)
    reserve = 1000 if free > 1000 else 0
    assert largest_batch(lambda images: None, most, CPU, reserve) == expected


def test_where_not_even_one_image_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    with_memory(monkeypatch, 300 * 2**20, lambda images: (50 + 150 * images) * 2**20)
    with pytest.raises(ConfigError) as failure:
        largest_batch(lambda images: None, 64, CPU)
    assert str(failure.value) == (
        "not even one image fits into the memory of cpu: a step takes 150 MiB per image, and 130 MiB are left for "
        "images; take smaller images (--size) or a smaller network"
    )


def test_on_a_gpu_it_is_tried_and_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    with_memory(monkeypatch, 64_000, lambda images: 100 * images)  # 0.9 of it: 576 images
    tried = []

    def step(images: int) -> None:
        tried.append(images)
        if images > 128:
            raise torch.OutOfMemoryError("CUDA out of memory")

    assert largest_batch(step, 10_000, GPU) == 128
    assert tried == [512, 256, 128]


def test_another_error_of_a_step_is_not_taken_for_too_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    with_memory(monkeypatch, 64_000, lambda images: 100 * images)

    def step(images: int) -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        largest_batch(step, 10_000, GPU)


def test_what_an_image_takes_is_what_its_tensors_take() -> None:
    """Float32 tensors for an image of 3 x 8 x 8: outputs of convolution and norm (4 x 6 x 6), and some gradients."""
    placement, model = choose("cpu", "fp32"), small()
    peaks = [
        memory.peak_of_step(lambda images: try_step(model, placement, (images, 3, 8, 8)), number, CPU)
        for number in (2, 4, 8)
    ]
    image = (peaks[1] - peaks[0]) // 2
    assert (peaks[2] - peaks[1]) // 4 == image
    feature_map, pixels = 4 * 4 * 6 * 6, 4 * 3 * 8 * 8
    assert 2 * feature_map + pixels <= image <= 5 * feature_map + 2 * pixels


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_largest_batch_of_a_gpu_fits() -> None:
    placement = choose("cuda")
    model = placement.place(small())
    size = largest_batch(lambda images: try_step(model, placement, (images, 3, 224, 224)), 2**14, placement.device)
    try_step(model, placement, (size, 3, 224, 224))
