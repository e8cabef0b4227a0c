"""Batches for a GPU, which is pretended: their values, and that the host waits for nothing in a step."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from resnet_lab.core.size_schedule import SizeSchedule
from resnet_lab.data import image_by_image
from resnet_lab.data.augmentations import parse_augmentations
from resnet_lab.data.image_loader import ImageRows, ResidentRows, image_loader
from resnet_lab.data.loader import Loader
from resnet_lab.data.order import Order, Subset
from resnet_lab.device import choose
from tests.pretended_cuda import PretendedCuda, pretended_cuda
from tests.stand_ins import ArrayPixels

NOISE = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
EVERY = (
    "flip", "rotate90", "crop", "jitter(hue=0.1)", "randaugment(ops=timm,magnitude=7,std=0.5)", "trivialaugment",
    "erase(p=0.8,mode=pixel,count=2)", "mixup(p=0.5)", "cutmix(p=0.5)",
)  # fmt: skip


def loader(device: str, augment: tuple[str, ...], sizes: SizeSchedule | None = None) -> Loader:
    order = Order(Subset(np.arange(40), np.arange(40) % 4, 4), 8)
    placement = choose(device, "fp32", "off", channels_last=True)
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
    return image_loader(ArrayPixels(NOISE), order, mean, std, placement, parse_augmentations(augment), sizes)


@pytest.fixture
def cuda() -> Iterator[PretendedCuda]:
    with pretended_cuda() as pretended:
        yield pretended


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize(
    "augment", [(), ("erase",), *((each,) for each in EVERY), EVERY], ids=lambda names: "+".join(names)[:20]
)
def test_batches_are_those_of_the_cpu_and_nothing_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, cuda: PretendedCuda, augment: tuple[str, ...], resident: bool
) -> None:
    if not resident:
        monkeypatch.setattr("resnet_lab.data.image_loader.DEVICE_SHARE", 0.0)
    there = loader("cuda", augment)
    assert isinstance(there.rows, ResidentRows if resident else ImageRows)
    with cuda.counted() as waits:
        batches = list(there.training(1))
    assert waits == {}
    monkeypatch.setattr(image_by_image, "in_memory", lambda batch: False)
    for (indices, x, y), (same, expected, labels) in zip(batches, loader("cpu", augment).training(1), strict=True):
        assert x.device == y.device == torch.device("cuda", 0)
        assert np.array_equal(indices, same)
        torch.testing.assert_close(x.cpu(), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(y.cpu(), labels, rtol=1e-6, atol=1e-6)


def test_smaller_images_are_augmented_at_their_size(monkeypatch: pytest.MonkeyPatch, cuda: PretendedCuda) -> None:
    sizes = SizeSchedule.of((0.5, 1.0), 16, 2)
    assert sizes.size(1) == 8
    there = loader("cuda", ("crop", "cutmix"), sizes)
    with cuda.counted() as waits:
        batches = list(there.training(1))
    assert waits == {}
    monkeypatch.setattr(image_by_image, "in_memory", lambda batch: False)
    here = loader("cpu", ("crop", "cutmix"), sizes)
    for (_, x, y), (_, expected, labels) in zip(batches, here.training(1), strict=True):
        assert x.shape == expected.shape == (8, 3, 8, 8)
        difference = (x.cpu() - expected).abs()
        assert difference.max() <= 2.01 / 255 / 0.2  # bytes are resized in integers on the CPU, and then cropped
        assert torch.equal(y.cpu(), labels)


@pytest.mark.parametrize("resident", [True, False])
def test_images_in_their_own_order(monkeypatch: pytest.MonkeyPatch, cuda: PretendedCuda, resident: bool) -> None:
    if not resident:
        monkeypatch.setattr("resnet_lab.data.image_loader.DEVICE_SHARE", 0.0)
    there = loader("cuda", EVERY)
    with cuda.counted() as waits:
        batches = list(there.evaluation())
    assert waits == {}
    for (_, x, y), (_, expected, labels) in zip(batches, loader("cpu", ()).evaluation(), strict=True):
        torch.testing.assert_close(x.cpu(), expected, rtol=1e-5, atol=1e-5)
        assert torch.equal(y.cpu(), labels)


def test_what_is_read_for_a_gpu_is_pinned(monkeypatch: pytest.MonkeyPatch, cuda: PretendedCuda) -> None:
    """Without it every batch is waited for, which is counted: labels and decisions, and rows."""
    monkeypatch.setattr("resnet_lab.data.image_loader.DEVICE_SHARE", 0.0)
    monkeypatch.setattr(
        "resnet_lab.data.pooled_memory.PinnedMemory.take",
        lambda self, shape, dtype: torch.empty(shape, dtype=dtype),
    )
    there = loader("cuda", ("flip",))
    with cuda.counted() as waits:
        list(there.training(1))
    (((file, _, kind), number),) = waits.items()
    assert (file, kind, number) == ("data/pooled_memory.py", "a copy to the device that blocks", 2 * len(there))
