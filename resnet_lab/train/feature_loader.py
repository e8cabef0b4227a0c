"""Stored features as batches. Legend: N images of a part, V views, B of a batch, C channels, H W pixels of a map."""

from typing import ClassVar

import torch
from torch import Tensor

from resnet_lab.data.augmentations import Augmentations
from resnet_lab.data.draws import Draws
from resnet_lab.data.loader import Loader
from resnet_lab.data.order import Step
from resnet_lab.data.pooled_memory import memory_for
from resnet_lab.data.row_store import RowReader
from resnet_lab.device import Placement


def feature_loader(images: Loader, reader: RowReader, views: int, shape: tuple[int, ...], dtype: torch.dtype) -> Loader:
    """Serves what `images` does, in the same steps and views, as features.

    Args:
        reader: row i V + v is view v of image i.
        shape: of one image's features: C H W, or C.
    """
    rows = FeatureRows(reader, views, shape, dtype, images)
    return Loader(rows, images.order, FeatureTransform(images.transform.augment, images.placement), images.placement)


class FeatureRows:
    """Features (B, C, H, W), channels-last, or (B, C), read into memory."""

    on_device: ClassVar[bool] = False

    def __init__(
        self, reader: RowReader, views: int, shape: tuple[int, ...], dtype: torch.dtype, images: Loader
    ) -> None:
        self._reader = reader
        self._views = views
        self._shape = shape
        self._dtype = dtype
        self._augment = images.transform.augment
        self._memory = memory_for(images.placement)

    def read(self, step: Step) -> Tensor:
        rows = step.indices * self._views
        if step.draws is not None:
            rows = rows + self._augment.chosen(step.draws).numpy()
        batch = self._memory.take((len(rows), self._reader.nbytes), torch.uint8)
        self._reader.gather(rows, batch.numpy())
        channels, *sides = self._shape
        features = batch.view(self._dtype).view(len(rows), *sides, channels)
        return features.permute(0, 3, 1, 2) if sides else features


class FeatureTransform:
    """Leaves features as they are, in the layout of their device."""

    def __init__(self, augment: Augmentations, placement: Placement) -> None:
        self.augment = augment
        self._placement = placement

    def __call__(self, rows: Tensor, labels: Tensor, draws: Draws | None) -> tuple[Tensor, Tensor]:
        return self._placement.layout(rows) if rows.ndim == 4 else rows, labels
