"""Smaller images in the first epochs of a training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MULTIPLE = 4
"""Sizes are multiples of it, as maps are halved."""


@dataclass(frozen=True)
class SizeSchedule:
    """Progressive resizing: the size of training images by epoch (arXiv:2104.00298, section 4).

    Attributes:
        sizes: in pixels, each for an equal part of the epochs; the last is that of the network.
        epochs: of the training.
    """

    sizes: tuple[int, ...]
    epochs: int

    @classmethod
    def of(cls, shares: Sequence[float], size: int, epochs: int) -> "SizeSchedule":
        """Args: `shares` are of `size`; without any, all epochs have it."""
        sizes = (max(MULTIPLE, MULTIPLE * round(share * size / MULTIPLE)) if share < 1 else size for share in shares)
        return cls(tuple(min(each, size) for each in sizes) or (size,), epochs)

    def size(self, epoch: int) -> int:
        """Args: `epoch` is counted from 1."""
        return self.sizes[(epoch - 1) * len(self.sizes) // self.epochs]

    @property
    def first_epochs(self) -> dict[int, int]:
        """Size of each stage by its first epoch; stages of equal size are one."""
        stages = {1 + -(-stage * self.epochs // len(self.sizes)): size for stage, size in enumerate(self.sizes)}
        before = (0, *stages.values())
        return {epoch: size for (epoch, size), last in zip(stages.items(), before, strict=False) if size != last}

    @property
    def changes(self) -> dict[int, int]:
        """`first_epochs` where sizes differ, else nothing."""
        return self.first_epochs if len(self.first_epochs) > 1 else {}

    @property
    def smaller_epochs(self) -> int:
        """Epochs before the last stage."""
        return max(self.first_epochs) - 1


def mark_sizes(panel: "Axes", sizes: Mapping[int, int], last: int, colour: str) -> None:
    """Write the size of training images into a plot against epochs, with a line at each change."""
    for epoch, size in sizes.items():
        if epoch <= last:
            if epoch > 1:
                panel.axvline(epoch - 0.5, color=colour, linewidth=0.8)
            panel.annotate(
                f"{size} px",
                (epoch - 0.5, 0.98),
                xycoords=("data", "axes fraction"),
                xytext=(3, 0),
                textcoords="offset points",
                rotation=90,
                va="top",
                fontsize=9,
                color=colour,
            )
