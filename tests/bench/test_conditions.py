import sys
from types import SimpleNamespace

import pytest
import torch

from resnet_lab.bench import conditions
from resnet_lab.bench.conditions import Conditions, gpu_facts, throttling

CPU = torch.device("cpu")


def remarks_of(others: list[float], speeds: list[float]) -> list[str]:
    watched = Conditions(CPU)
    watched.others, watched.speeds = others, speeds
    return watched.remarks()


def test_a_quiet_steady_machine_has_no_remarks() -> None:
    assert remarks_of([0.01] * 6, [1.0, 1.02, 0.99, 1.0, 1.01, 1.0]) == []


def test_remarks_on_other_programs_and_on_speed() -> None:
    assert remarks_of([0.0, 0.5, 0.3, 0.0], [1.0] * 4) == [
        "other programs used more than 10% of the CPU in 2 of 4 rounds (median 15%)"
    ]
    assert remarks_of([0.0] * 6, [1.0, 1.0, 1.1, 1.1, 1.3, 1.3]) == [
        "the CPU was 30% slower in the last rounds than in the first"
    ]
    assert remarks_of([0.0] * 6, [1.0, 1.0, 0.9, 0.9, 0.7, 0.7]) == [
        "the CPU was 30% faster in the last rounds than in the first"
    ]


def test_a_round_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processors, 10 s: this program worked 6 s, all together 11 s: others had 5 of 20."""
    busy, own, wall = iter([100.0, 111.0]), iter([50.0, 56.0]), iter([0.0, 0.002, 0.0, 10.0])
    watched = Conditions(CPU)
    monkeypatch.setattr(conditions, "_busy", lambda: next(busy))
    monkeypatch.setattr(watched, "_own", lambda: next(own))
    monkeypatch.setattr(conditions, "perf_counter", lambda: next(wall))
    monkeypatch.setattr(conditions.os, "cpu_count", lambda: 2)
    with watched.watched():
        pass
    assert watched.others == [0.25]
    assert watched.speeds == [0.002]


def test_a_processor_has_no_gpu_facts() -> None:
    assert throttling(CPU) == set()
    assert gpu_facts(CPU) == {}


def test_a_gpu_that_is_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in of the library is used, as there may be no GPU."""
    library = SimpleNamespace(
        NVMLError=RuntimeError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetCurrentClocksEventReasons=lambda handle: 0b100,
        nvmlClocksEventReasonSwPowerCap=0b100,
        nvmlClocksEventReasonSwThermalSlowdown=0b10,
        nvmlSystemGetDriverVersion=lambda: "555.1",
        nvmlDeviceGetEnforcedPowerLimit=lambda handle: 350_000,
    )
    monkeypatch.setitem(sys.modules, "pynvml", library)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid="ab"))
    device = torch.device("cuda:0")
    assert throttling(device) == {"power limit"}
    assert gpu_facts(device) == {"driver": "555.1", "power_limit_watts": 350.0}
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert (throttling(device), gpu_facts(device)) == (set(), {})


def test_only_the_library_s_own_errors_mean_that_there_are_no_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    class NVMLError(Exception):
        pass

    def start() -> None:
        raise failures.pop()

    failures = [AttributeError("a defect"), NVMLError("Driver Not Loaded")]
    monkeypatch.setitem(sys.modules, "pynvml", SimpleNamespace(nvmlInit=start, NVMLError=NVMLError))
    device = torch.device("cuda:0")
    assert gpu_facts(device) == {}
    with pytest.raises(AttributeError, match="a defect"):
        gpu_facts(device)


def test_what_a_gpu_does_not_tell_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    class NVMLError(Exception):
        pass

    def not_supported(handle: object) -> int:
        raise NVMLError("Not Supported")

    library = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetCurrentClocksEventReasons=not_supported,
        nvmlSystemGetDriverVersion=lambda: "555.1",
        nvmlDeviceGetEnforcedPowerLimit=not_supported,
    )
    monkeypatch.setitem(sys.modules, "pynvml", library)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid="ab"))
    device = torch.device("cuda:0")
    assert throttling(device) == set()
    assert gpu_facts(device) == {"driver": "555.1"}
