"""Images decoded once, and batches of them, augmented and normalised on the device. Legend: N batch, C H W image."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from resnet_lab.device import Placement
from resnet_lab.errors import DataError
from resnet_lab.images import ImageSet
from resnet_lab.initialisation import named_seed
from resnet_lab.watcher import SILENT, Watcher

Augmentation = Literal["flip", "rotate90"]


def decode(
    images: ImageSet,
    indices: NDArray[np.int64],
    *,
    size: int,
    channels: int,
    watcher: Watcher = SILENT,
) -> Tensor:
    """The images at `indices`, squashed to `size` x `size`: uint8, shape (N, C, H, W).

    Args:
        channels: 1 for greyscale, 3 for RGB.
        watcher: told of each image.

    Raises:
        DataError: an image cannot be read, or they do not fit into memory.
    """
    needed = len(indices) * channels * size * size
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory // 2:
        raise DataError(
            f"{images.name}: {len(indices)} images at {size} pixels take {needed / 2**30:.0f} GiB and this machine has "
            f"{memory / 2**30:.0f}; choose a smaller size"
        )
    pixels = np.empty((len(indices), channels, size, size), dtype=np.uint8)

    def fill(row: int) -> None:
        pixels[row] = to_array(images.read(int(indices[row])), size, channels)
        watcher.advance()

    watcher.begin("decoding", len(indices))
    with ThreadPoolExecutor() as pool:
        for _ in pool.map(fill, range(len(indices))):
            pass
    return torch.from_numpy(pixels)


def to_array(image: Image.Image, size: int, channels: int) -> NDArray[np.uint8]:
    """An upright image of the given size, shape (C, H, W), as it would be seen: EXIF rotation is applied."""
    if channels not in (1, 3):
        raise DataError(f"images have 1 channel (greyscale) or 3 (RGB), the network wants {channels}")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):  # Pillow would clip at 255; colours of 16 bits it shifts, as here
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    image = image.convert("L" if channels == 1 else "RGB")
    image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.uint8).reshape(size, size, channels).transpose(2, 0, 1)


def channel_statistics(pixels: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of (N, C, H, W) uint8, on a scale of [0, 1]; exact integer sums."""
    counts = [
        torch.bincount(pixels[:, channel].flatten(), minlength=256).double() for channel in range(pixels.shape[1])
    ]
    levels = torch.arange(256, dtype=torch.float64) / 255
    means, deviations = [], []
    for count in counts:
        weights = count / count.sum()
        mean = float((weights * levels).sum())
        means.append(mean)
        deviations.append(float((weights * (levels - mean).square()).sum().sqrt()))
    return tuple(means), tuple(deviations)


class Batches:
    """Decoded images with their labels, served as normalised batches on the device.

    Args:
        pixels: uint8, shape (N, C, H, W).
        labels: shape (N,).
        mean, std: of each channel, on a scale of [0, 1].
        augment: applied to training batches, in this order.
    """

    def __init__(
        self,
        pixels: Tensor,
        labels: NDArray[np.int64],
        *,
        mean: Sequence[float],
        std: Sequence[float],
        batch_size: int,
        placement: Placement,
        augment: Sequence[Augmentation] = (),
        seed: int = 0,
    ) -> None:
        self.placement = placement
        self.pixels = placement.layout(pixels)
        self.labels = torch.from_numpy(labels).to(placement.device)
        self.batch_size = batch_size
        self.augment = tuple(augment)
        self.seed = seed
        scale = torch.tensor([1 / (255 * max(deviation, 1e-6)) for deviation in std])
        self.scale = scale.view(-1, 1, 1).to(placement.device)
        self.shift = -self.scale * 255 * torch.tensor(mean).view(-1, 1, 1).to(placement.device)

    def __len__(self) -> int:
        """Batches an epoch."""
        return ceil(len(self.pixels) / self.batch_size)

    def training(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Shuffled and augmented batches, a pure function of seed and epoch; their sizes differ by at most 1."""
        generator = torch.Generator().manual_seed(named_seed(self.seed, f"order of epoch {epoch}"))
        order = torch.randperm(len(self.pixels), generator=generator)
        generator.manual_seed(named_seed(self.seed, f"augmentation of epoch {epoch}"))
        for chosen in order.tensor_split(len(self)):
            index = chosen.to(self.placement.device)
            batch = self.pixels[index]
            for name in self.augment:
                batch = AUGMENTATIONS[name](batch, generator)
            yield self.normalise(batch), self.labels[index]

    def in_order(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All images as they stand, not augmented."""
        for start in range(0, len(self.pixels), self.batch_size):
            stop = start + self.batch_size
            yield self.normalise(self.pixels[start:stop]), self.labels[start:stop]

    def normalise(self, batch: Tensor) -> Tensor:
        """(x / 255 - mean) / std as float32, channels-last."""
        return self.placement.layout(torch.addcmul(self.shift, batch.float(), self.scale))


def flip(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Each image mirrored left to right with probability 1/2."""
    mirrored = torch.randint(0, 2, (len(batch), 1, 1, 1), generator=generator).bool().to(batch.device)
    return torch.where(mirrored, batch.flip(3), batch)


def rotate90(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Each image turned by 0, 90, 180 or 270 degrees with equal probability."""
    turns = torch.randint(0, 4, (len(batch), 1, 1, 1), generator=generator).to(batch.device)
    turned = batch
    for quarter in (1, 2, 3):
        turned = torch.where(turns == quarter, batch.rot90(quarter, (2, 3)), turned)
    return turned


AUGMENTATIONS: dict[Augmentation, Callable[[Tensor, torch.Generator], Tensor]] = {"flip": flip, "rotate90": rotate90}
