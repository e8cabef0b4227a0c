"""Images that show the same picture: exact copies by SHA-256, near copies by their looks. Legend: N images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnet_lab.core.images import ImageSet
from resnet_lab.data.decoding import ImageInfo
from resnet_lab.data.known_copies import near_copies
from resnet_lab.data.near_copies import LARGEST, find_near_copies


@dataclass(frozen=True)
class Copies:
    """Images that belong together.

    Attributes:
        paths: of two images or more.
        classes: their classes, each once.
        exact: whether all are byte for byte the same.
    """

    paths: tuple[str, ...]
    classes: tuple[str, ...]
    exact: bool

    @property
    def conflict(self) -> bool:
        """Whether the same picture has several labels."""
        return len(self.classes) > 1


@dataclass(frozen=True)
class Grouping:
    """Groups of images that show the same picture.

    Attributes:
        groups: number of the group of copies each image belongs to, shape (N,); most are alone in theirs.
        compared: among how many images near copies were looked for; None where they were not.
        remark: on groups too large to be copies, which are left apart; empty where there are none.
    """

    groups: NDArray[np.int64]
    compared: int | None
    remark: str


def group_copies(examined: Sequence[ImageInfo], near: bool = True, folder: Path | None = None) -> Grouping:
    """Group the images of a set.

    Images that cannot be used are alone: two empty files show no picture.

    Args:
        near: look for near copies too, and not only for files that are the same byte for byte.
        folder: of the cache, which keeps what is found; None keeps nothing.
    """
    identity = [f"unusable {position}" if each.cause else each.digest for position, each in enumerate(examined)]
    _, first, content = np.unique(identity, return_index=True, return_inverse=True)
    if not near:
        return Grouping(content.astype(np.int64), None, "")
    signatures = [examined[position].signature for position in first]
    found = near_copies(signatures, folder) if folder else find_near_copies(signatures)
    group = np.unique(found.groups[content], return_inverse=True)[1]
    return Grouping(group.astype(np.int64), int(found.compared[content].sum()), _remark(found.crowds))


def _remark(crowds: Sequence[int]) -> str:
    if not crowds:
        return ""
    number, largest = f"{len(crowds):,} groups" if len(crowds) > 1 else "1 group", f"{max(crowds):,}"
    return (
        f"{sum(crowds):,} images look as alike as near copies do, in {number} of up to {largest}; a picture rarely has "
        f"more than {LARGEST} copies, so that these are left apart: where they are copies, as frames of a film may be, "
        "assign their parts by a split file"
    )


def describe_groups(images: ImageSet, examined: Sequence[ImageInfo], group: NDArray[np.int64]) -> list[Copies]:
    """All groups of two images or more, in the order of their first image."""
    members: dict[int, list[int]] = {}
    for position, number in enumerate(group.tolist()):
        members.setdefault(number, []).append(position)
    return [
        Copies(
            paths=tuple(images.paths[position] for position in positions),
            classes=tuple(dict.fromkeys(images.classes[images.labels[position]] for position in positions)),
            exact=len({examined[position].digest for position in positions}) == 1,
        )
        for positions in members.values()
        if len(positions) > 1
    ]
