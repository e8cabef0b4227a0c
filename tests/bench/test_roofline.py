import time

import pytest
import torch

from resnet_lab.bench import roofline
from resnet_lab.bench.operators import Operator
from resnet_lab.bench.roofline import Roof, floors, measure_roof

ROOF = Roof(bandwidth=1e9, macs={"bf16": 1e10, "fp32": 5e9})


def operator(kind: str, macs: int, elements: int) -> Operator:
    return Operator(kind, "layer1", macs, elements, elements, 0)


def test_floors_by_hand() -> None:
    """2 x 10^6 elements of 2 bytes take 4 ms at 1 GB/s; 10^8 multiply-adds 10 ms at 10^10 a second, in float32 20."""
    found = [
        operator("convolution 3x3", 10**8, 10**6),
        operator("depthwise 3x3", 10**6, 10**6),
        operator("relu", 0, 10**6),
    ]
    assert [ROOF.floor(each, "bf16") for each in found] == pytest.approx([0.010, 0.004, 0.004])
    assert floors(found, ROOF, "bf16") == pytest.approx((0.018, 0.014))
    assert floors(found, ROOF, "fp32") == pytest.approx((0.020 + 0.008 + 0.008, 0.028))


def test_the_best_of_several_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "SECONDS", 0.03)
    times = iter([0.05, 0.02, 0.004, 0.02, 0.02, 0.02, 0.02])
    assert 0.004 <= roofline._best(lambda: time.sleep(next(times, 0.02)), torch.device("cpu")) < 0.02


def test_the_roof_of_this_machine_is_above_what_torch_does_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "COPIED", 2**26)
    monkeypatch.setattr(roofline, "SIDES", {"cpu": (256, 512)})
    monkeypatch.setattr(roofline, "SECONDS", 0.05)
    roof = measure_roof(torch.device("cpu"), ["fp32", "fp32"])
    assert list(roof.macs) == ["fp32"]
    x = torch.randn(300, 300)
    start = time.perf_counter()
    for _ in range(20):
        x @ x
    rate = 20 * 300**3 / (time.perf_counter() - start)
    assert rate < 3 * roof.macs["fp32"]
    assert 1e8 < roof.bandwidth < 1e13
