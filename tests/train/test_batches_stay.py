"""Compared with the batches of commit 6e309af (digests in batches_of_6e309af.json): orders, views, pixels, shares.

Where images are not mixed, a digest is over whole numbers (labels, and pixels that only change places or are painted
over), so that it is the same on every machine.
"""

import json
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from resnet_lab.data.augmentations import parse_augmentations
from resnet_lab.data.image_loader import image_loader
from resnet_lab.data.loader import Batch, Loader
from resnet_lab.data.order import Order, ProcessShard, Subset
from resnet_lab.data.row_store import RowReader
from resnet_lab.device import choose
from resnet_lab.train.feature_loader import feature_loader
from tests.stand_ins import ArrayPixels

KEPT = json.loads(Path(__file__).with_name("batches_of_6e309af.json").read_text())
CPU = choose("cpu", "fp32")
DRAW = np.random.default_rng(5)
PIXELS = DRAW.integers(0, 256, (61, 14, 14, 3), dtype=np.uint8)
POSITIONS = np.sort(DRAW.permutation(61)[:47])
LABELS, CHUNKS = DRAW.integers(0, 5, 47), DRAW.integers(0, 20, 47)
REARRANGING = ["", "flip", "rotate90", "rotate90,flip"]
AUGMENTS = [*REARRANGING, "flip,erase(p=0.5)", "erase", "cutmix", "rotate90,cutmix(p=0.5)"]
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "seed": {"seed": 9},
    "balanced": {"balanced": True},
    "chunks": {},
    **{f"{rank} of {size}": {"shard": ProcessShard(rank, size)} for size in (2, 3) for rank in range(size)},
    "balanced, 1 of 2": {"balanced": True, "shard": ProcessShard(1, 2)},
}
CASES = [f"{augment or 'none'} / {options}" for augment in AUGMENTS for options in OPTIONS]


def loader(case: str) -> Loader:
    augment, options = case.split(" / ")
    images = Subset(POSITIONS, LABELS, 5, CHUNKS if options == "chunks" else None)
    augmentations = parse_augmentations([] if augment == "none" else augment.split(","))
    scale = ((0.0,) * 3, (1.0,) * 3)
    return image_loader(ArrayPixels(PIXELS), Order(images, 9, **OPTIONS[options]), *scale, CPU, augmentations)


def digest(batches: Iterable[Batch], scale: float = 255) -> str:
    """Digest of pixels, or of features that are whole numbers, and of labels."""
    found = sha256()
    for _, x, y in batches:
        values = (x.double() * scale).round()
        assert (x.double() * scale - values).abs().max() < 1e-3
        found.update(repr(tuple(x.shape)).encode() + values.to(torch.int64).contiguous().numpy().tobytes())
        found.update(b"" if y.is_floating_point() else y.numpy().tobytes())
    return found.hexdigest()[:16]


def three(batches: Loader, scale: float = 255) -> list[str]:
    """Batches of an epoch, of the rest of another, and of an evaluation."""
    return [digest(each, scale) for each in (batches.training(1), batches.training(4, 2), batches.evaluation())]


@pytest.mark.parametrize("case", CASES)
def test_images(case: str) -> None:
    assert three(loader(case)) == KEPT["images"][case]


@pytest.mark.parametrize("case", [case for case in CASES if case.split(" / ")[0] in ["none", *REARRANGING]])
def test_features(case: str, tmp_path: Path) -> None:
    """Each feature tells in what image and view it is one."""
    images = loader(case)
    views = 2 ** case.count("flip") * 4 ** case.count("rotate90")
    numbers = np.arange(47 * views, dtype=np.float32)[:, None] * 10 + np.arange(8)
    (tmp_path / "rows").write_bytes(numbers.astype(np.float32).tobytes())
    reader = RowReader(tmp_path / "rows", 32)
    maps = feature_loader(images, reader, views, (2, 2, 2), torch.float32)
    pooled = feature_loader(images, reader, views, (8,), torch.float32)
    assert [*three(maps, 1), *three(pooled, 1)] == KEPT["features"][case]


@pytest.mark.parametrize("augment", ["mixup(alpha=0.4)", "cutmix", "crop,jitter(hue=0.1),mixup"])
def test_mixtures_up_to_rounding(augment: str) -> None:
    """The targets of an epoch, and sums over the rows of its images."""
    scale = ((0.5,) * 3, (0.25,) * 3)
    order = Order(Subset(POSITIONS, LABELS, 5), 24)
    augmentations = parse_augmentations(augment.split(",") if "jitter" in augment else [augment])
    _, x, y = next(image_loader(ArrayPixels(PIXELS), order, *scale, CPU, augmentations).training(2))
    kept: list[Tensor] = [torch.tensor(values) for values in KEPT["mixtures"][augment]]
    torch.testing.assert_close(y, kept[0], rtol=1e-4, atol=1e-5)
    tolerance = 0.05 if "crop" in augment else 1e-4  # of a pixel that another version of torchvision rounds otherwise
    torch.testing.assert_close(x.sum((1, 3)), kept[1], rtol=tolerance, atol=tolerance)
