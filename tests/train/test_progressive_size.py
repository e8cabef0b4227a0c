"""Smaller images in the first epochs, held against torchvision's `resize` and counted by hand."""

import json
import os
import signal
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from resnet_lab.core.errors import ConfigError
from resnet_lab.core.size_schedule import SizeSchedule
from resnet_lab.data.augmentations import parse_augmentations
from resnet_lab.data.config import DataConfig
from resnet_lab.data.image_loader import image_loader, resized
from resnet_lab.data.loader import Loader
from resnet_lab.data.order import Order, Subset
from resnet_lab.device import choose
from resnet_lab.network import zoo
from resnet_lab.train.config import TrainConfig, train_config
from resnet_lab.train.interruption import Interrupted
from resnet_lab.train.learner import Learner
from resnet_lab.train.progress import TrainingWatcher
from resnet_lab.train.training import find_rate, resume, train
from tests.stand_ins import ArrayPixels

CPU = choose("cpu", "fp32")
SPEC = zoo.get("resnet20").modified(input_size=8, in_channels=1)
QUICK = TrainConfig(
    epochs=3, lr=1e-2, batch_size=256, precision="fp32", device="cpu", compile="off", progressive_size=(0.5, 1.0)
)


@pytest.mark.parametrize(
    ("shares", "size", "epochs", "expected"),
    [
        ((), 224, 3, [224] * 3),
        ((0.57, 1.0), 224, 5, [128] * 3 + [224] * 2),
        ((0.57, 1.0), 128, 2, [72, 128]),
        ((0.57, 1.0), 32, 4, [20, 20, 32, 32]),
        ((0.28, 0.6, 1.0), 100, 7, [28, 28, 28, 60, 60, 100, 100]),
        ((0.1, 1.0), 8, 2, [4, 8]),
        ((0.9, 1.0), 9, 2, [8, 9]),
        ((0.5, 1.0), 3, 2, [3, 3]),
        ((0.5, 1.0, 1.0), 8, 9, [4] * 3 + [8] * 6),
    ],
)
def test_stages_are_equal_parts_of_the_epochs(
    shares: tuple[float, ...], size: int, epochs: int, expected: list[int]
) -> None:
    schedule = SizeSchedule.of(shares, size, epochs)
    assert [schedule.size(epoch) for epoch in range(1, epochs + 1)] == expected
    changed = {epoch: size for epoch, size in enumerate(expected, 1) if expected[: epoch - 1][-1:] != [size]}
    assert schedule.first_epochs == changed
    assert schedule.changes == (changed if len(changed) > 1 else {})
    assert schedule.smaller_epochs == len([size for size in expected if size != expected[-1]])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("size", "smaller"), [(40, 24), (33, 20), (20, 20)])
def test_images_are_torchvision_s_resized(channels: int, size: int, smaller: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, size, size, channels), dtype=np.uint8)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    expected = tv.resize(images, [smaller, smaller], antialias=True)
    assert (resized(images, smaller).int() - expected.int()).abs().max() <= 1
    assert resized(images, smaller).dtype == torch.uint8


def served(augment: tuple[str, ...], sizes: SizeSchedule | None) -> Loader:
    draw = np.random.default_rng(1)
    pixels = draw.integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    order = Order(Subset(np.arange(12), draw.integers(0, 3, 12), 3), 5)
    return image_loader(ArrayPixels(pixels), order, (0.5,) * 3, (0.25,) * 3, CPU, parse_augmentations(augment), sizes)


@pytest.mark.parametrize("augment", [(), ("flip",), ("rotate90", "crop", "mixup")])
def test_batches_of_training_are_smaller_and_those_of_evaluation_whole(augment: tuple[str, ...]) -> None:
    loader, whole = served(augment, SizeSchedule((8, 16), 4)), served(augment, None)
    for epoch, size in enumerate((8, 8, 16, 16), 1):
        for batch, other in zip(loader.training(epoch), whole.training(epoch), strict=True):
            assert batch.x.shape[2:] == (size, size)
            assert batch.y.equal(other.y)
            if size == 16:
                assert batch.x.equal(other.x)
            elif "crop" not in augment:
                raw = ((other.x * 0.25 + 0.5) * 255).round().to(torch.uint8)
                expected = (tv.resize(raw, [8, 8], antialias=True) / 255 - 0.5) / 0.25
                torch.testing.assert_close(batch.x, expected, rtol=0, atol=1.01 / 255 / 0.25)
    assert all(batch.x.shape[2:] == (16, 16) for batch in loader.evaluation())


class Kept(TrainingWatcher):
    def __init__(self, stop_after: int = 0) -> None:
        self.notes: list[str] = []
        self.left = stop_after

    def say(self, text: str) -> None:
        self.notes.append(text)

    def step(self, epoch: int, epochs: int, latest: tuple[float, float] | None, images_per_second: float) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """Steps of a training by the size of their images."""
    found: dict[int, int] = defaultdict(int)
    step = Learner.step

    def counted(learner: Learner, x: Tensor, y: Tensor, rate: float) -> tuple[Tensor, Tensor, Tensor]:
        found[x.shape[-1]] += 1
        return step(learner, x, y, rate)

    monkeypatch.setattr(Learner, "step", counted)
    return found


def test_a_training(tmp_path: Path, seen: dict[int, int]) -> None:
    """Its sizes, its record, and the same bits after it was stopped in either stage."""
    kept = Kept()
    train(SPEC, "digits", QUICK, folder=tmp_path / "whole", watcher=kept, curves=False)
    assert "progressive size: 4 px from epoch 1, 8 px from epoch 3" in kept.notes
    steps = seen[8]
    assert seen == {4: 2 * steps, 8: steps}
    assert json.loads((tmp_path / "whole/run.json").read_text())["config"]["progressive_size"] == [0.5, 1.0]
    for stopped in (steps + 1, 2 * steps + 1):
        run = tmp_path / f"stopped after {stopped}"
        with pytest.raises(Interrupted):
            train(SPEC, "digits", QUICK, folder=run, watcher=Kept(stopped), curves=False)
        resume(run, curves=False)
        for name in ("best.safetensors", "last.safetensors", "metrics.csv"):
            assert (run / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_range_test_is_of_the_whole_size(seen: dict[int, int]) -> None:
    find_rate(SPEC, DataConfig(source="digits"), QUICK)
    assert set(seen) == {8}


def test_patience_counts_epochs_at_the_whole_size(tmp_path: Path, seen: dict[int, int]) -> None:
    """Nothing is learned at a rate that is next to nothing, so an early epoch stays the best."""
    config = QUICK.model_copy(update={"epochs": 8, "patience": 1, "lr": 1e-12})
    train(SPEC.modified(norm="none"), "digits", config, folder=tmp_path / "run", curves=False)
    assert len((tmp_path / "run/metrics.csv").read_text().splitlines()) == 1 + 5
    for shares, epochs in (((0.5, 1.0, 1.0, 1.0), 3), ((1.0, 1.0), 2)):
        alike = config.model_copy(update={"progressive_size": shares})
        train(SPEC.modified(norm="none"), "digits", alike, folder=tmp_path / str(epochs), curves=False)
        assert len((tmp_path / str(epochs) / "metrics.csv").read_text().splitlines()) == 1 + epochs


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"progressive_size": [0.5, 0.8]},
            "progressive_size ends with 0.8; end with 1, so that the network is trained for the size that it is used "
            "at",
        ),
        (
            {"progressive_size": [0.5, 0.8, 1], "epochs": 2},
            "progressive_size has 3 shares for 2 epochs; give at most one per epoch",
        ),
        ({"progressive_size": [1.5, 1]}, "progressive_size.0: input should be less than or equal to 1, got 1.5"),
        ({"progressive_size": [0, 1]}, "progressive_size.0: input should be greater than 0, got 0"),
    ],
)
def test_bad_shares(values: dict, message: str) -> None:
    with pytest.raises(ConfigError) as failure:
        train_config(values, "here")
    assert str(failure.value) == f"here: {message}"


def test_a_batch_norm_over_single_pixels_is_refused(tmp_path: Path) -> None:
    """At the smallest size, though not at that of the network."""
    config = QUICK.model_copy(update={"accumulate": 2, "batch_size": 2})
    train(SPEC, "digits", config.model_copy(update={"progressive_size": (), "epochs": 1}), folder=tmp_path / "whole")
    with pytest.raises(ConfigError, match="this network cannot learn from a single image"):
        train(SPEC, "digits", config, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()
