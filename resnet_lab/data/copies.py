"""Images that show the same picture: exact copies by SHA-256, near copies by perceptual hash. Legend: N images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from resnet_lab.core.images import ImageSet
from resnet_lab.data.decoding import Examined

NEAR_BITS = 8
"""Of 64, that the hashes of near copies may differ in. On 1,150 paintings, copies as JPEG of quality 40, of half and
quarter size, and in grey differ in 6 at most."""

NEAR_LEVELS = 6
"""Of 256, that their 8 x 8 grey thumbnails may differ by on average: the hash alone takes some portraits for one
another. The same copies differ by less than 1, the nearest two different paintings by 8."""

BANDS = [sum(1 << int(bit) for bit in bits) for bits in np.array_split(np.arange(64), NEAR_BITS + 1)]
"""Masks of bits: hashes that differ in fewer bits than there are bands agree in one band at least."""

PAIRS_AT_ONCE = 2**18


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
        """Whether the same picture stands under several labels."""
        return len(self.classes) > 1


def groups(examined: Sequence[Examined]) -> NDArray[np.int64]:
    """The number of the group of copies each image belongs to, shape (N,); most are alone in theirs.

    So are images that cannot be used: two empty files show no picture.
    """
    identity = [f"unusable {position}" if each.cause else each.digest for position, each in enumerate(examined)]
    _, first, content = np.unique(identity, return_index=True, return_inverse=True)
    hashed = np.flatnonzero([examined[position].hash is not None for position in first])
    group = np.arange(len(first))
    group[hashed] = len(first) + near_groups([examined[position] for position in first[hashed]])
    return np.unique(group[content], return_inverse=True)[1].astype(np.int64)


def near_groups(examined: Sequence[Examined]) -> NDArray[np.int64]:
    """The number of each image's group of near copies, shape (N,), by hashes and thumbnails; all must have both.

    A copy of a copy is of the group, however far from the first it is.
    """
    hashes = np.array([each.hash for each in examined], dtype=np.uint64)
    thumbnails = np.array([np.frombuffer(each.thumbnail, dtype=np.uint8) for each in examined], dtype=np.int16)
    group = np.arange(len(examined), dtype=np.int64)
    for a, b in _near_pairs(hashes):
        apart = group[a] != group[b]
        a, b = a[apart], b[apart]
        alike = np.abs(thumbnails[a] - thumbnails[b]).mean(axis=1) < NEAR_LEVELS
        ends = group[a[alike]], group[b[alike]]
        if len(ends[0]):
            graph = coo_array((np.ones(len(ends[0]), dtype=np.int8), ends), shape=(len(group), len(group)))
            group = connected_components(graph, directed=False)[1].astype(np.int64)[group]
    return group


def _near_pairs(hashes: NDArray[np.uint64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs of positions whose hashes differ in few bits, each once, in pieces that fit into memory."""
    for number, mask in enumerate(BANDS):
        band = hashes & np.uint64(mask)
        order = np.argsort(band, kind="stable")
        for members in np.split(order, np.flatnonzero(np.diff(band[order])) + 1):
            rows = PAIRS_AT_ONCE // (len(members) + 1) + 1
            for start in range(0, len(members) - 1, rows):
                block, rest = members[start : start + rows], members[start:]
                difference = hashes[block, None] ^ hashes[None, rest]
                a, b = np.nonzero(np.triu(np.bitwise_count(difference) <= NEAR_BITS, 1))
                earlier = [(difference[a, b] & np.uint64(seen)) == 0 for seen in BANDS[:number]]
                new = ~np.logical_or.reduce(earlier) if earlier else slice(None)
                yield block[a[new]], rest[b[new]]


def describe_groups(images: ImageSet, examined: Sequence[Examined], group: NDArray[np.int64]) -> list[Copies]:
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
