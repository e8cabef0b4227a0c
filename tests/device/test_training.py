import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import distributed, nn

from resnet_lab.core.choices import Compile
from resnet_lab.core.errors import ConfigError
from resnet_lab.device import Placement, choose, compile_for_training, training
from resnet_lab.device.compiling import _shared as compiled_networks
from resnet_lab.device.timing_cache import StepTimes, recall, remember
from tests.device.networks import SHAPE, Breaking, Counting, Listener, lived_in, put_in_place_of_the_compiler, small

COMPILING = "compiling the network, which can take a minute"
MANY = 10**12
"""Steps, that any compilation pays for."""


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Counting:
    forget()
    monkeypatch.setenv("RESNET_LAB_CACHE", str(tmp_path))
    return put_in_place_of_the_compiler(monkeypatch)


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """Seconds of steps eager and compiled, in the order of measurement; popped when they are measured."""
    results: list[tuple[float, float]] = []
    monkeypatch.setattr(training, "compare", lambda *args: results.pop())
    return results


def prepared(model: nn.Module, compile: Compile, steps: int = 0, key: str = "key") -> tuple[nn.Module, list[str]]:
    listener = Listener()
    network = compile_for_training(model, choose("cpu", "bf16", compile), key, SHAPE, steps=steps, watcher=listener)
    return network, listener.notes


def test_off_is_the_network_itself(counting: Counting) -> None:
    model = small()
    assert prepared(model, "off", MANY) == (model, [])


@pytest.mark.parametrize("requested", ["on", "max"])
def test_compiled_as_asked(counting: Counting, requested: Any) -> None:
    model = lived_in(small()).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    network, notes = prepared(model, requested)
    assert notes == [COMPILING]
    assert network is not model
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not model.training
    network.train()
    placement = choose("cpu", "bf16", requested)
    with placement.autocast():
        network(placement.layout(torch.randn(3, *SHAPE[1:]))).float().sum().backward()
    assert counting.calls == 1  # before the first step
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_what_cannot_be_compiled_is_an_error_where_that_was_asked_for(counting: Counting) -> None:
    model = small(Breaking())
    with pytest.raises(ConfigError) as failure:
        prepared(model, "on")
    assert str(failure.value).startswith("the network cannot be compiled here (Unsupported: ")
    assert str(failure.value).endswith("); use --compile off")
    network, notes = prepared(model, "auto", MANY)
    assert network is model
    assert notes == [COMPILING, f"not compiled: {failure.value}"]


def test_a_network_that_fails_by_itself_fails_as_itself(counting: Counting) -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied"):
        prepared(small(nn.Conv2d(4, 5, 1)), "on")


def test_a_short_training_is_not_worth_a_compilation(counting: Counting) -> None:
    model = small()
    network, (notes,) = prepared(model, "auto", steps=10)
    assert network is model
    assert re.fullmatch(r"not compiled: compilation can take a minute, and about \d+ s of training remain", notes)
    assert counting.calls == 0


@pytest.mark.parametrize(
    ("compiled", "notes"),
    [
        (0.5, "compiled: a step takes 0.5 s compiled, 0.75 s eager"),
        (0.75, "not compiled: a step takes 0.75 s compiled, 0.75 s eager"),
        (1.0, "not compiled: a step takes 1 s compiled, 0.75 s eager"),
    ],
)
def test_the_faster_is_measured_once(
    counting: Counting, seconds: list[tuple[float, float]], compiled: float, notes: str
) -> None:
    seconds.append((0.75, compiled))
    for heard in ([COMPILING, notes], [notes, COMPILING] if compiled < 0.75 else [notes]):
        model = small()
        network, listened = prepared(model, "auto", MANY)
        assert (network is not model) == (compiled < 0.75)
        assert listened == heard
    with pytest.raises(IndexError):  # another network is measured by itself
        prepared(small(), "auto", MANY, key="another")


def test_a_remembered_gain_must_pay_for_the_compilation(
    counting: Counting, seconds: list[tuple[float, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """10 s of compiling are 40 steps that each save 0.25 s."""
    clock = iter((0.0, 10.0))
    monkeypatch.setattr(training, "perf_counter", lambda: next(clock, 0.0))
    seconds.append((0.75, 0.5))
    prepared(small(), "auto", MANY)
    model = small()
    assert prepared(model, "auto", 40)[0] is model
    assert prepared(model, "auto", 41)[0] is not model


def test_compilation_is_spread_over_all_trainings(counting: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    """12 s of compiling are 10 steps that each save 0.25 s, in each of 5 trainings; 9 would save 11.25 s."""
    monkeypatch.setattr(training, "perf_counter", lambda: 0.0)
    placement, model = choose("cpu", "bf16", "auto"), small()
    for steps, trainings, is_compiled in ((9, 5, False), (10, 5, True), (10, 1, False)):
        forget()
        remember(StepTimes(12.0, 0.75, 0.5), *facts_of(placement))
        found = compile_for_training(model, placement, "key", SHAPE, steps=steps, trainings=trainings)
        assert (found is not model) == is_compiled


def test_the_last_time_of_compilation_is_remembered(
    counting: Counting, seconds: list[tuple[float, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """60 s for new code, and 7 s to load it in another process: 29 steps that each save 0.25 s then pay for it."""
    facts = facts_of(choose("cpu", "bf16", "auto"))
    seconds.append((0.75, 0.5))
    for taken in (60.0, 7.0):
        take(monkeypatch, taken)
        prepared(small(), "auto", MANY)
        assert recall(*facts) == StepTimes(taken, 0.75, 0.5)
    prepared(small(), "auto", MANY)  # in the same process, where nothing is left to load
    assert recall(*facts) == StepTimes(7.0, 0.75, 0.5)
    assert prepared(model := small(), "auto", 28)[0] is model
    assert prepared(model := small(), "auto", 29)[0] is not model


def test_code_that_is_kept_is_worth_measuring_sooner(
    counting: Counting, seconds: list[tuple[float, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a compilation as asked for, that took 7 s to load, 70 s of training are enough; 599 s were not before."""
    monkeypatch.setattr(training, "seconds_of_step", lambda network, placement, x: (network(x), 1.0)[1])
    before = "not compiled: compilation can take a minute, and about 599 s of training remain"
    assert prepared(small(), "auto", 599)[1] == [before]
    take(monkeypatch, 7.0)
    prepared(small(), "on")
    assert prepared(small(), "auto", 69)[1] == [
        "not compiled: compilation takes 7 s, and about 69 s of training remain"
    ]
    seconds.append((0.75, 0.5))
    assert prepared(small(), "auto", 70)[1] == [COMPILING, "compiled: a step takes 0.5 s compiled, 0.75 s eager"]


def test_a_step_that_was_slowed_once_is_timed_again(
    counting: Counting, seconds: list[tuple[float, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter((1.0, 50.0, 1.0, 1.5))  # the first is of no clock: whether the network runs at all
    monkeypatch.setattr(training, "seconds_of_step", lambda network, placement, x: (network(x), next(times))[1])
    assert prepared(small(), "auto", 599)[1] == [
        "not compiled: compilation can take a minute, and about 599 s of training remain"
    ]
    assert not list(times)


def take(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Have the next compilation take so long, in a new process."""
    forget()
    clock = iter((0.0, seconds))
    monkeypatch.setattr(training, "perf_counter", lambda: next(clock, 0.0))


def facts_of(placement: Placement) -> tuple[str, ...]:
    return ("key", "x".join(map(str, SHAPE)), "torch.float32", *placement.facts())


def forget() -> None:
    """As a new process: without compiled networks."""
    compiled_networks.clear()


@pytest.fixture
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def test_determinism_is_not_left_to_a_stopwatch(counting: Counting, deterministic: None) -> None:
    model = small()
    network, notes = prepared(model, "auto", MANY)
    assert network is model
    assert notes == [
        "not compiled: which of the two is faster, and so the last bits, can differ from run to run (--compile on does)"
    ]
    assert prepared(model, "on")[0] is not model


def test_processes_do_not_choose_for_themselves(counting: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    model = small()
    network, notes = prepared(model, "auto", MANY)
    assert network is model
    assert notes == ["not compiled: each of the processes would choose for itself (--compile on does)"]
