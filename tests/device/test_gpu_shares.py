import os

import pytest
import torch

from resnet_lab.device.gpu_shares import gpu_in_turn, take_share, visible_gpus


@pytest.mark.parametrize(
    ("there", "listed", "expected"),
    [
        (0, None, []),
        (0, "", []),
        (1, None, ["0"]),
        (3, None, ["0", "1", "2"]),
        (2, "3,1", ["3", "1"]),
        (2, " GPU-a , GPU-b ", ["GPU-a", "GPU-b"]),
        (1, "2,9", ["2"]),  # CUDA stops at the first that is not there
    ],
)
def test_gpus_that_are_seen(
    monkeypatch: pytest.MonkeyPatch, there: int, listed: str | None, expected: list[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed or "")
    if listed is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible_gpus() == expected
    turns = [gpu_in_turn(number) for number in range(4)]
    if len(expected) > 1:
        assert [turn["CUDA_VISIBLE_DEVICES"] for turn in turns] == (4 * expected)[:4]
    else:
        assert turns == [{}] * 4


def test_a_share_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds: list[float] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", bounds.append)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    for gpus in (0.25, 1, 2):
        take_share(gpus)
    assert bounds == [0.25]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    take_share(0)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
