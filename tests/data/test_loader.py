import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision.transforms import v2

from resnet_lab.core.errors import DataError
from resnet_lab.data.augmentations import parse_augmentations
from resnet_lab.data.draws import Draws
from resnet_lab.data.image_loader import ImageRows, ImageTransform, ResidentRows, image_loader
from resnet_lab.data.loader import Batch, Loader, _workers
from resnet_lab.data.order import Order, ProcessShard, Subset
from resnet_lab.data.sampling import shuffled
from resnet_lab.device import Placement, choose
from tests.stand_ins import ArrayPixels

CPU = choose("cpu", "fp32")
SIZE = 12
NOISE = np.random.default_rng(0).integers(0, 256, (40, SIZE, SIZE, 3), dtype=np.uint8)
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def served(
    array: NDArray[np.uint8] = NOISE,
    positions: NDArray[np.int64] | None = None,
    *,
    batch_size: int = 7,
    augment: tuple[str, ...] = (),
    placement: Placement = CPU,
    **options: object,
) -> Loader:
    """Every image is a class of its own, so that a label names its image."""
    positions = np.arange(len(array)) if positions is None else positions
    return labelled(array, np.arange(len(positions)), positions, batch_size, augment, placement, **options)


def labelled(
    array: NDArray[np.uint8],
    labels: NDArray[np.int64],
    positions: NDArray[np.int64] | None = None,
    batch_size: int = 8,
    augment: tuple[str, ...] = (),
    placement: Placement = CPU,
    **options: object,
) -> Loader:
    positions = np.arange(len(array)) if positions is None else positions
    order = Order(Subset(positions, labels, labels.max() + 1), batch_size, **options)
    channels = array.shape[3]
    augmentations = parse_augmentations(augment)
    return image_loader(ArrayPixels(array), order, MEAN[:channels], STD[:channels], placement, augmentations)


def whole(batches: list[Batch]) -> tuple[torch.Tensor, torch.Tensor]:
    """An epoch's images, each in the place of its label; without those that fill up the last batch."""
    x, y = torch.cat([x[: len(y)] for _, x, y in batches]), torch.cat([y for *_, y in batches])
    return x[y.argsort()], y.sort().values


def in_sequence(loader: Loader) -> torch.Tensor:
    """The images as they stand."""
    return torch.cat([x[: len(y)] for _, x, y in loader.evaluation()])


@pytest.mark.parametrize("channels", [1, 3])
def test_normalisation_equals_torchvision_s(channels: int) -> None:
    images = torch.from_numpy(NOISE[..., :channels]).permute(0, 3, 1, 2)
    found = list(served(NOISE[..., :channels], batch_size=16).evaluation())
    reference = v2.functional.normalize(
        v2.functional.to_dtype(images, scale=True), MEAN[:channels], STD[:channels]
    )  # fmt: skip
    torch.testing.assert_close(torch.cat([x[: len(y)] for _, x, y in found]), reference, rtol=1e-5, atol=2e-6)
    assert [len(y) for *_, y in found] == [16, 16, 8]
    assert torch.cat([y for *_, y in found]).tolist() == list(range(40))
    assert all(x.dtype == torch.float32 and x.is_contiguous(memory_format=torch.channels_last) for _, x, _ in found)


def test_a_channel_without_any_spread_stays_finite() -> None:
    order = Order(Subset(np.arange(2), np.arange(2), 2), 2)
    flat = ArrayPixels(np.full((2, 4, 4, 1), 51, np.uint8))
    _, x, _ = next(image_loader(flat, order, (0.2,), (0.0,), CPU).evaluation())
    assert x.abs().max() < 1


@pytest.mark.parametrize(("number", "batch_size"), [(10, 3), (10, 10), (10, 64), (40, 39), (40, 7)])
def test_an_epoch_has_every_image_once_in_even_batches(number: int, batch_size: int) -> None:
    batches = served(NOISE[:number], batch_size=batch_size)
    epoch = list(batches.training(1))
    sizes = [len(y) for *_, y in epoch]
    assert len(epoch) == len(batches) == -(-number // batch_size)
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    x, y = whole(epoch)
    assert y.tolist() == list(range(number))
    assert torch.equal(x, in_sequence(batches)), "an image goes with its label"


def test_the_order_is_that_of_the_sampler() -> None:
    epoch = list(served(seed=5).training(3))
    expected = shuffled(np.arange(40), 5, 3).tolist()
    assert torch.cat([y for *_, y in epoch]).tolist() == expected
    assert np.concatenate([indices for indices, *_ in epoch]).tolist() == expected


def test_each_batch_says_which_images_it_has() -> None:
    """Among those of the part, also where these are some of the set, and without what fills up a batch."""
    positions, labels = np.arange(3, 38), np.random.default_rng(2).integers(0, 4, 35)
    for shard in (ProcessShard(), ProcessShard(1, 2)):
        batches = labelled(NOISE, labels, positions, 8, shard=shard)
        expected = in_sequence(served(positions=positions))
        seen = []
        for indices, x, y in (*batches.training(1), *batches.evaluation()):
            assert torch.equal(x[: len(indices)], expected[indices])
            assert y.tolist() == labels[indices].tolist()
            seen += indices.tolist()
        assert np.unique(batches.order.share).tolist() == sorted(seen[-len(batches.order.share) :])


def test_images_are_taken_from_their_positions_in_the_set() -> None:
    positions = np.array([31, 4, 17])
    x, y = whole(list(served(positions=positions).training(1)))
    assert torch.equal(x, in_sequence(served())[positions])
    assert y.tolist() == [0, 1, 2]


def test_a_resumed_epoch_is_the_rest_of_the_epoch() -> None:
    augment = ("crop", "flip", "rotate90", "jitter", "mixup(alpha=0.4)")
    epoch = list(served(augment=augment).training(2))
    rest = list(served(augment=augment).training(2, first_step=4))
    assert len(rest) == len(epoch) - 4
    for (_, x, y), (_, again, target) in zip(epoch[4:], rest, strict=True):
        assert torch.equal(x, again)
        assert torch.equal(y, target)


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_processes_share_every_step_and_nothing_comes_twice(world_size: int) -> None:
    """Each image once, augmented as in one process alone; a padded sampler would repeat some of the 40."""
    augment = ("crop", "flip", "rotate90")
    alone = whole(list(served(augment=augment, batch_size=15).training(1)))
    shares = [
        served(augment=augment, batch_size=15, shard=ProcessShard(rank, world_size)) for rank in range(world_size)
    ]
    assert len({len(share) for share in shares}) == 1
    together = whole([batch for share in shares for batch in share.training(1)])
    evaluated = whole([batch for share in shares for batch in share.evaluation()])
    assert torch.equal(together[0], alone[0])
    assert together[1].tolist() == evaluated[1].tolist() == list(range(40))
    assert torch.equal(evaluated[0], in_sequence(served()))
    assert sorted(np.concatenate([share.order.share for share in shares]).tolist()) == list(range(40))


def test_evaluation_has_batches_of_one_size_however_many_processes_there_are() -> None:
    for world_size in (1, 2, 3):
        shares = [served(batch_size=15, shard=ProcessShard(rank, world_size)) for rank in range(world_size)]
        served_ones = [batch for share in shares for batch in share.evaluation()]
        assert {len(x) for _, x, _ in served_ones} == {15}
        assert sum(len(y) for *_, y in served_ones) == 40
        *_, x, y = served_ones[-1]
        assert all(torch.equal(image, x[len(y) - 1]) for image in x[len(y) :])
    assert [len(x) for _, x, _ in served(NOISE[:4], batch_size=15).evaluation()] == [4]


PROCESS = """
import sys, torch, numpy as np
from torch import distributed
sys.path.insert(0, sys.argv[1])
import tests.data.test_loader as tests
distributed.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=int(sys.argv[3]), world_size=2)
batches = tests.served(batch_size=15)
print([y.tolist() for *_, y in batches.training(1)], [y.tolist() for *_, y in batches.evaluation()], sep="\\n")
distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_torch_distributed_is_heeded(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROCESS, str(Path(__file__).parents[2]), str(tmp_path / "meeting")]
    running = [
        subprocess.Popen([*command, str(rank)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    printed = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0, 0], printed
    for line in (0, 1):
        first, second = (eval(out.splitlines()[line]) for out, _ in printed)
        assert [len(y) for y in first] == [7, 7, 7] if line == 0 else sum(map(len, first)) == 20
        assert sorted(label for step in first + second for label in step) == list(range(40))


def test_batches_that_are_kept_keep_their_values() -> None:
    """Memory is used again, but never that of a batch somebody holds."""
    batches = served(batch_size=4)
    kept = [(x, x.clone()) for _, x, _ in batches.training(1)]
    view = kept[0][0][1:2]
    del kept[0]
    first = view.clone()
    for epoch in range(2, 6):
        for _ in batches.training(epoch):
            pass
    assert all(torch.equal(x, copy) for x, copy in kept)
    assert torch.equal(view, first), "a slice holds its batch"


def test_memory_is_used_again_once_a_batch_is_gone() -> None:
    batches = served(batch_size=10)
    places = {x.data_ptr() for epoch in range(5) for _, x, _ in batches.training(epoch)}
    assert len(places) < 10, "20 batches"


def test_mixed_images_have_mixed_targets() -> None:
    for _, x, y in served(augment=("mixup(alpha=1.0)",), batch_size=8).training(1):
        assert y.shape == (len(x), 40)
        torch.testing.assert_close(y.sum(1), torch.ones(len(x)))
    plain = in_sequence(served())
    _, x, y = next(iter(served(augment=("mixup(alpha=1.0)",), batch_size=8).training(1)))
    for image, target in zip(x, y, strict=True):
        mixture = sum(share * plain[k] for k, share in enumerate(target.tolist()) if share)
        torch.testing.assert_close(image, mixture, rtol=1e-4, atol=1e-4)


def test_balanced_epochs_give_every_class_its_share() -> None:
    labels = np.repeat([0, 1, 2], [30, 6, 4])
    batches = labelled(NOISE, labels, balanced=True)
    counts = np.bincount(torch.cat([y for *_, y in batches.training(1)]).numpy())
    assert sorted(counts.tolist()) == [13, 13, 14]


def test_a_repeated_image_is_augmented_differently() -> None:
    """Class 1 has a single image, which fills half of the places."""
    batches = labelled(NOISE, np.repeat([0, 1], [39, 1]), balanced=True, augment=("crop",))
    x, y = (torch.cat(parts) for parts in list(zip(*batches.training(1), strict=True))[1:])
    assert len({image.numpy().tobytes() for image in x[y == 1]}) == 20


def test_augmentation_is_for_training_alone() -> None:
    augmented, plain = served(augment=("rotate90", "flip")), served()
    assert torch.equal(whole(list(augmented.evaluation()))[0], whole(list(plain.evaluation()))[0])
    turned = whole(list(augmented.training(1)))[0]
    original = whole(list(plain.training(1)))[0]
    assert not torch.equal(turned, original)
    assert torch.equal(turned.flatten(2).sort().values, original.flatten(2).sort().values)


@pytest.mark.parametrize("augment", [("rotate90", "flip"), ("flip", "erase"), ("crop", "rotate90")], ids=",".join)
def test_the_order_of_augmentations_is_kept(
    augment: tuple[str, ...],
) -> None:
    batches = served(augment=augment)
    for _, x, y in batches.training(2):
        expected = torch.from_numpy(NOISE[y.numpy()]).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        for each in parse_augmentations(augment).pixel:
            expected = each(expected, Draws(0, 2, y.numpy()))
        reference = v2.functional.normalize(v2.functional.to_dtype(expected, scale=True), MEAN, STD)
        torch.testing.assert_close(x, reference, rtol=1e-5, atol=2e-6)


class FailingPixels(ArrayPixels):
    def gather(self, positions: NDArray[np.int64], out: Iterable[NDArray[np.uint8]]) -> None:
        raise DataError("a.jpg: unreadable image (truncated); repair or remove it")


def test_what_goes_wrong_ahead_is_raised_where_batches_are_used() -> None:
    batches = served()
    batches.rows = ImageRows(FailingPixels(NOISE), CPU)
    with pytest.raises(DataError, match=r"a\.jpg: unreadable image"):
        next(batches.training(1))


def test_an_epoch_that_is_given_up_leaves_no_thread_behind() -> None:
    batches = served()
    next(batches.training(1))
    before = threading.active_count()
    for number in range(5):
        epoch = batches.training(number)
        next(epoch)
        epoch.close()
    assert threading.active_count() == before


def test_torch_keeps_its_threads_but_in_the_workers() -> None:
    """They work on a batch each; operators split over all cores in each of them would get in each other's way."""
    before = torch.get_num_threads()
    list(served().training(1))
    in_a_new_thread: list[int] = []
    thread = threading.Thread(target=lambda: in_a_new_thread.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert torch.get_num_threads() == before == in_a_new_thread[0]
    assert _workers().submit(torch.get_num_threads).result() == 1


def test_images_that_are_on_the_device_are_served_alike() -> None:
    augment, positions = ("rotate90", "erase", "flip", "mixup"), np.arange(3, 38)
    read = served(positions=positions, augment=augment)
    transform = ImageTransform(parse_augmentations(augment), MEAN, STD, len(positions), CPU, SIZE)
    resident = Loader(ResidentRows(torch.from_numpy(NOISE[positions]), CPU), read.order, transform, CPU)
    pairs = [*zip(read.training(2), resident.training(2), strict=True)]
    pairs += zip(read.evaluation(), resident.evaluation(), strict=True)
    for (indices, x, y), (others, again, labels) in pairs:
        assert np.array_equal(indices, others)
        assert torch.equal(x, again)
        assert torch.equal(y, labels)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("resident", [True, False])
def test_a_gpu_gets_the_same_batches(monkeypatch: pytest.MonkeyPatch, resident: bool) -> None:
    if not resident:
        monkeypatch.setattr("resnet_lab.data.image_loader.DEVICE_SHARE", 0.0)
    augment = ("erase", "flip", "rotate90")  # whose pixels no rounding can change
    batches = served(augment=augment, placement=choose("cuda", "fp32"))
    assert isinstance(batches.rows, ResidentRows) == resident
    for (_, x, y), (_, expected, labels) in zip(batches.training(1), served(augment=augment).training(1), strict=True):
        torch.testing.assert_close(x.cpu(), expected, rtol=1e-5, atol=2e-5)
        assert torch.equal(y.cpu(), labels)
