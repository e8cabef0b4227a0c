"""Images that show the same picture: exact copies by SHA-256, near copies by their looks. Legend: N images."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnet_lab.core.images import ImageSet
from resnet_lab.data.decoding import ImageInfo
from resnet_lab.data.image_columns import ImageColumns, Signatures, distinct, whole
from resnet_lab.data.known_copies import near_copies
from resnet_lab.data.near_copies import LARGEST, find_near_copies, of_several


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
        groups: number of the group of copies each image belongs to, int32, shape (N,); most are alone in theirs.
        compared: among how many images near copies were looked for; None where they were not.
        remark: on groups too large to be copies, which are left apart; empty where there are none.
    """

    groups: NDArray[np.int32]
    compared: int | None
    remark: str


def group_copies(examined: Sequence[ImageInfo], near: bool = True, folder: Path | None = None) -> Grouping:
    """Group the images of a set.

    Images that cannot be used are alone: two empty files show no picture.

    Args:
        near: look for near copies too, and not only for files that are the same byte for byte.
        folder: of the cache, which keeps what is found; None keeps nothing.
    """
    images = ImageColumns.of(examined)
    first, content = _contents(images)
    if not near:
        return Grouping(content.astype(np.int32), None, "")
    signatures = images.signatures(first)
    found = near_copies(signatures, folder, _key_of(signatures)) if folder else find_near_copies(signatures)
    group = np.unique(found.groups[content], return_inverse=True)[1]
    return Grouping(group.astype(np.int32), int(found.compared[content].sum()), _remark(found.crowds))


def _contents(images: ImageColumns) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First image of each content, in the order of digests, and number of each image's content, shape (N,).

    Images that cannot be used are contents of their own, after all others, in the order of their positions as texts.
    """
    usable = images.usable
    good, bad = np.flatnonzero(usable), np.array(sorted(np.flatnonzero(~usable).tolist(), key=str), dtype=np.int64)
    first, own = distinct(images.digests[good])
    content = np.empty(len(images), dtype=np.int64)
    content[good] = own
    content[bad] = np.arange(len(first), len(first) + len(bad))
    return np.concatenate([good[first], bad]), content


def _key_of(signatures: Signatures) -> str:
    """Digest of the contents that signatures are of."""
    return sha256(b"".join(whole(signatures.digests)) + signatures.there.tobytes()).hexdigest()


def _remark(crowds: Sequence[int]) -> str:
    if not crowds:
        return ""
    number, largest = f"{len(crowds):,} groups" if len(crowds) > 1 else "1 group", f"{max(crowds):,}"
    return (
        f"{sum(crowds):,} images look as alike as near copies do, in {number} of up to {largest}; a picture rarely has "
        f"more than {LARGEST} copies, so that these are left apart: where they are copies, as frames of a film may be, "
        "assign their parts by a split file"
    )


def describe_groups(images: ImageSet, examined: Sequence[ImageInfo], group: NDArray[np.int32]) -> list[Copies]:
    """All groups of two images or more, in the order of their first image."""
    columns = ImageColumns.of(examined)
    return [
        Copies(
            paths=tuple(images.paths[position] for position in positions),
            classes=tuple(dict.fromkeys(images.classes[images.labels[position]] for position in positions)),
            exact=len({columns.digest(position) for position in positions}) == 1,
        )
        for positions in of_several(group)
    ]
