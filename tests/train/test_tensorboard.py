import sys
from dataclasses import replace
from pathlib import Path

import pytest

from resnet_lab.core.errors import ConfigError
from resnet_lab.core.history import Epoch
from resnet_lab.train.tensorboard import TensorBoard

EPOCH = Epoch(1, 0.125, 1, 0.5, 0.25, 0.75, 0.875, 1.5, 300)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_events_are_read_back_by_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the package tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = TensorBoard(tmp_path)
    board.epoch(EPOCH, EPOCH)
    board.epoch(replace(EPOCH, epoch=2, train_loss=0.5), EPOCH)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss/train")] == [(1, 1.0), (2, 0.5)]
    assert [event.value for event in events.Scalars("macro_accuracy/val")] == [0.875, 0.875]
    assert set(events.Tags()["scalars"]) == {
        "learning_rate", "loss/train", "macro_accuracy/train", "loss/val", "accuracy/val", "macro_accuracy/val",
        "seconds", "images_per_second",
    }  # fmt: skip


def test_without_the_package_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError) as failure:
        TensorBoard(tmp_path)
    assert str(failure.value) == "--tensorboard needs the package tensorboard; pip install resnet-lab[tensorboard]"
