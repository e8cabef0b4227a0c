import time
from itertools import groupby

import numpy as np
import pytest
import torch
from torch import nn

from resnet_lab.bench import interleaved_timing
from resnet_lab.bench.clocks import clock_of
from resnet_lab.bench.interleaved_timing import Rotation, interleave, moved
from resnet_lab.bench.statistics import RESOLUTION, timing

CPU = torch.device("cpu")


class Sleeper:
    """Takes so many seconds, and writes down when it was called."""

    def __init__(self, seconds: float, name: str = "", log: list[str] | None = None) -> None:
        self.seconds, self.name, self.log, self.shifts = seconds, name, [] if log is None else log, 0

    def __call__(self) -> None:
        self.log.append(self.name)
        time.sleep(self.seconds)

    def shift(self) -> None:
        self.shifts += 1


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interleaved_timing, "SAMPLE", 0.002)
    monkeypatch.setattr(interleaved_timing, "MOST_WARM", 3)


@pytest.mark.usefixtures("short")
def test_arms_take_turns_there_and_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A B C C B A, and the next round begins with B."""
    log: list[str] = []
    arms = {name: Sleeper(0.003, name, log) for name in "abc"}
    monkeypatch.setattr(interleaved_timing, "_warmed", lambda arm, clock: 1.0)
    found = interleave(arms, 2, CPU)
    assert "".join(log) == "abccba" + "bcaacb"
    assert {name: len(samples) for name, samples in found.samples.items()} == {"a": 2, "b": 2, "c": 2}
    assert [arm.shifts for arm in arms.values()] == [2, 2, 2]


def test_arms_leave_once_they_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    arms = {name: Sleeper(0, name, log) for name in "abc"}
    monkeypatch.setattr(interleaved_timing, "_warmed", lambda arm, clock: 1.0)
    needed = {"a": 3, "b": 1, "c": 2}
    found = interleave(arms, 9, CPU, done=lambda samples: {name for name in arms if len(samples[name]) >= needed[name]})
    assert "".join(log) == "abccba" + "caac" + "aa"
    assert {name: len(samples) for name, samples in found.samples.items()} == needed


def test_short_calls_are_measured_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """4 samples of the slowest arm fill a measurement: 2 parts, each of 2 samples that last alike for every arm.

    One call more before each part is not timed.
    """
    log: list[str] = []
    seconds = {"a": 0.0125, "b": 0.00125}
    monkeypatch.setattr(interleaved_timing, "_warmed", lambda arm, clock: seconds[arm.name])
    found = interleave({name: Sleeper(0, name, log) for name in seconds}, 1, CPU)
    parts = [(name, len(list(group))) for name, group in groupby(log)]
    assert parts == [("a", 3), ("b", 42), ("a", 6), ("b", 42), ("a", 3)]
    assert [len(samples) for samples in found.samples.values()] == [1, 1]


def test_a_call_of_many_parts_takes_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interleaved_timing, "clock_of", lambda device, during: lambda arm, repeats: [arm.seconds])
    monkeypatch.setattr(interleaved_timing, "_warmed", lambda arm, clock: arm.seconds)
    found = interleave({"a": Sleeper(0.001), "b": Sleeper(0.003)}, 2, CPU)
    assert found.samples == {"a": pytest.approx([1] * 2), "b": pytest.approx([3] * 2)}


def test_a_round_s_time_is_the_mean_of_its_faster_half(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 1, 2, 3, 4 and two disturbed calls."""
    times = iter([[1.0, 9.0, 2.0], [7.0, 4.0, 3.0]])
    monkeypatch.setattr(interleaved_timing, "clock_of", lambda device, during: lambda arm, repeats: next(times))
    monkeypatch.setattr(interleaved_timing, "_warmed", lambda arm, clock: 1.0)
    assert interleave({"a": Sleeper(0)}, 1, CPU).samples == {"a": [pytest.approx(2000)]}


@pytest.mark.parametrize("load", [0.0, 0.1, 0.4])
def test_other_programs_do_not_favour_short_calls(load: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Disturbances of 4 ms come at random times; arms of unlike calls keep their ratio, within the verdicts' margin."""
    draw = np.random.default_rng(0)

    def clock(arm: Sleeper, repeats: int) -> list[float]:
        return (arm.seconds + 0.004 * draw.poisson(load * arm.seconds / 0.004, repeats)).tolist()

    monkeypatch.setattr(interleaved_timing, "clock_of", lambda device, during: clock)
    arms = {"short": Sleeper(0.005), "long": Sleeper(0.25)}
    samples = interleave(arms, 60, CPU).samples
    assert timing(samples["long"], samples["short"]).ratio == pytest.approx(50, rel=RESOLUTION)


def test_each_call_is_timed_after_one_that_is_not() -> None:
    naps = iter([0.05, 0.001, 0.02, 0.001])
    seconds = clock_of(CPU)(lambda: time.sleep(next(naps)), 3)
    assert [round(each, 2) for each in seconds] == [0.0, 0.02, 0.0]


@pytest.mark.usefixtures("short")
def test_times_are_those_of_a_call() -> None:
    found = interleave({"one": Sleeper(0.004), "two": Sleeper(0.008)}, 6, CPU)
    ratio = timing(found.samples["two"], found.samples["one"])
    assert all(4 <= sample < 40 for sample in found.samples["one"]), "in milliseconds"
    assert 1.3 < ratio.ratio < 3


def test_warm_up_ends_when_the_time_is_steady() -> None:
    times = iter([9.0, 5.0, 2.0, 1.0, 1.01, 1.02, 1.0])
    asked: list[int] = []

    def clock(call: object, repeats: int) -> list[float]:
        asked.append(repeats)
        return [0.01 * next(times)]

    assert interleaved_timing._warmed(lambda: None, clock) == pytest.approx(0.0101)
    assert next(times) == 1.0  # the last one was not asked for


def test_load_of_other_programs_does_not_prolong_warm_up() -> None:
    times = iter([9.0, 5.0, 5.0, 9.0, 7.0])
    interleaved_timing._warmed(lambda: None, lambda call, repeats: [0.01 * next(times)])
    assert next(times) == 7.0  # the last one was not asked for


def test_weights_move() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    places = [parameter.data for parameter in model.parameters()]  # kept, so that their memory is not used again
    moved(model)
    for name, tensor in model.state_dict().items():
        assert (tensor == before[name]).all()
    for old, parameter in zip(places, model.parameters(), strict=True):
        assert parameter.data_ptr() != old.data_ptr()
        assert parameter.stride() == old.stride()


def test_inputs_take_turns() -> None:
    rotation = Rotation([torch.full((1,), float(number)) for number in range(3)])
    assert [rotation().item() for _ in range(4)] == [1, 2, 0, 1]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_timed_by_its_own_clock() -> None:
    x = torch.randn(4096, 4096, device="cuda")
    clock = clock_of(x.device)
    (once,), (twice,) = clock(lambda: x @ x, 10), clock(lambda: (x @ x, x @ x), 10)
    assert twice == pytest.approx(2 * once, rel=0.2)
