"""Compared with clocks that are made up, of which the best is found by hand."""

import pytest
import torch

from resnet_lab.device import Placement
from resnet_lab.network.plugins import load
from resnet_lab.study import concurrency
from resnet_lab.study.concurrency import measured_processes
from tests.study.small import study

REGISTRY = load(only=[])


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ({8: 1.0, 4: 1.0, 2: 1.0, 1: 1.0}, 8),  # threads are no use
        ({8: 1.0, 4: 2.0, 2: 4.0, 1: 8.0}, 1),  # threads lose nothing
        ({8: 1.0, 4: 1.0, 2: 2.0, 1: 4.0}, 2),
        ({8: 1.0, 4: 1.0, 2: 1.0, 1: 1.9}, 4),  # 8 / 1.9 is 1.05 times 4 / 1
    ],
)
def test_as_many_as_finish_most_steps(
    monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float], expected: int
) -> None:
    before, asked = torch.get_num_threads(), list[tuple[int, int]]()

    def timed(arm: object, classes: int, registry: object) -> float:
        asked.append((torch.get_num_threads(), classes))
        return seconds[torch.get_num_threads()]

    monkeypatch.setattr(concurrency, "allowed_cores", lambda: 8)
    monkeypatch.setattr(concurrency, "seconds_of_step", timed)
    assert measured_processes(study(seeds=4), 10, REGISTRY) == expected
    assert asked == [(8, 10), (4, 10), (2, 10), (1, 10)]
    assert torch.get_num_threads() == before


def test_no_more_than_trials_and_one_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concurrency, "allowed_cores", lambda: 64)
    monkeypatch.setattr(concurrency, "seconds_of_step", lambda *arguments: 1.0)
    assert measured_processes(study(seeds=2), 10, REGISTRY) == 4
    gpu = Placement(torch.device("cuda"), torch.float32, "")
    monkeypatch.setattr(concurrency, "choose", lambda device: gpu)
    assert measured_processes(study(seeds=2), 10, REGISTRY) == 1
