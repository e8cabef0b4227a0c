"""Steps as `sampling` has them, and each process's part of them."""

from collections import Counter

import numpy as np
import pytest
import torch
from timm.data.distributed_sampler import RepeatAugSampler

from resnet_lab.data import sampling
from resnet_lab.data.draws import Draws
from resnet_lab.data.order import Order, ProcessShard, Subset
from resnet_lab.data.sampling import repeats, shuffled, shuffled_pieces, steps_of

POSITIONS = np.sort(np.random.default_rng(0).permutation(90)[:37])
LABELS = np.random.default_rng(1).integers(0, 4, 37)
IMAGES = Subset(POSITIONS, LABELS, 4)


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("shard", [ProcessShard(), ProcessShard(1, 3)])
def test_training_goes_through_the_sampler_s_steps(balanced: bool, shard: ProcessShard) -> None:
    order = Order(IMAGES, 8, seed=5, balanced=balanced, shard=shard)
    expected = shuffled(LABELS, 5, 2, balanced=balanced)
    parts = [steps_of(entries, 8, *shard) for entries in (expected, repeats(expected))]
    steps = list(order.training(2))
    assert len(steps) == len(order) == 5
    for step, indices, again in zip(steps, *parts, strict=True):
        assert step.indices.tolist() == indices.tolist()
        assert step.positions.tolist() == POSITIONS[indices].tolist()
        assert step.draws is not None
        drawn = Draws(5, 2, POSITIONS[indices], again).uniform("flip")
        assert torch.equal(step.draws.uniform("flip"), drawn)
        assert step.filler == 0
    assert [step.indices.tolist() for step in order.training(2, 3)] == [step.indices.tolist() for step in steps[3:]]


@pytest.mark.parametrize("shard", [ProcessShard(), ProcessShard(1, 3)])
@pytest.mark.parametrize("first_step", [0, 3])
def test_many_images_in_chunks_are_shuffled_a_few_chunks_at_a_time(
    shard: ProcessShard, first_step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunks = np.repeat(np.arange(12), 3)
    images = Subset(np.arange(36) * 2, np.zeros(36, np.int64), 1, chunks)
    usual = [step.indices.tolist() for step in Order(images, 8, seed=5, shard=shard).training(2)]
    monkeypatch.setattr(sampling, "WHOLE", 35)
    order = Order(images, 8, seed=5, shard=shard)
    expected = steps_of(np.concatenate(list(shuffled_pieces(chunks, 5, 2))), 8, *shard)
    steps = list(order.training(2, first_step))
    assert [step.indices.tolist() for step in steps] == [each.tolist() for each in expected[first_step:]]
    assert [step.positions.tolist() for step in steps] == [(2 * each).tolist() for each in expected[first_step:]]
    assert [len(step.indices) for step in steps] == list(map(len, usual))[first_step:]
    balanced = Order(images, 8, seed=5, balanced=True, shard=shard)
    assert sorted(np.concatenate([step.indices for step in balanced.training(2)]))[0] >= 0


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_repeated_augmentation_is_timm_s(monkeypatch: pytest.MonkeyPatch, world_size: int) -> None:
    """The sampler of the paper's authors, on our permutation: the copies of an image go to different processes."""
    images = Subset(np.arange(48) * 3, np.zeros(48, np.int64), 1)
    permutation = shuffled(images.labels, 5, 2)
    monkeypatch.setattr(torch, "randperm", lambda *_, **__: torch.from_numpy(permutation))
    samplers = [
        RepeatAugSampler(range(48), world_size, rank, num_repeats=3, selected_round=0) for rank in range(world_size)
    ]
    theirs = [list(sampler) for sampler in samplers]
    monkeypatch.undo()
    for rank in range(world_size):
        order = Order(images, 8, seed=5, copies=3, shard=ProcessShard(rank, world_size))
        steps = list(order.training(2))
        assert np.concatenate([step.indices for step in steps]).tolist() == theirs[rank]
        assert len(steps) == len(order) == 6
        rest = [step.indices.tolist() for step in order.training(2, 4)]
        assert rest == [step.indices.tolist() for step in steps[4:]]
    assert sorted(Counter(np.concatenate(theirs).tolist()).values()) == [3] * 16


def test_each_copy_is_augmented_by_itself_whatever_the_processes() -> None:
    alone = list(Order(IMAGES, 8, seed=5, copies=3).training(1))
    order = np.repeat(shuffled(LABELS, 5, 1), 3)[:37]
    drawn = torch.cat([step.draws.uniform("flip") for step in alone]).ravel().tolist()
    assert len(set(drawn)) == 37
    assert drawn == Draws(5, 1, POSITIONS[order], repeats(order)).uniform("flip").ravel().tolist()
    shared = [list(Order(IMAGES, 8, seed=5, copies=3, shard=ProcessShard(rank, 2)).training(1)) for rank in (0, 1)]
    both = [step.draws.uniform("flip") for steps in shared for step in steps]
    assert sorted(torch.cat(both).ravel().tolist()) == sorted(drawn)


def test_evaluation_fills_up_the_last_step() -> None:
    for shard, filler in ((ProcessShard(), 3), (ProcessShard(0, 2), 1), (ProcessShard(1, 2), 2)):
        order = Order(IMAGES, 10, shard=shard)
        steps = list(order.evaluation())
        assert {len(step.indices) for step in steps} == {10}
        assert [step.filler for step in steps] == [0] * (len(steps) - 1) + [filler]
        seen = np.concatenate([step.indices for step in steps])[: len(order.share)]
        assert seen.tolist() == order.share.tolist() == list(range(shard.rank, 37, shard.world_size))
        assert all(step.draws is None for step in steps)
    assert Order(IMAGES, 10, shard=ProcessShard(1, 2)).unshared().share.tolist() == list(range(37))
