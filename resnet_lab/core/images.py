"""Labelled images of a data source, read one at a time, by index."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from resnet_lab.core.columns import CategoryColumn, TextColumn


@dataclass(frozen=True)
class ImageSet:
    """Labelled images.

    Paths and parts may be given as tuples or other sequences; they are held as columns, which read like tuples.

    Attributes:
        name: of the source, as a user can write it from anywhere to have it again.
        classes: class names; a label is a position in them.
        paths: one identifying text an image, unique.
        labels: shape (N,), int64.
        read: the image at an index, as the bytes of its file or decoded; raises `OSError` where it cannot.
        stamp: a cheap text that changes whenever the image at an index does, such as its file's size and time; raises
            `OSError` where there is no such image. Without it every image is read again to see whether it changed.
        parts: the part that the source itself assigns to each image: `train`, `val`, `test`, or the empty text where it
            leaves that open.
        chunks: of each image, the number of the piece it is fetched with, such as a shard, shape (N,); an epoch then
            goes through a few pieces at a time. None where any image is as near as any other.
        left_out: path and cause of what was found and is not among the images: loops, locked folders, other files.
        notes: what a user should know of how the images were found, such as merged folders.
    """

    name: str
    classes: tuple[str, ...]
    paths: Sequence[str]
    labels: NDArray[np.int64]
    read: Callable[[int], bytes | Image]
    stamp: Callable[[int], str] | None = None
    parts: Sequence[str] | None = None
    chunks: NDArray[np.integer] | None = None
    left_out: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "paths", TextColumn.of(self.paths))
        if self.parts is not None:
            object.__setattr__(self, "parts", CategoryColumn.of(self.parts))

    def __len__(self) -> int:
        return len(self.paths)
