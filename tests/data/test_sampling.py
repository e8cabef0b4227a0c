"""Compared with torch's DistributedSampler, scikit-learn's class weights, and counting by hand."""

import re
from collections import Counter
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from sklearn.utils.class_weight import compute_class_weight
from torch.utils.data import DistributedSampler

from resnet_lab.core.errors import ConfigError
from resnet_lab.data.sampling import (
    CHUNKS_AT_ONCE,
    class_weights,
    even_steps,
    repeats,
    shuffled,
    shuffled_pieces,
    steps_of,
    steps_of_pieces,
)

UNEQUAL = np.repeat(np.arange(4), [40, 3, 17, 1])


def same(first: NDArray[np.int64], second: NDArray[np.int64]) -> bool:
    return np.array_equal(first, second)


@pytest.mark.parametrize("number", [1, 2, 61, 1000])
def test_an_order_has_every_image_once(number: int) -> None:
    order = shuffled(np.zeros(number, dtype=np.int64), seed=0, epoch=1)
    assert order.dtype == np.int64
    assert same(np.sort(order), np.arange(number))


@pytest.mark.parametrize("balanced", [False, True])
def test_an_order_follows_from_seed_and_epoch_alone(balanced: bool) -> None:
    order = shuffled(UNEQUAL, seed=5, epoch=2, balanced=balanced)
    np.random.seed(0)
    assert same(shuffled(UNEQUAL, seed=5, epoch=2, balanced=balanced), order)
    assert not same(shuffled(UNEQUAL, seed=6, epoch=2, balanced=balanced), order)
    assert not same(shuffled(UNEQUAL, seed=5, epoch=3, balanced=balanced), order)


@pytest.mark.parametrize("balanced", [False, True])
def test_every_place_is_as_likely_for_every_image(balanced: bool) -> None:
    labels = np.arange(6) % 2
    firsts = Counter(int(shuffled(labels, 0, epoch, balanced=balanced)[0]) for epoch in range(1200))
    assert stats.chisquare([firsts[image] for image in range(6)]).pvalue > 0.001


@pytest.mark.parametrize("labels", [UNEQUAL, UNEQUAL[::-1] * 7 + 2, np.array([3]), np.arange(5)], ids=len)
@pytest.mark.parametrize("epoch", range(4))
def test_balanced_classes_have_equal_places_and_their_images_equal_turns(labels: NDArray[np.int64], epoch: int) -> None:
    order = shuffled(labels, seed=0, epoch=epoch, balanced=True)
    assert len(order) == len(labels)
    shares = Counter(labels[order].tolist())
    assert set(shares) == set(labels.tolist())
    assert max(shares.values()) - min(shares.values()) <= 1
    for label in set(labels.tolist()):
        turns = Counter({int(image): 0 for image in np.flatnonzero(labels == label)})
        turns.update(order[labels[order] == label].tolist())
        assert max(turns.values()) - min(turns.values()) <= 1


def test_the_places_left_over_go_to_each_class_in_its_turn() -> None:
    """Seven places for three classes: one class has three, another each time."""
    labels = np.array([0, 0, 0, 0, 0, 1, 2])
    larger = Counter(
        int(np.bincount(labels[shuffled(labels, 0, epoch, balanced=True)]).argmax()) for epoch in range(600)
    )
    assert stats.chisquare([larger[label] for label in range(3)]).pvalue > 0.001


def test_over_the_epochs_every_image_of_a_large_class_comes() -> None:
    seen = set()
    for epoch in range(12):
        order = shuffled(UNEQUAL, seed=0, epoch=epoch, balanced=True)
        seen |= set(order[UNEQUAL[order] == 0].tolist())
    assert seen == set(range(40))


CHUNKS = {
    "sorted": np.repeat(np.arange(20), np.arange(1, 21)),
    "mixed": np.random.default_rng(0).integers(3, 24, 210),
    "few": np.repeat([4, 9], 50),
    "one": np.zeros(7, dtype=np.int32),
}


@pytest.mark.parametrize("name", CHUNKS)
def test_pieces_of_an_order_have_every_image_once(name: str) -> None:
    chunks = CHUNKS[name]
    pieces = list(shuffled_pieces(chunks, 3, 1))
    assert same(np.sort(np.concatenate(pieces)), np.arange(len(chunks)))
    own = [set(chunks[piece].tolist()) for piece in pieces]
    assert sum(map(len, own)) == len(set(chunks.tolist())), "a chunk is in one piece alone"
    assert sorted(map(len, own))[1:] == [CHUNKS_AT_ONCE] * (len(own) - 1)
    again = list(shuffled_pieces(chunks, 3, 1))
    assert all(same(one, other) for one, other in zip(pieces, again, strict=True))
    if len(chunks) > 10:
        for other in (shuffled_pieces(chunks, 3, 2), shuffled_pieces(chunks, 4, 1)):
            assert not same(np.concatenate(list(other)), np.concatenate(pieces))


def test_within_a_piece_every_place_is_as_likely_for_every_image() -> None:
    firsts = Counter(int(next(shuffled_pieces(np.arange(6) // 2, 0, epoch))[0]) for epoch in range(1200))
    assert stats.chisquare([firsts[image] for image in range(6)]).pvalue > 0.001
    chunks = Counter(int(next(shuffled_pieces(np.arange(16), 0, epoch)).min() == 0) for epoch in range(600))
    assert stats.binomtest(chunks[1], 600, 0.5).pvalue > 0.001, "of 16 chunks 8 come first"


@pytest.mark.parametrize(("number", "steps"), [(10, 3), (10, 10), (10, 1), (64, 7)])
def test_steps_of_pieces_are_those_of_the_whole(number: int, steps: int) -> None:
    order = np.random.default_rng(0).permutation(number)
    for cuts in ([], [1], [4, 4, 9], [3, 5]):
        found = list(steps_of_pieces(np.split(order, cuts), number, steps))
        assert [each.tolist() for each in found] == [each.tolist() for each in np.array_split(order, steps)]


def test_repeats_counts_what_came_before() -> None:
    assert repeats(np.array([4, 2, 4, 4, 9, 2])).tolist() == [0, 0, 1, 2, 0, 1]
    assert repeats(np.array([], dtype=np.int64)).tolist() == []
    order = shuffled(UNEQUAL, seed=0, epoch=1, balanced=True)
    seen: Counter[int] = Counter()
    for image, before in zip(order.tolist(), repeats(order).tolist(), strict=True):
        assert before == seen[image]
        seen[image] += 1


SHARINGS = [
    (number, batch_size, world_size)
    for number, batch_size, world_size in product([1, 2, 7, 8, 9, 64, 65, 1000], [1, 2, 3, 8, 32, 100], [1, 2, 3, 8])
    if number // -(-number // batch_size) >= world_size
]


@pytest.mark.parametrize(("number", "batch_size", "world_size"), SHARINGS)
def test_the_shares_of_all_processes_hold_every_entry_once(number: int, batch_size: int, world_size: int) -> None:
    order = np.random.default_rng(0).permutation(number) * 3
    shares = [steps_of(order, batch_size, rank, world_size) for rank in range(world_size)]
    assert {len(steps) for steps in shares} == {-(-number // batch_size)}
    assert sorted(np.concatenate([step for steps in shares for step in steps]).tolist()) == sorted(order.tolist())
    sizes = [len(step) for steps in shares for step in steps]
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1
    together = [sum(len(steps[number]) for steps in shares) for number in range(len(shares[0]))]
    assert max(together) <= batch_size
    assert max(together) - min(together) <= 1


def test_processes_together_make_the_steps_that_one_would_make() -> None:
    """So an experiment is the same on one device and on several."""
    order = np.random.default_rng(1).permutation(101)
    alone = steps_of(order, 16)
    shares = [steps_of(order, 16, rank, 4) for rank in range(4)]
    for number, step in enumerate(alone):
        assert sorted(step.tolist()) == sorted(np.concatenate([steps[number] for steps in shares]).tolist())
    assert same(np.concatenate(alone), order)


def test_torchs_sampler_pads_where_ours_shares_unequally() -> None:
    """It gives every process as many images, and so some images twice."""
    theirs = [list(DistributedSampler(range(10), num_replicas=4, rank=rank, shuffle=False)) for rank in range(4)]
    assert sorted(Counter(index for share in theirs for index in share).values()) == [1] * 8 + [2] * 2
    ours = [np.concatenate(steps_of(np.arange(10), 10, rank, 4)).tolist() for rank in range(4)]
    assert [len(share) for share in ours] == [3, 3, 2, 2]
    assert [share[: len(own)] for share, own in zip(theirs, ours, strict=True)] == ours  # up to the padding the same


@pytest.mark.parametrize(
    ("number", "batch_size", "world_size", "least"), [(100, 2, 4, 4), (9, 4, 4, 5), (5, 3, 4, 5), (4, 3, 4, 4)]
)
def test_a_process_without_an_image_in_a_step_is_refused(
    number: int, batch_size: int, world_size: int, least: int
) -> None:
    sentence = (
        f"batch size {batch_size} leaves some of {world_size} processes without an image in a step; "
        f"make it at least {least}"
    )
    for size in range(batch_size, least):
        with pytest.raises(ConfigError):
            steps_of(np.arange(number), size, 0, world_size)
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        steps_of(np.arange(number), batch_size, 0, world_size)
    assert all(len(step) for step in steps_of(np.arange(number), least, world_size - 1, world_size))


@pytest.mark.parametrize(("number", "world_size"), [(3, 4), (0, 1)])
def test_more_processes_than_images_are_refused(number: int, world_size: int) -> None:
    sentence = f"{number} images are too few for {world_size} processes; start no more than images"
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        steps_of(np.arange(number), 8, 0, world_size)


@pytest.mark.parametrize("labels", [UNEQUAL, np.array([0]), np.arange(5)], ids=len)
def test_class_weights_are_scikit_learns(labels: NDArray[np.int64]) -> None:
    number = labels.max() + 1
    wanted = compute_class_weight("balanced", classes=np.arange(number), y=labels)
    assert class_weights(labels, number) == pytest.approx(wanted, rel=1e-6)


def test_a_class_without_images_weighs_nothing_and_does_not_count() -> None:
    assert class_weights(np.array([0, 0, 0, 3]), 5).tolist() == pytest.approx([2 / 3, 0, 0, 2, 0])


def test_chunks_come_a_few_at_a_time_and_shuffled() -> None:
    labels, chunks = np.zeros(300, np.int64), np.repeat(np.arange(100, 130), 10)
    order = shuffled(labels, 3, 1, chunks=chunks)
    assert sorted(order.tolist()) == list(range(300))
    groups = [set(chunks[order[start : start + 80]].tolist()) for start in range(0, 300, 80)]
    assert [len(group) for group in groups] == [8, 8, 8, 6]
    assert len(set.union(*groups)) == 30, "each chunk is fetched once"
    first = chunks[order[:80]]
    assert np.count_nonzero(np.diff(first)) > 40, "the images of the eight are mixed"
    other = shuffled(labels, 3, 2, chunks=chunks)
    assert set(chunks[other[:80]].tolist()) != groups[0]
    assert shuffled(labels, 3, 1, chunks=chunks).tolist() == order.tolist()


@pytest.mark.parametrize(("number", "expected"), [(4, [[0, 1], [2, 3]]), (5, [[0, 1], [2, 3], [4, 4]]), (1, [[0, 0]])])
def test_even_steps_are_filled_up(number: int, expected: list[list[int]]) -> None:
    assert [step.tolist() for step in even_steps(np.arange(number), 2)] == expected
