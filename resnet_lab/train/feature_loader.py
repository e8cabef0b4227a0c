"""Stored features as batches. Legend: N images of a part, V views, B of a batch, C channels, H W pixels of a map."""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields

import numpy as np
import torch
from torch import Tensor

from resnet_lab.core.size_schedule import SizeSchedule
from resnet_lab.data.augmentations import Augmentations
from resnet_lab.data.draws import Draws
from resnet_lab.data.loader import Loader
from resnet_lab.data.order import Order, Step
from resnet_lab.data.pooled_memory import memory_for
from resnet_lab.data.row_store import RowReader
from resnet_lab.device import Placement


def feature_loader(images: Loader, reader: RowReader, views: int, shape: tuple[int, ...], dtype: torch.dtype) -> Loader:
    """Serves what `images` does, in the same steps and views, as features.

    Args:
        reader: row i V + v is view v of image i.
        shape: of one image's features: C H W, or C.
    """
    augment, placement = images.transform.augment, images.placement
    shared = {each.name: getattr(images.order, each.name) for each in fields(Order)}
    order = FeatureOrder(**shared, augment=augment, views=views)
    return Loader(FeatureRows(reader, shape, dtype, placement), order, FeatureTransform(augment, placement), placement)


@dataclass(frozen=True, eq=False)
class FeatureOrder(Order):
    """Steps whose positions are the rows of their images' features in the views that are drawn for them."""

    augment: Augmentations = field(default_factory=Augmentations)
    views: int = 1

    def training(self, epoch: int, first_step: int = 0) -> Iterator[Step]:
        steps = list(super().training(epoch, first_step))
        draws = [step.draws for step in steps if step.draws is not None]
        if not draws:
            return
        views = self.augment.chosen(Draws.joined(draws)).numpy()  # of all at once: for each step it would take as long
        rows = np.concatenate([step.indices for step in steps]) * self.views + views
        ends = np.cumsum([len(step.indices) for step in steps])
        for step, of_step in zip(steps, np.split(rows, ends[:-1]), strict=True):
            yield step._replace(positions=of_step)

    def evaluation(self) -> Iterator[Step]:
        for step in super().evaluation():
            yield step._replace(positions=step.indices * self.views)


class FeatureRows:
    """Features (B, C, H, W), channels-last, or (B, C), read into memory."""

    def __init__(self, reader: RowReader, shape: tuple[int, ...], dtype: torch.dtype, placement: Placement) -> None:
        self._reader = reader
        self._shape = shape
        self._dtype = dtype
        self._memory = memory_for(placement)

    def read(self, step: Step) -> Tensor:
        number = len(step.positions)
        batch = self._memory.take((number, self._reader.nbytes), torch.uint8)
        self._reader.gather(step.positions, batch.numpy())
        channels, *sides = self._shape
        features = batch.view(self._dtype).view(number, *sides, channels)
        return features.permute(0, 3, 1, 2) if sides else features

    def on_device(self, read: Tensor) -> Tensor:
        return read


class FeatureTransform:
    """Leaves features as they are, in the layout of their device."""

    sizes: SizeSchedule | None = None

    def __init__(self, augment: Augmentations, placement: Placement) -> None:
        self.augment = augment
        self._placement = placement

    def __call__(self, rows: Tensor, labels: Tensor, draws: Draws | None) -> tuple[Tensor, Tensor]:
        return self._placement.layout(rows) if rows.ndim == 4 else rows, labels

    def decided(self, draws: Draws | None) -> None:
        """Nothing: an image's view is a row of its own."""

    def together(self, rows: Tensor, labels: Tensor, decided: None) -> tuple[Tensor, Tensor]:
        return self(rows, labels, None)
