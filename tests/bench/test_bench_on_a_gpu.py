"""A bench on the second of two GPUs, which are pretended."""

from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from resnet_lab.bench import clocks, roofline, timed_networks
from resnet_lab.bench.arms import arms_of
from resnet_lab.bench.conditions import Conditions
from resnet_lab.bench.measuring import bench
from resnet_lab.bench.operators import Operator
from resnet_lab.bench.reasons import Share, _bound, profile
from resnet_lab.bench.roofline import Roof, measure_roof
from resnet_lab.bench.timed_networks import DifferentError, InferenceCall, NetworkCache, network_of, ready
from resnet_lab.device import choose
from resnet_lab.device.inference import Inference
from resnet_lab.network import zoo
from resnet_lab.network.plugins import load
from tests.bench.short import shorten
from tests.device.networks import shallow
from tests.pretended_cuda import PretendedCuda, pretended_cuda

REGISTRY = load(only=[])
SPEC = shallow(zoo.get("resnet20")).modified(input_size=16)
SECOND = torch.device("cuda", 1)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendedCuda]:
    shorten(monkeypatch)
    with pretended_cuda(devices=2) as pretended:
        yield pretended


def test_every_mode_is_timed_on_the_device_that_was_asked_for(cuda: PretendedCuda) -> None:
    arms = arms_of([SPEC], {}, batches=[4], precisions=["fp32", "tf32", "bf16"])
    found = bench(arms, REGISTRY, rounds=2, device="cuda:1")
    for result in found.results:
        assert result.problem is None
        assert {mode: timing.n for mode, timing in result.timings.items()} == {"latency": 2, "infer": 2, "train": 2}
        assert profile(result, found.roof, REGISTRY, "cuda:1").shares
    assert set(found.roof.macs) == {"fp32", "tf32", "bf16"}
    assert cuda.work.keys() == {1}
    assert cuda.early == {}


def test_calls_of_two_precisions_take_turns(cuda: PretendedCuda) -> None:
    arms = arms_of([SPEC], {}, batches=[2], precisions=["fp32", "tf32"])
    calls = [ready(arm, mode, NetworkCache(REGISTRY), "cuda") for mode in ("infer", "train") for arm in arms]
    outside = torch.backends.cudnn.conv.fp32_precision
    for _ in range(2):
        for call, expected in zip(calls, 2 * ["ieee", "tf32"], strict=True):
            cuda.products.clear()
            call()
            assert set(cuda.products) == {expected}
    assert torch.backends.cudnn.conv.fp32_precision == outside


def test_the_roof_is_measured_in_each_precision(monkeypatch: pytest.MonkeyPatch, cuda: PretendedCuda) -> None:
    seen: list[tuple[str, Counter[str]]] = []
    best = roofline._best

    def noted(call: Any, device: torch.device) -> float:
        cuda.products.clear()
        seconds = best(call, device)
        seen.append(("", cuda.products.copy()))
        return seconds

    monkeypatch.setattr(roofline, "_best", noted)
    roof = measure_roof(SECOND, ["fp32", "tf32", "bf16", "fp32"])
    assert list(roof.macs) == ["fp32", "tf32", "bf16"]
    assert [set(products) for _, products in seen] == [set(), {"ieee"}, {"tf32"}, set()]
    assert cuda.early == {}


def test_a_gpu_gets_copies_enough_for_a_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of 0.1 ms is repeated for 20 ms between two events, where the host's share of it vanishes."""
    asked: list[int] = []

    def clock(call: Any, repeats: int) -> list[float]:
        asked.append(repeats)
        return [1e-4]

    monkeypatch.setattr(roofline, "clock_of", lambda device: clock)
    assert roofline._best(lambda: None, SECOND) == 1e-4
    assert set(asked) == {1, 200}
    assert 200 * 1e-4 * (len(asked) - 2) >= roofline.SECONDS


def test_a_missing_synchronise_is_found(monkeypatch: pytest.MonkeyPatch, cuda: PretendedCuda) -> None:
    x = torch.ones(3, device=SECOND)
    clocks.clock_of(SECOND)(lambda: x + 1, 3)
    assert cuda.early == {}
    monkeypatch.setattr(clocks, "wait_for", lambda device: None)
    clocks.clock_of(SECOND)(lambda: x + 1, 3)
    assert {file for file, _ in cuda.early} == {"bench/clocks.py"}


def test_events_of_another_device_are_found(monkeypatch: pytest.MonkeyPatch, cuda: PretendedCuda) -> None:
    x = torch.ones(3, device=SECOND)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    clocks.clock_of(SECOND)(lambda: x + 1, 3)
    assert {file for file, _ in cuda.early} == {"bench/clocks.py"}


def test_a_look_at_the_clock_before_the_work_is_done_is_found(cuda: PretendedCuda) -> None:
    x = torch.ones(3, device="cuda")
    clocks._waiting_clock(torch.device("cpu"), lambda: x + 1, 1)
    assert {file for file, _ in cuda.early} == {"bench/clocks.py"}


def test_whether_compiling_pays_is_timed_with_the_gpu_done(cuda: PretendedCuda) -> None:
    placement = choose("cuda:1", "fp32", "auto")
    network = Inference(nn.Conv2d(3, 4, 3), placement, 10, watcher=SimpleNamespace(say=lambda text: None))  # type: ignore[arg-type]
    network(torch.randn(2, 3, 8, 8, device=SECOND))
    assert cuda.early == {}


def test_clocks_are_looked_at_while_the_gpu_works(monkeypatch: pytest.MonkeyPatch, cuda: PretendedCuda) -> None:
    busy: list[bool] = []

    def throttling(device: torch.device) -> set[str]:
        busy.append(bool(cuda.queued))
        return {"power limit"}

    monkeypatch.setattr("resnet_lab.bench.conditions.throttling", throttling)
    x, conditions = torch.ones(3, device=SECOND), Conditions(SECOND)
    with conditions.watched():
        clocks.clock_of(SECOND, during=conditions.look)(lambda: x + 1, 3)
    assert busy == [True]
    assert conditions.throttled == {"power limit"}


# Outputs that are checked before anything is timed


class Black(InferenceCall):
    """An arm that is given black images."""

    def outputs(self, x: Tensor) -> Tensor:
        return super().outputs(torch.zeros_like(x))


class Blind(InferenceCall):
    """An arm that gives all images the outputs of the first."""

    def outputs(self, x: Tensor) -> Tensor:
        return super().outputs(x[:1].expand_as(x).contiguous(memory_format=torch.channels_last))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("changes", [{}, {"attn": "cbam"}, {"act": "gelu", "attn": "cbam"}], ids=str)
@pytest.mark.parametrize("wrong", [Black, Blind])
def test_outputs_of_other_images_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, wrong: type[InferenceCall], changes: dict[str, str], precision: Any
) -> None:
    spec = zoo.get("resnet20").modified(input_size=16, **changes)
    (arm,) = arms_of([spec], {}, batches=[2], precisions=[precision])
    ready(arm, "infer", NetworkCache(REGISTRY), "cpu")
    monkeypatch.setattr(timed_networks, "InferenceCall", wrong)
    with pytest.raises(DifferentError, match="of what images differ by, more than"):
        ready(arm, "infer", NetworkCache(REGISTRY), "cpu")


def test_tolerances_follow_the_significand() -> None:
    """tf32 has the 10 bits of fp16, bf16 has 7."""
    reference = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    for precision, apart in (("fp32", 1e-3), ("tf32", 2e-2), ("fp16", 2e-2), ("bf16", 1e-1)):
        timed_networks._require_close(reference + 0.99 * apart, reference, precision)
        with pytest.raises(DifferentError):
            timed_networks._require_close(reference + 1.01 * apart, reference, precision)


def test_a_peer_is_compiled_for_one_shape_as_ours_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def compiled(call: Any, **options: Any) -> Any:
        asked.append(options)
        return call

    monkeypatch.setattr(torch, "compile", compiled)
    (arm,) = arms_of([shallow(zoo.get("resnet18")).modified(input_size=32)], {}, batches=[2], compiled=["on"])
    call = timed_networks._as_users_run_it(network_of(arm, REGISTRY), choose("cpu", "fp32", "on"))
    assert asked == [{"fullgraph": True, "dynamic": False, "mode": "default"}]
    assert call(torch.randn(2, 3, 32, 32)).shape == (2, 1000)


# Reasons


def test_a_kernel_as_short_as_its_launch_is_not_called_slow() -> None:
    roof = Roof(1e12, {"fp32": 1e13})
    short = Share("relu", calls=10, seconds=10 * 1.5e-5, floor=1e-6, macs=0, nbytes=10)
    long = replace(short, seconds=10 * 5e-5)
    gpu, cpu = (SimpleNamespace(placement={"type": kind, "precision": "fp32"}) for kind in ("cuda", "cpu"))
    what = "it moves bytes, which multiply-adds do not count"
    slow = f"{what}, but neither comes near: the kernel itself is slow here"
    assert _bound(short, roof, gpu) == f"{what}, but too short to be told from its launches"  # type: ignore[arg-type]
    assert _bound(long, roof, gpu) == _bound(short, roof, cpu) == slow  # type: ignore[arg-type]


def test_floors_are_of_the_precision() -> None:
    operator = Operator("linear", "head", 10**9, 10, 10, 0)
    roof = Roof(1e12, {"fp32": 1e12, "tf32": 4e12})
    assert [roof.floor(operator, precision) for precision in ("fp32", "tf32")] == pytest.approx([1e-3, 0.25e-3])
