"""Format that every image is decoded into."""

from dataclasses import dataclass, replace

from resnet_lab.core.choices import Fit
from resnet_lab.core.errors import DataError


@dataclass(frozen=True)
class ImageFormat:
    """Format that every image is decoded into.

    Attributes:
        size: of both sides, in pixels.
        channels: 1 for greyscale, 3 for RGB.
        depth: bits in use of pixels that are stored in 16; None for those that each picture uses itself.
        resize: with `fit="crop"`, the shorter side before the middle is cut out; 0 cuts out as much as there is.

    Raises:
        DataError: other channels.
    """

    size: int
    channels: int = 3
    fit: Fit = "squash"
    depth: int | None = None
    resize: int = 0

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise DataError(f"images have 1 channel (greyscale) or 3 (RGB), the network wants {self.channels}")

    def at(self, size: int) -> "ImageFormat":
        """The same part of a picture with sides of `size` pixels."""
        return replace(self, size=size, resize=max(size, round(self.resize * size / self.size)) if self.resize else 0)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.size, self.size, self.channels

    @property
    def nbytes(self) -> int:
        """Bytes per image."""
        return self.size * self.size * self.channels
