import time
from dataclasses import replace
from typing import Any

import pytest
import torch

from resnet_lab.bench import interleaved_timing, measuring, statistics, timed_networks
from resnet_lab.bench.arms import BenchArm, arms_of
from resnet_lab.bench.measuring import bench
from resnet_lab.bench.reasons import explain, profile
from resnet_lab.core.errors import ConfigError
from resnet_lab.network import cost, zoo
from resnet_lab.network.plugins import load
from tests.bench.short import shorten

REGISTRY = load(only=[])
R20 = zoo.get("resnet20").modified(input_size=16)
NOT_APART = ("same", "undecided")


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)


def test_memory_of_steps_that_compute_activations_again() -> None:
    """It is less, and the counts of the networks are the same."""
    arms = arms_of([R20], {}, batches=[4], precisions=["fp32"], recomputed=[False, True])
    assert [arm.name for arm in arms] == ["activations kept", "activations recomputed"]
    found = bench(arms, REGISTRY, modes=["train"], rounds=1, device="cpu")
    kept, recomputed = (result.memory["train"] for result in found.results)
    assert kept is not None
    assert recomputed is not None
    assert recomputed < 0.8 * kept  # gradients and Adam's moments among them
    assert found.results[0].static == found.results[1].static


@pytest.mark.parametrize("changes", [{"compiled": ["on"]}, {"peers": ["timm"]}])
def test_activations_are_recomputed_in_our_eager_networks_alone(changes: dict) -> None:
    with pytest.raises(ConfigError) as failure:
        arms_of([R20], {}, recomputed=[True], **changes)
    assert str(failure.value) == "checkpoint_activations is of our networks, uncompiled; leave peers and compile out"


def test_rounds_are_bounded() -> None:
    with pytest.raises(ConfigError) as failure:
        bench(arms_of([R20], {}), REGISTRY, rounds=10**9, device="cpu")
    assert str(failure.value) == "1,000,000,000 rounds, and a bench has at most 100,000; give fewer with --rounds"


@pytest.mark.slow
def test_every_mode_of_every_arm() -> None:
    arms = arms_of([R20], {"attn": ["none", "cbam"]}, batches=[4], precisions=["fp32"])
    found = bench(arms, REGISTRY, rounds=6, device="cpu", interval=0)
    for result in found.results:
        assert result.problem is None
        counted = cost.measure(result.arm.spec)
        assert (result.static.parameters, result.static.macs) == (counted.parameters, counted.macs)
        assert sum(result.static.stages.values()) == sum(result.static.kinds.values()) == counted.macs
        assert {mode: timing.n for mode, timing in result.timings.items()} == {"latency": 6, "infer": 6, "train": 6}
        assert min(result.timings["train"].samples) > min(result.timings["infer"].samples)
        assert result.memory["train"] > result.memory["infer"] > result.memory["latency"] > 0
        assert result.floor.alone_ms > result.floor.fused_ms > 0
    plain, cbam = (min(result.timings["infer"].samples) for result in found.results)
    assert cbam > plain
    assert set(found.control) == {"latency", "infer", "train"}


def test_counts_of_memory_by_hand() -> None:
    """Inference: weights and the largest operator of the batch; training: 16 bytes a parameter and every output."""
    (result,) = bench(
        arms_of([R20], {}, batches=[4], precisions=["fp32"]), REGISTRY, modes=["latency"], rounds=1
    ).results
    static, traced = result.static, result.operators
    largest = max(each.read - each.weights + each.written for each in traced)
    assert static.infer_bytes == 4 * (static.parameters + 4 * largest)
    assert static.train_bytes == 16 * static.parameters + 4 * 4 * sum(each.written for each in traced)
    assert static.moved_bytes == 4 * sum(each.read + each.written for each in traced)


@pytest.mark.slow
def test_peers_compute_the_same_and_what_they_cannot_is_left_out() -> None:
    arms = arms_of(
        [zoo.get("resnet18").modified(input_size=32)], {"act": ["relu", "gelu"]}, batches=[2], precisions=["fp32"],
        peers=["torchvision"],
    )  # fmt: skip
    found = bench(arms, REGISTRY, modes=["infer"], rounds=1)
    assert [result.arm.name for result in found.results] == ["relu", "relu (torchvision)", "gelu"]
    assert found.left_out == {"gelu (torchvision)": "torchvision cannot change act"}
    assert all(result.timings for result in found.results)


def test_an_arm_that_computes_something_else_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(timed_networks.InferenceCall):
        def outputs(self, x: torch.Tensor) -> torch.Tensor:
            return super().outputs(x) + 1

    monkeypatch.setattr(
        timed_networks,
        "InferenceCall",
        lambda arm, *rest: (Wrong if "gelu" in arm.name else own_call)(arm, *rest),
    )
    arms = arms_of([R20], {"act": ["relu", "gelu", "silu"]}, batches=[2], precisions=["fp32"])
    found = bench(arms, REGISTRY, modes=["infer"], rounds=1)
    right, wrong, other = found.results
    assert right.timings
    assert other.timings
    assert not wrong.timings
    assert wrong.problem is not None
    assert wrong.problem.startswith("infer: its outputs differ from the network's in float32 by ")
    assert wrong.problem.endswith(" of what images differ by, more than 0.001: it is not timed")


own_call = timed_networks.InferenceCall


def test_an_arm_that_does_not_fit_is_marked_and_the_others_run(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = measuring.ready

    def ready(arm: Any, *rest: Any) -> Any:
        if arm.batch == 8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return genuine(arm, *rest)

    monkeypatch.setattr(measuring, "ready", ready)
    found = bench(arms_of([R20], {}, batches=[4, 8]), REGISTRY, modes=["infer"], rounds=1)
    assert found.results[0].timings
    assert not found.results[1].timings
    assert str(found.results[1].problem).startswith("infer: batch size 8 does not fit into the memory of cpu: ")
    with pytest.raises(ConfigError) as failure:
        bench(arms_of([R20], {}, batches=[8]), REGISTRY, modes=["infer"], rounds=1)
    assert str(failure.value).startswith("the baseline 'resnet20' cannot be timed: infer: batch size 8 does not fit")


def test_nothing_to_measure() -> None:
    arms = arms_of([R20], {}, peers=["torchvision"])[1:]
    with pytest.raises(ConfigError) as failure:
        bench(arms, REGISTRY)
    assert str(failure.value) == (
        "there is nothing to measure: resnet20 (torchvision): torchvision has no such network"
    )


def test_cuda_where_there_is_none() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ConfigError) as failure:
        bench(arms_of([R20], {}), REGISTRY, device="cuda")
    assert str(failure.value) == "device 'cuda' is not there: torch sees 0 CUDA devices"


def test_a_control_that_differs_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine, calls = measuring.ready, []

    def ready(*arguments: Any) -> Any:
        call = genuine(*arguments)
        calls.append(call)
        return Late(call) if len(calls) == 2 else call

    monkeypatch.setattr(measuring, "ready", ready)
    found = bench(arms_of([R20], {}, batches=[2]), REGISTRY, modes=["infer"], rounds=6)
    assert found.control["infer"].verdict == "slower"
    assert any("a second copy of the baseline came out at " in remark for remark in found.remarks)


def test_times_with_a_large_spread_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "SPREAD", -1.0)
    found = bench(arms_of([R20], {"act": ["relu", "gelu"]}, batches=[2]), REGISTRY, modes=["infer"], rounds=2)
    assert "infer: times spread by more than 10%: relu, gelu: more rounds narrow the intervals" in found.remarks


@pytest.mark.parametrize(("interval", "rounds"), [(1e6, 6), (0.0, 8)])
def test_rounds_end_once_intervals_are_narrow(interval: float, rounds: int) -> None:
    arms = arms_of([R20], {"act": ["relu", "gelu"]}, batches=[2])
    found = bench(arms, REGISTRY, modes=["infer"], rounds=8, interval=interval)
    timings = [*(result.timings["infer"] for result in found.results), found.control["infer"]]
    assert [timing.n for timing in timings] == [rounds] * 3


class Late:
    """A call that comes 20 ms late."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.shift = call.shift

    def __call__(self) -> Any:
        time.sleep(0.02)
        return self.call()


def test_reasons_name_what_came_and_what_went() -> None:
    arms = arms_of([R20], {"conv": ["dense", "depthwise"]}, batches=[16], precisions=["fp32"])
    found = bench(arms, REGISTRY, modes=["infer"], rounds=1)
    profiles = {result.arm.name: profile(result, found.roof, REGISTRY, "cpu") for result in found.results}
    dense, depthwise = (profiles[name] for name in ("dense", "depthwise"))
    assert sum(share.macs for share in dense.shares) == 16 * found.results[0].static.macs
    assert set(dense.stages) == {"stem", "layer1", "layer2", "layer3", "head"}
    assert sum(dense.stages.values()) == pytest.approx(sum(share.seconds for share in dense.shares))
    assert "depthwise 3x3" in {share.kind for share in depthwise.shares}
    explained = explain(found, profiles)
    assert explained["dense"][0].startswith("inference of a batch takes ")
    macs = found.results[1].static.macs / found.results[0].static.macs
    assert explained["depthwise"][0].startswith(f"{macs:.3f} times the multiply-adds, ")
    assert any(line.startswith("convolution 3x3 takes less: ") for line in explained["depthwise"])


def test_a_doubled_time_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of two equal arms is slowed; smaller slowdowns need a quiet machine."""
    arms = arms_of([R20], {"act": ["relu", "gelu"]}, batches=[8])
    monkeypatch.setattr(measuring, "ready", planting(arms, 1.0))
    timing = bench(arms, REGISTRY, modes=["infer"], rounds=15).results[1].timings["infer"]
    assert timing.verdict == "slower"
    assert 1.3 < timing.ratio < 3


@pytest.mark.long
@pytest.mark.parametrize(("planted", "verdicts"), [(0.0, NOT_APART), (0.01, NOT_APART), (0.05, ("slower",))])
def test_a_planted_slowdown(planted: float, verdicts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """One of two equal arms is slowed: 5% are found, 1% is not decided; at the default settings on a quiet machine.

    On one thread, and with more rounds where the times spread, as the remarks ask; a wrong sign is never found.
    """
    monkeypatch.setattr(interleaved_timing, "SAMPLE", 0.05)
    monkeypatch.setattr(interleaved_timing, "MOST_WARM", 12)
    arms = arms_of([R20], {"act": ["relu", "gelu"]}, batches=[8])
    monkeypatch.setattr(measuring, "ready", planting(arms, planted))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for rounds in (measuring.ROUNDS, 4 * measuring.ROUNDS, 12 * measuring.ROUNDS):
            found = bench(arms, REGISTRY, modes=["infer"], rounds=rounds)
            timing = found.results[1].timings["infer"]
            print(planted, timing.ratio, timing.interval, timing.verdict, found.remarks)
            assert timing.verdict != "faster"
            if timing.verdict in verdicts and abs(timing.ratio - 1 - planted) < 0.02:
                break
        else:
            pytest.fail(f"{planted:.0%} came out at {timing.ratio:.3f} {timing.interval}: {found.remarks}")
    finally:
        torch.set_num_threads(threads)


def planting(arms: Any, share: float) -> Any:
    """`ready` that gives both arms the first's call, the second slower by a share."""
    genuine = measuring.ready

    def ready(arm: Any, *rest: Any) -> Any:
        call = genuine(arms[0], *rest)
        return Delayed(call, share) if arm is arms[1] else call

    return ready


class Delayed:
    """A call that works on for a share of its own time."""

    def __init__(self, call: Any, share: float) -> None:
        self.call, self.share, self.shift = call, share, call.shift

    def __call__(self) -> Any:
        start = time.perf_counter()
        output = self.call()
        end = time.perf_counter()
        while time.perf_counter() - end < self.share * (end - start):
            pass
        return output


def test_a_precision_in_which_a_network_is_not_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """An arm has one for all modes; one that was asked for is refused where it would train wrongly."""
    monkeypatch.setattr("resnet_lab.device.placement.computes_bf16", lambda device: True)
    spec, registry = zoo.get("resnet20").modified(input_size=2), load(only=[])
    auto = BenchArm("auto", spec, 2, precision="auto", compile="off")
    assert timed_networks.placement_of(auto, "cpu", registry).precision == "fp32"
    asked = replace(auto, precision="bf16")
    assert timed_networks.placement_of(asked, "cpu", registry).precision == "bf16"
    with pytest.raises(ConfigError, match="a stride of 2 over 1 x 1 pixels, whose bf16 gradients are wrong on a CPU"):
        timed_networks.ready(asked, "train", timed_networks.NetworkCache(registry), "cpu")
