import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import distributed, nn

from resnet_lab.core.choices import Compile
from resnet_lab.core.errors import ConfigError
from resnet_lab.device import choose, compile_for_training, training
from tests.device.networks import SHAPE, Breaking, Counting, Listener, lived_in, put_in_place_of_the_compiler, small

COMPILING = "compiling the network, which can take a minute"
MANY = 10**12
"""Steps, that any compilation pays for."""


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Counting:
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
