"""Test-time augmentation: several views of each image. Legend: N images of a batch, C channels, S size."""

from dataclasses import dataclass
from math import prod

from torch import Tensor

from resnet_lab.core.comma_list import comma_list
from resnet_lab.core.errors import ConfigError, nearest
from resnet_lab.core.records import repr_of
from resnet_lab.data.augmentations import Augmentations
from resnet_lab.data.flips import Flip, Rearranging, Rotate90

REARRANGING: dict[str, type[Rearranging]] = {"flip": Flip, "rotate90": Rotate90}
"""Augmentations with a few views, of which all can be seen."""


@dataclass(frozen=True)
class Views:
    """All views of an image under some of `REARRANGING`; the image as it is unless there are any.

    Attributes:
        names: of the augmentations, in the order in which they are applied.
    """

    names: tuple[str, ...] = ()

    @property
    def number(self) -> int:
        """How many, the image as it is among them."""
        return prod(REARRANGING[name].views for name in self.names)

    def shown(self, batch: Tensor, number: int) -> Tensor:
        """A batch (N, C, S, S) in the view of that number, from 0, which leaves it as it is."""
        augmentations = Augmentations(pixel=tuple(REARRANGING[name]() for name in self.names))
        return augmentations.shown(batch.clone(), number) if number else batch

    def __str__(self) -> str:
        return f"mean of {self.number} views ({', '.join(self.names)})"


def parse_views(text: str | None) -> Views:
    """Parse `flip,rotate90`; None is no test-time augmentation.

    Raises:
        ConfigError: a name that has no such views, or one listed twice.
    """
    names = () if text is None else tuple(comma_list(text))
    for name in names:
        if name not in REARRANGING:
            raise ConfigError(
                f"tta {repr_of(name)}: test-time augmentation averages over all views of an image, which only "
                f"{' and '.join(REARRANGING)} have a fixed number of; {nearest(name, REARRANGING)}"
            )
    if len(set(names)) < len(names):
        raise ConfigError(f"tta {repr_of(text)}: a name is listed twice; leave one of the two out")
    return Views(names)
