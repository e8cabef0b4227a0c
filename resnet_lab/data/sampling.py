"""Sampling of the images of each step: a pure function of seed, epoch and step. Legend: N images, K classes."""

from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray

from resnet_lab.core.errors import ConfigError
from resnet_lab.core.seeds import named_seed

CHUNKS_AT_ONCE = 8
"""Pieces, such as shards, that an epoch draws its images from at any time."""


def shuffled(
    labels: NDArray[np.int64],
    seed: int,
    epoch: int,
    *,
    balanced: bool = False,
    chunks: NDArray[np.int64] | None = None,
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


def _by_chunks(order: NDArray[np.int64], chunks: NDArray[np.int64], generator: torch.Generator) -> NDArray[np.int64]:
    """An order with its images moved together by groups of chunks."""
    names, chunk = np.unique(chunks, return_inverse=True)
    group = torch.randperm(len(names), generator=generator).numpy() // CHUNKS_AT_ONCE  # of each chunk
    return np.asarray(order[np.argsort(group[chunk[order]], kind="stable")])


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
    if len(order) < world_size:
        raise ConfigError(f"{len(order)} images are too few for {world_size} processes; start no more than images")
    steps, most = ceil(len(order) / batch_size), len(order) // world_size
    if steps > most:
        raise ConfigError(
            f"batch size {batch_size} leaves some of {world_size} processes without an image in a step; "
            f"make it at least {ceil(len(order) / most)}"
        )
    return [step[rank::world_size] for step in np.array_split(order, steps)]


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
