"""What a data source hands over: labelled images that are read one at a time, by index."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image


@dataclass(frozen=True)
class ImageSet:
    """Labelled images.

    Attributes:
        name: of the source, as a user can write it from anywhere to have it again.
        classes: class names; a label is a position in them.
        paths: one identifying text an image, unique.
        labels: shape (N,), int64.
        read: decodes the image at an index; raises `DataError` naming the path where it cannot.
    """

    name: str
    classes: tuple[str, ...]
    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    read: Callable[[int], Image]

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def fingerprint(self) -> str:
        """First 16 hexadecimal digits of a SHA-256 over classes, paths and labels."""
        listing = "\n".join((*self.classes, *(f"{p}\t{y}" for p, y in zip(self.paths, self.labels, strict=True))))
        return sha256(listing.encode("utf-8", "surrogateescape")).hexdigest()[:16]
