"""Near copies: the same picture in another file, with other quality, size, tones, margins or edges, or mirrored.

Coarse to fine. Pictures are candidates where their 8 x 8 grey levels correlate, one's whole with the other's whole or
middle; these are laid over one another and compared cell by cell (`alignment`). How alike copies must be depends on how
alike the set's other pictures are, as in image retrieval a match is held against the next best ones (Lowe 2004,
"Distinctive image features from scale-invariant keypoints", section 7.1). Legend: N images, D descriptor, P pairs.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from resnet_lab.data.alignment import likeness
from resnet_lab.data.signatures import SIDE

MIDDLES = (1.0, 0.93, 0.87, 0.81)
"""Parts of a picture's sides that another's whole is compared with."""

CELLS = 8
"""Cells per side of a descriptor."""

CANDIDATE = 0.85
"""Correlation of descriptors from which on a pair is compared cell by cell."""

CANDIDATES = 10
"""Candidates per image, the most similar ones."""

NEAREST, NEAREST_CANDIDATE = 1, 0.78
"""The same of an image's most alike ones: a margin or an edge that one signature is without, such as of grey that JPEG
has made uneven, moves every cell, and the copy is still more alike than anything else."""

UNLIKE = 0.10
"""Most that near copies are: 1 less their likeness. Of 1,150 paintings the two most alike, versions of one
composition, are 0.11."""

OF_THE_SET = 0.10
"""The same, of how unlike images of the set are to their eighth most alike ones."""

LARGEST = 8
"""Images of a group at most; where more are alike, it is the way of the set."""

RELATED = 0.6
"""Likeness of any two images of a group."""

RICH = 5.5
"""Bits of entropy of a signature's levels from which on a picture is more than a letter, a drawing of a few tones or
the like, of which any two can be laid over one another. Of 1,150 paintings all have more."""

RICH_SHARE = 0.85
"""Share of rich pictures that makes a set one of photographs or paintings. For digits as JPEG of quality 20 it is 0.76,
due to the noise."""

CORRELATIONS_AT_ONCE = 2**22

ALGORITHM = 2
"""Raised whenever other copies are found of the same signatures."""


@dataclass(frozen=True)
class NearCopies:
    """Groups of images that are near copies of one another.

    Attributes:
        groups: number of each image's group, shape (N,).
        compared: which images copies were looked for among, shape (N,): none of a set of drawings.
        crowds: how many images each of the groups has that are too large to be copies; these are left apart.
    """

    groups: NDArray[np.int64]
    compared: NDArray[np.bool_]
    crowds: tuple[int, ...]


def of_several(groups: NDArray[np.integer]) -> list[list[int]]:
    """Positions of the images of each group of two or more, in the order of their first image.

    Args:
        groups: number of each image's group, shape (N,).
    """
    _, own, counts = np.unique(groups, return_inverse=True, return_counts=True)
    found: dict[int, list[int]] = {}
    for position in np.flatnonzero(counts[own] > 1).tolist():
        found.setdefault(int(own[position]), []).append(position)
    return list(found.values())


def find_near_copies(signatures: Sequence[bytes]) -> NearCopies:
    """Groups of near copies, by complete linkage: any two images of a group are alike.

    Args:
        signatures: of each image; that of an image which cannot be compared is empty, and it stays alone.
    """
    groups = np.arange(len(signatures), dtype=np.int64)
    there, levels = _levels(signatures)
    rich = np.array([_entropy(each) >= RICH for each in levels], dtype=bool)
    if len(rich) < 2 or rich.mean() < RICH_SHARE:
        return NearCopies(groups, np.zeros(len(groups), dtype=bool), ())
    search = _Search(levels)
    one, other = search.candidates()
    known = rich[one] | rich[other]  # a darker copy has fewer levels
    one, other = one[known], other[known]
    unlike = 1 - search.likeness(one, other)
    bound = min(UNLIKE, OF_THE_SET * _usual(one, other, unlike, len(there)))
    unsure = (unlike > bound) & (unlike <= 2 * bound)  # the other picture may be laid over the one more exactly
    unlike[unsure] = np.minimum(unlike[unsure], 1 - search.likeness(other[unsure], one[unsure]))
    crowds, copies = [], unlike <= bound
    in_crowd = np.zeros(len(there), dtype=bool)
    for members in _components(one[unlike <= UNLIKE], other[unlike <= UNLIKE]):
        if len(members) > LARGEST:
            crowds.append(len(members))
            in_crowd[members] = True
    copies &= ~in_crowd[one]
    for members in _components(one[copies], other[copies]):
        groups[there[members]] = there[members[search.linked(members)]]
    return NearCopies(groups, np.isin(np.arange(len(groups)), there), tuple(sorted(crowds, reverse=True)))


class _Search:
    """Pairs of images that may be copies, and how alike they are.

    Args:
        levels: of the images' signatures, shape (N, 32, 32).
    """

    def __init__(self, levels: NDArray[np.uint8]) -> None:
        self.levels = levels
        self.middles = [_descriptors(levels, middle) for middle in MIDDLES]
        self.whole = self.middles[0]

    def linked(self, members: NDArray[np.int64]) -> NDArray[np.int64]:
        """First member of each member's group, as positions in `members`."""
        if len(members) == 2:
            return np.zeros(2, dtype=np.int64)
        from scipy.cluster.hierarchy import fcluster, linkage  # a third of a second

        one, other = np.triu_indices(len(members), 1)
        there = self.likeness(members[one], members[other])
        back = self.likeness(members[other], members[one])
        tree = linkage(1 - np.clip(np.maximum(there, back), 0, 1), "complete")
        cluster = fcluster(tree, 1 - RELATED, "distance")
        _, first, own = np.unique(cluster, return_index=True, return_inverse=True)
        return first[own]

    def candidates(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Pairs of positions, the first image as a whole and the second's middle or its mirror image."""
        number = len(self.whole)
        rows = max(1, CORRELATIONS_AT_ONCE // number)
        pairs = []
        for start in range(0, number, rows):
            best = np.full((min(rows, number - start), number), -1, dtype=np.float32)
            block = self.whole[start : start + rows]
            for view in (block, _mirrored(block)):
                for middle in self.middles:
                    np.maximum(best, view @ middle.T, out=best)
            best[np.arange(len(best)), np.arange(start, start + len(best))] = -1  # a picture and itself
            for row, correlations in enumerate(best, start):
                near = np.flatnonzero(correlations >= NEAREST_CANDIDATE)
                if len(near) > CANDIDATES:
                    near = near[np.argpartition(-correlations[near], CANDIDATES)[:CANDIDATES]]
                near = near[np.argsort(-correlations[near], kind="stable")]
                near = near[(correlations[near] >= CANDIDATE) | (np.arange(len(near)) < NEAREST)]
                pairs.append((np.full(len(near), row), near, correlations[near]))
        one, other, correlation = (np.concatenate(each) for each in zip(*pairs, strict=True))
        order = np.argsort(-correlation, kind="stable")  # of both orders of a pair the one that fits better
        _, first = np.unique(
            np.stack([np.minimum(one, other), np.maximum(one, other)])[:, order], axis=1, return_index=True
        )
        return one[order[first]], other[order[first]]

    def likeness(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float32]:
        """Likeness of pairs, in the arrangement in which their descriptors correlate most."""
        views = (self.whole[one], _mirrored(self.whole[one]))
        fits = [np.einsum("pd,pd->p", view, middle[other]) for view in views for middle in self.middles]
        best = np.argmax(fits, axis=0) if len(one) else np.empty(0, dtype=np.int64)
        first, scale = self.levels[one], np.array(MIDDLES, dtype=np.float32)[best % len(MIDDLES)]
        mirrored = best >= len(MIDDLES)
        first[mirrored] = first[mirrored, :, ::-1]
        return likeness(first, self.levels[other], scale)


def _levels(signatures: Sequence[bytes]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Positions of the signatures that are not empty, and the grey levels of these, shape (N, 32, 32)."""
    there, content = array("q"), bytearray()
    for position, each in enumerate(signatures):
        if each:
            there.append(position)
            content += each
    levels = np.frombuffer(content, dtype=np.uint8).reshape(-1, SIDE, SIDE)
    return np.frombuffer(there, dtype=np.int64), levels


def _entropy(levels: NDArray[np.uint8]) -> float:
    """Entropy of the distribution of grey levels, in bits."""
    counts = np.bincount(levels.ravel())
    shares = counts[counts > 0] / levels.size
    return float(-(shares * np.log2(shares)).sum())


def _usual(one: NDArray[np.int64], other: NDArray[np.int64], unlike: NDArray[np.float32], images: int) -> float:
    """Usual distance of an image from its eighth nearest one: the first decile over a set.

    Args:
        unlike: of pairs, shape (P,); of all others 1.
    """
    image, values = np.concatenate([one, other]), np.concatenate([unlike, unlike])
    order = np.lexsort((values, image))
    image, values = image[order], values[order]
    eighth = values[np.arange(len(image)) - np.searchsorted(image, image) == LARGEST - 1]
    return float(np.quantile(np.pad(eighth, (0, images - len(eighth)), constant_values=1), 0.1))


def _components(one: NDArray[np.int64], other: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Images that pairs link, directly or by others; those that no pair has are not among them."""
    images, ends = np.unique(np.stack([one, other]), return_inverse=True)
    ends = ends.reshape(2, -1)
    graph = coo_array((np.ones(len(one), dtype=np.int8), (ends[0], ends[1])), shape=(len(images), len(images)))
    label = connected_components(graph, directed=False)[1]
    order = np.argsort(label, kind="stable")
    pieces = np.split(images[order], np.flatnonzero(np.diff(label[order])) + 1)
    return [piece for piece in pieces if len(piece)]


def _descriptors(levels: NDArray[np.uint8], middle: float) -> NDArray[np.float32]:
    """Mean grey levels of 8 x 8 cells of a picture's middle, of mean 0 and length 1, shape (N, D)."""
    edges = SIDE * np.linspace((1 - middle) / 2, (1 + middle) / 2, CELLS + 1)
    cells = np.arange(SIDE)
    within = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
    means = (np.clip(within, 0, None) / within.clip(0).sum(axis=1, keepdims=True)).astype(np.float32)
    found = np.empty((len(levels), CELLS * CELLS), dtype=np.float32)
    for start in range(0, len(levels), 4096):
        piece = slice(start, start + 4096)
        found[piece] = (means @ levels[piece].astype(np.float32) @ means.T).reshape(-1, CELLS * CELLS)
    found -= found.mean(axis=1, keepdims=True)
    found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-6)
    return found


def _mirrored(descriptors: NDArray[np.float32]) -> NDArray[np.float32]:
    return descriptors.reshape(-1, CELLS, CELLS)[:, :, ::-1].reshape(descriptors.shape)
