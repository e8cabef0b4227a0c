"""Sampling of the images of each step: a pure function of seed, epoch and step. Legend: N images, K classes."""

from collections.abc import Iterable, Iterator
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray

from resnet_lab.core.errors import ConfigError
from resnet_lab.core.seeds import named_seed

CHUNKS_AT_ONCE = 8
"""Pieces, such as shards, that an epoch draws its images from at any time."""

WHOLE = 2**20
"""Images in chunks up to which all are put into an order together; of more, those of a few chunks at a time."""


def shuffled(
    labels: NDArray[np.int64],
    seed: int,
    epoch: int,
    *,
    balanced: bool = False,
    chunks: NDArray[np.integer] | None = None,
) -> NDArray[np.int64]:
    """The order of an epoch, shape (N,): every image once.

    Images that are fetched in `chunks`, shape (N,), come a few chunks at a time, in an order that every epoch draws
    again, and shuffled among these; `balanced` epochs use all chunks nevertheless.

    With `balanced` every class instead has the same number of places, up to one, and fills them by rounds through its
    images: none comes again before all of its class have come, so that each comes as often as another, up to once.
    """
    generator = torch.Generator().manual_seed(named_seed(seed, f"order of epoch {epoch}"))
    number = len(labels)
    if not balanced:
        order = torch.randperm(number, generator=generator).numpy()
        return order if chunks is None else _by_chunks(order, chunks, generator)
    classes = np.unique(labels)
    rotated = np.roll(classes, -int(torch.randint(len(classes), (1,), generator=generator)))
    places = [number // len(classes) + (position < number % len(classes)) for position in range(len(classes))]
    chosen = [_turns(np.flatnonzero(labels == c), count, generator) for c, count in zip(rotated, places, strict=True)]
    order = np.concatenate(chosen)
    return np.asarray(order[torch.randperm(number, generator=generator).numpy()])


def _by_chunks(order: NDArray[np.int64], chunks: NDArray[np.integer], generator: torch.Generator) -> NDArray[np.int64]:
    """An order with its images moved together by groups of chunks."""
    names, chunk = np.unique(chunks, return_inverse=True)
    group = torch.randperm(len(names), generator=generator).numpy() // CHUNKS_AT_ONCE  # of each chunk
    return np.asarray(order[np.argsort(group[chunk[order]], kind="stable")])


def shuffled_pieces(chunks: NDArray[np.integer], seed: int, epoch: int) -> Iterator[NDArray[np.int64]]:
    """The order of an epoch in pieces, each of the images of `CHUNKS_AT_ONCE` chunks: every image once.

    So no permutation of all images is in memory at any time. It is another order than that of `shuffled`.

    Args:
        chunks: that each image is fetched with, shape (N,).
    """
    generator = torch.Generator().manual_seed(named_seed(seed, f"order of epoch {epoch}, by chunks"))
    starts = np.flatnonzero(np.diff(chunks, prepend=-1))  # of runs of images of one chunk
    ends = np.append(starts[1:], len(chunks))
    names, chunk = np.unique(chunks[starts], return_inverse=True)
    group = torch.randperm(len(names), generator=generator).numpy()[chunk] // CHUNKS_AT_ONCE  # of each run
    by_group = np.argsort(group, kind="stable")
    for runs in np.split(by_group, np.flatnonzero(np.diff(group[by_group])) + 1):
        members = np.concatenate([np.arange(starts[run], ends[run]) for run in runs.tolist()])
        yield members[torch.randperm(len(members), generator=generator).numpy()]


def _turns(members: NDArray[np.int64], count: int, generator: torch.Generator) -> NDArray[np.int64]:
    rounds = [torch.randperm(len(members), generator=generator).numpy() for _ in range(ceil(count / len(members)))]
    return np.asarray(members[np.concatenate(rounds)[:count]])


def repeats(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of earlier occurrences of each entry's image in an order, shape (N,); all zero unless balanced."""
    by_image = np.argsort(order, kind="stable")
    grouped = order[by_image]
    before = np.empty_like(order)
    before[by_image] = np.arange(len(order)) - np.searchsorted(grouped, grouped)
    return before


def steps_of(order: NDArray[np.int64], batch_size: int, rank: int = 0, world_size: int = 1) -> list[NDArray[np.int64]]:
    """This process's share of every step: together all shares hold `order`, each entry once.

    Steps differ by at most one image, and so do the shares of a step; all processes have the same number of steps.

    Args:
        batch_size: global batch size.

    Raises:
        ConfigError: a process would be idle in some step, or in all.
    """
    return [step[rank::world_size] for step in np.array_split(order, num_steps(len(order), batch_size, world_size))]


def num_steps(number: int, batch_size: int, world_size: int = 1) -> int:
    """Steps of an epoch of that many images.

    Raises:
        ConfigError: as `steps_of`.
    """
    if number < world_size:
        raise ConfigError(f"{number} images are too few for {world_size} processes; start no more than images")
    steps, most = ceil(number / batch_size), number // world_size
    if steps > most:
        raise ConfigError(
            f"batch size {batch_size} leaves some of {world_size} processes without an image in a step; "
            f"make it at least {ceil(number / most)}"
        )
    return steps


def steps_of_pieces(pieces: Iterable[NDArray[np.int64]], number: int, steps: int) -> Iterator[NDArray[np.int64]]:
    """All processes' shares of every step, as `steps_of` has them, of an order of that many entries in pieces."""
    coming, rest = iter(pieces), np.empty(0, dtype=np.int64)
    for step in range(steps):
        size = number // steps + (step < number % steps)
        while len(rest) < size:
            rest = np.concatenate([rest, next(coming)])
        yield rest[:size]
        rest = rest[size:]


def even_steps(order: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    """The order in steps of `batch_size`, the last filled up with its last entry."""
    filled = np.append(order, order[-1:].repeat(-len(order) % batch_size))
    return np.split(filled, np.arange(batch_size, len(filled), batch_size))


def class_weights(labels: NDArray[np.int64], num_classes: int) -> NDArray[np.float32]:
    """Weights N / (K N_k) for the loss, shape (K,): every class counts alike (King and Zeng 2001).

    A class without images weighs nothing.
    """
    counts = np.bincount(labels, minlength=num_classes)
    with np.errstate(divide="ignore"):
        weights = np.where(counts > 0, len(labels) / (np.count_nonzero(counts) * counts), 0)
    return weights.astype(np.float32)
