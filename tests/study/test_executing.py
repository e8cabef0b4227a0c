from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import pytest
import torch

from resnet_lab.network.plugins import load
from resnet_lab.study import concurrency, executing
from resnet_lab.study.concurrency import measured_processes
from resnet_lab.study.executing import in_processes, local
from resnet_lab.study.trials import StudyFolder, trials_of
from tests.study.recorded_children import recorded
from tests.study.small import Listening, study

REGISTRY = load(only=[])


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(("device", "expected"), [("auto", ["4", "7", "4"]), ("cuda:1", ["4,7"] * 3)])
def test_processes_have_a_gpu_each_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, expected: list[str]
) -> None:
    calls: list[tuple[Sequence[str], Mapping[str, str]]] = []
    monkeypatch.setattr(executing, "Child", recorded(calls))
    monkeypatch.setattr(executing, "allowed_cores", lambda: 8)
    chosen, folder = study(seeds=4, train={"device": device}), StudyFolder(tmp_path)
    in_processes(3)(chosen, trials_of(chosen), folder, REGISTRY, Listening())
    assert [environment["CUDA_VISIBLE_DEVICES"] for _, environment in calls] == expected


@pytest.mark.usefixtures("two_gpus")
def test_the_memory_of_a_gpu_is_shared_by_the_processes_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executing, "threads_each", lambda processes: 10 * processes)
    decide = local(3).decide
    assert isinstance(decide, partial)
    assert decide.keywords == {"sharing": 2, "threads": 30}


@pytest.mark.usefixtures("two_gpus")
def test_one_process_for_each_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concurrency, "allowed_cores", lambda: 64)
    assert measured_processes(study(seeds=2, train={"device": "cuda"}), 10, REGISTRY) == 2
    assert measured_processes(study(seeds=2, train={"device": "cuda:1"}), 10, REGISTRY) == 1
