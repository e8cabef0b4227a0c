"""Compared with the same training on images, and with the network itself on the images that it would have seen."""

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pytest
import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from resnet_lab import build
from resnet_lab.core.cache_location import cache_folder
from resnet_lab.core.errors import ConfigError, DataError
from resnet_lab.core.size_schedule import SizeSchedule
from resnet_lab.core.watcher import Watcher
from resnet_lab.data import row_store
from resnet_lab.data.augmentations import parse_augmentations
from resnet_lab.data.config import DataConfig
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.data.image_loader import image_loader
from resnet_lab.data.loader import Loader
from resnet_lab.data.order import Order, ProcessShard, Subset
from resnet_lab.data.preparation import Prepared, prepare
from resnet_lab.data.split import PARTS, Part
from resnet_lab.device import Placement, choose
from resnet_lab.network.builtin.datasets import synthetic
from resnet_lab.network.checkpoint import Metadata
from resnet_lab.network.spec import ModelSpec
from resnet_lab.train import frozen_cache
from resnet_lab.train.feature_loader import FeatureRows
from resnet_lab.train.freezing import PartlyFrozen, freeze
from resnet_lab.train.frozen_cache import cache_features
from tests.train.test_freezing import small

CPU = choose("cpu", "fp32")
CHANNELS_FIRST = choose("cpu", "fp32", channels_last=False)
EARLY, ALL = ("stem", "layer1", "layer2"), ("stem", "layer1", "layer2", "layer3")
SPEC = small(head_dropout=0.2)
AUGMENTS = [(), ("flip",), ("rotate90",), ("flip", "rotate90"), ("rotate90", "flip")]
TRAIN, VAL = 37, 7
"""Images in these parts of 50."""


@pytest.fixture(scope="module")
def paintings() -> Prepared:
    return prepare(synthetic(images=50, classes=5, size=16), ImageFormat(16), DataConfig(source="synthetic"), seed=0)


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paintings: Prepared) -> None:
    """Each test begins with nothing stored; the images have their file open already."""
    monkeypatch.setenv("RESNET_LAB_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """A network this small gains nothing from more threads, which would wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def served(
    prepared: Prepared,
    augment: tuple[str, ...] = ("rotate90",),
    *,
    placement: Placement = CPU,
    **options: Any,
) -> dict[Part, Loader]:
    mean, std = prepared.statistics()
    return {
        part: image_loader(
            prepared.pixels, Order(subset(prepared, part), 12, seed=1, **options), mean, std, placement,
            parse_augmentations(augment),
        )
        for part in PARTS
    }  # fmt: skip


def subset(prepared: Prepared, part: Part) -> Subset:
    chosen = prepared.positions(part)
    return Subset(chosen, prepared.images.labels[chosen], 5)


def network(names: tuple[str, ...] = EARLY, spec: ModelSpec = SPEC, seed: int = 0) -> PartlyFrozen:
    return freeze(build(spec, seed=seed).to(memory_format=torch.channels_last), names)  # type: ignore[call-overload]


@dataclass
class Listener(Watcher):
    """Keeps all messages."""

    begun: list[tuple[str, int]] = field(default_factory=list)
    advanced: int = 0
    notes: list[str] = field(default_factory=list)

    def begin(self, what: str, total: int, done: int = 0) -> None:
        self.begun.append((what, total))

    def advance(self) -> None:
        self.advanced += 1

    def say(self, text: str) -> None:
        self.notes.append(text)

    @property
    def computed(self) -> int:
        """Rows."""
        return sum(total for what, total in self.begun if what.startswith("computing"))


def cached(
    model: PartlyFrozen,
    batches: dict[Part, Loader],
    prepared: Prepared,
    *,
    requested: Any = "on",
    epochs: int = 100,
    after_step: Callable[[], None] = lambda: None,
) -> tuple[dict[Part, Loader], Listener]:
    listener = Listener()
    mean, std = prepared.statistics()
    metadata = Metadata(spec=SPEC, classes=prepared.images.classes, mean=mean, std=std)
    found = cache_features(
        model, batches, prepared, metadata, requested=requested, epochs=epochs, watcher=listener, after_step=after_step
    )
    return found, listener


def losses(model: nn.Module, batches: dict[Part, Loader], placement: Placement = CPU) -> list[float]:
    """Losses of each training step of three epochs, and of the validation part after each."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.02, momentum=0.9)
    found = []
    for epoch in (1, 2, 3):
        model.train()
        torch.manual_seed(epoch)  # of dropout
        for _, x, y in batches["train"].training(epoch):
            with placement.autocast():
                outputs = model(x)
            loss = F.cross_entropy(outputs.float(), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        model.eval()
        with torch.no_grad(), placement.autocast():
            val = batches["val"]
        outputs = torch.cat([model(x)[: len(y)] for _, x, y in val.evaluation()])
        found.append(F.cross_entropy(outputs.float(), torch.from_numpy(val.images.labels[val.order.share])).item())
    return found


@pytest.mark.parametrize(
    ("augment", "balanced"), [*((augment, False) for augment in AUGMENTS), (("rotate90",), True)], ids=str
)
def test_losses_are_those_of_the_training_on_images(
    augment: tuple[str, ...], balanced: bool, paintings: Prepared
) -> None:
    images = served(paintings, augment, balanced=balanced)
    model = network()
    features, _ = cached(model, images, paintings)
    assert model.takes_features
    assert losses(model, features) == pytest.approx(losses(network(), images), rel=1e-5)


def test_so_they_are_where_only_the_classifier_learns(paintings: Prepared) -> None:
    images, model = served(paintings), network(ALL)
    features, _ = cached(model, images, paintings)
    assert next(features["train"].training(1)).x.shape == (10, 64)
    assert losses(model, features) == pytest.approx(losses(network(ALL), images), rel=1e-5)


@pytest.mark.parametrize("names", [("stem",), EARLY, ALL], ids="+".join)
@pytest.mark.parametrize("placement", [CPU, CHANNELS_FIRST, choose("cpu", "bf16")], ids=["fp32", "first", "bf16"])
def test_every_feature_is_what_the_network_makes_of_the_image(
    names: tuple[str, ...], placement: Placement, paintings: Prepared
) -> None:
    images, model = served(paintings, ("flip", "rotate90"), placement=placement), network(names)
    model.to(memory_format=placement.memory_format)  # type: ignore[call-overload]
    features, _ = cached(model, images, paintings)
    for ours, theirs in [
        *((features["train"].training(epoch), images["train"].training(epoch)) for epoch in (1, 7)),
        (features["train"].evaluation(), images["train"].evaluation()),
        (features["val"].evaluation(), images["val"].evaluation()),
    ]:
        for (indices, x, y), (theirs_too, pictures, labels) in zip(ours, theirs, strict=True):
            with placement.autocast():
                expected = model.fixed(pictures)
            assert x.dtype == expected.dtype == placement.dtype
            assert x.stride() == (placement.layout(expected) if x.ndim == 4 else expected).stride()
            assert torch.equal(y, labels)
            assert np.array_equal(indices, theirs_too)
            torch.testing.assert_close(x, expected, rtol=0.02 if placement.dtype == torch.bfloat16 else 1e-5, atol=1e-5)


def test_no_image_is_computed_by_itself(paintings: Prepared) -> None:
    """A batch of another size has other last digits on a CPU; 37 images in batches of 12 would leave one alone."""
    model, sizes = network(), []
    model.conv1.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    cached(model, served(paintings, ()), paintings)
    assert sizes[1:] == [12, 12, 12, 12, 7]  # after the first, which tells the shape; the last is all of validation


def test_a_training_resumes_within_an_epoch(paintings: Prepared) -> None:
    features, _ = cached(network(), served(paintings), paintings)
    whole, rest = list(features["train"].training(4)), list(features["train"].training(4, first_step=2))
    assert len(whole) == len(features["train"]) == 4
    for (_, x, y), (_, again, labels) in zip(whole[2:], rest, strict=True):
        assert torch.equal(x, again)
        assert torch.equal(y, labels)


def test_processes_share_steps_as_they_share_images(paintings: Prepared) -> None:
    """Each fills all or finds it filled: it may be the only one of its machine."""
    images = [served(paintings, shard=ProcessShard(rank, 2)) for rank in (0, 1)]
    found = [cached(network(), each, paintings) for each in images]
    assert [listener.computed for _, listener in found] == [4 * TRAIN + VAL, 0]
    for (features, _), pictures in zip(found, images, strict=True):
        pairs = list(zip(features["train"].training(2), pictures["train"].training(2), strict=True))
        assert [one.y.tolist() for one, _ in pairs] == [other.y.tolist() for _, other in pairs]
        for (_, x, _), (_, images_of_step, _) in pairs:
            torch.testing.assert_close(x, network().fixed(images_of_step), rtol=1e-5, atol=1e-5)
        assert features["val"].order.share.tolist() == pictures["val"].order.share.tolist()
        assert [y.tolist() for *_, y in features["val"].evaluation()] == [
            y.tolist() for *_, y in pictures["val"].evaluation()
        ]


def test_the_test_part_stays_as_it_is(paintings: Prepared) -> None:
    images = served(paintings)
    features, _ = cached(network(), images, paintings)
    assert features["test"] is images["test"]
    assert isinstance(features["train"].rows, FeatureRows)
    assert isinstance(features["val"].rows, FeatureRows)


# What is found again


def folders() -> list[Path]:
    return sorted((cache_folder() / "frozen").iterdir())


def test_what_is_stored_is_not_computed_again(paintings: Prepared) -> None:
    features, first = cached(network(), served(paintings), paintings)
    again, second = cached(network(), served(paintings), paintings)
    assert (first.computed, first.advanced) == (4 * TRAIN + VAL, 4 * TRAIN + VAL)
    assert (second.begun, second.advanced) == ([], 0)
    assert len(folders()) == 1
    ours, theirs = next(features["train"].training(1)), next(again["train"].training(1))
    assert torch.equal(ours.x, theirs.x)


def other_weight(model: PartlyFrozen) -> None:
    with torch.no_grad():
        model.layer2[0].bn1.running_var[3] += 1e-3


def test_another_beginning_has_a_store_of_its_own(paintings: Prepared) -> None:
    cached(network(), served(paintings), paintings)
    for names, change in [(EARLY, other_weight), (("stem", "layer1"), lambda model: None)]:
        model = network(names)
        change(model)
        _, listener = cached(model, served(paintings), paintings)
        assert listener.computed == 4 * TRAIN + VAL
    assert len(folders()) == 3


def test_weights_that_learn_do_not_matter(paintings: Prepared) -> None:
    cached(network(), served(paintings), paintings)
    model = network()
    with torch.no_grad():
        for part in (model.layer3, model.fc):
            for parameter in part.parameters():
                parameter += 1
    _, listener = cached(model, served(paintings), paintings)
    assert listener.computed == 0


def test_other_views_and_types_have_stores_of_their_own(paintings: Prepared) -> None:
    others = [*((augment, CPU) for augment in AUGMENTS), ((), choose("cpu", "bf16")), ((), CHANNELS_FIRST)]
    for number, (augment, placement) in enumerate(others, 1):
        cached(network(), served(paintings, augment, placement=placement), paintings)
        assert len(folders()) == number


def test_a_renamed_image_is_another_order_and_a_changed_one_another_set(paintings: Prepared) -> None:
    """The fingerprint of a set does not tell of the order of its images, and rows are found by their number."""
    cached(network(), served(paintings), paintings)
    first, second = paintings.positions("train")[:2]
    swapped = list(paintings.examined)
    swapped[first], swapped[second] = swapped[second], swapped[first]
    changed = list(paintings.examined)
    changed[first] = replace(changed[first], digest="0" * 64)
    for number, examined in enumerate((swapped, changed), 2):
        _, listener = cached(network(), served(paintings), replace(paintings, examined=tuple(examined)))
        assert listener.computed == 4 * TRAIN + VAL
        assert len(folders()) == number


def test_a_folder_records_its_origin(paintings: Prepared) -> None:
    cached(network(), served(paintings), paintings)
    about = json.loads((folders()[0] / "about.json").read_text())
    assert datetime.now(UTC) - datetime.fromisoformat(about.pop("used")) < timedelta(minutes=5)
    assert set(about.pop("seals")) == {"train", "val"}
    assert about == {
        "format": 1, "source": "synthetic",
        "form": {"size": 16, "channels": 3, "fit": "squash", "depth": None, "resize": 0},
        "network": "resnet20", "parts": ["stem", "layer1", "layer2"],
        "images": {"train": TRAIN, "val": VAL}, "views": {"train": 4, "val": 1},
    }  # fmt: skip


class StopError(Exception):
    pass


def stopping_after(number: int) -> Callable[[], None]:
    calls = []

    def after_step() -> None:
        calls.append(1)
        if len(calls) == number:
            raise StopError

    return after_step


def matches_the_network(features: dict[Part, Loader], images: dict[Part, Loader]) -> bool:
    model = network()
    pairs = [*zip(features["train"].training(3), images["train"].training(3), strict=True)]
    pairs += zip(features["val"].evaluation(), images["val"].evaluation(), strict=True)
    return all(torch.allclose(x, model.fixed(pictures), 1e-5, 1e-5) for (_, x, _), (_, pictures, _) in pairs)


@pytest.mark.parametrize("steps", [1, 3, 7, 16])
def test_an_interruption_keeps_what_was_computed(steps: int, paintings: Prepared) -> None:
    images = served(paintings)
    model = network()
    with pytest.raises(StopError):
        cached(model, images, paintings, after_step=stopping_after(steps))
    assert not model.takes_features
    features, listener = cached(network(), images, paintings)
    done = sum(([11] * 12 + [4] * 4)[:steps])  # in four views each: batches of 12 would leave one image by itself
    assert 0 < listener.computed <= 4 * TRAIN + VAL - done
    assert matches_the_network(features, images)


def damage(path: Path, place: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        file.write(content)


ROW = 32 * 8 * 8 * 4
"""Bytes of one image's features after stage 2."""


@pytest.mark.parametrize(
    ("harm", "rows_lost"),
    [
        (lambda folder: damage(folder / "train.features", 5 * ROW + 17, b"\x99"), 1),
        (lambda folder: damage(folder / "train.features", 6 * ROW - 1, b"\x99\x99"), 2),
        (lambda folder: os.truncate(folder / "train.features", 100 * ROW + 1), 4 * TRAIN - 100),
        (lambda folder: (folder / "val.features").unlink(), VAL),
        (lambda folder: os.truncate(folder / "train.sums", 8 * 30 + 3), 4 * TRAIN - 30),
        (lambda folder: (folder / "train.sums").unlink(), 4 * TRAIN),
        (lambda folder: damage(folder / "val.sums", 8, b"\xff" * 8), 1),
        (lambda folder: (folder / "about.json").write_bytes(b"\xff{"), 0),
        (lambda folder: (folder / "about.json").write_text('{"seals": 3}'), 0),
        (lambda folder: (folder / "about.json").unlink(), 0),
    ],
    ids=range(10),
)
def test_damage_is_mended(harm: Callable[[Path], None], rows_lost: int, paintings: Prepared) -> None:
    images = served(paintings)
    cached(network(), images, paintings)
    time.sleep(0.02)  # the clock of files is coarse
    harm(folders()[0])
    features, listener = cached(network(), images, paintings)
    assert listener.computed == rows_lost
    assert matches_the_network(features, images)
    _, after = cached(network(), images, paintings)
    assert after.begun == []


def test_all_rows_are_verified_after_a_reboot(
    paintings: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached(network(), served(paintings), paintings)
    (tmp_path / "boot").write_text("another")
    monkeypatch.setattr(row_store, "BOOT", tmp_path / "boot")
    _, listener = cached(network(), served(paintings), paintings)
    assert listener.begun == [("checking stored features, train", 4 * TRAIN), ("checking stored features, val", VAL)]
    assert listener.advanced == 4 * TRAIN + VAL


def test_a_file_truncated_in_use_is_reported(paintings: Prepared) -> None:
    features, _ = cached(network(), served(paintings), paintings)
    file = folders()[0] / "train.features"
    os.truncate(file, ROW)
    with pytest.raises(DataError) as failure:
        list(features["train"].training(1))
    assert str(failure.value) == f"{file}: truncated while in use; restart to repair it"


def test_a_deleted_folder_stays_open_to_who_uses_it(paintings: Prepared) -> None:
    images = served(paintings)
    features, _ = cached(network(), images, paintings)
    shutil.rmtree(folders()[0])
    assert matches_the_network(features, images)


def test_a_second_process_waits_and_finds_what_the_first_computed(paintings: Prepared) -> None:
    cached(network(), served(paintings), paintings)
    lock = filelock.FileLock(cache_folder() / "locks" / folders()[0].name)
    lock.acquire()
    listener, asked = Listener(), threading.Event()
    found: list[Listener] = []
    waiting = threading.Thread(
        target=lambda: found.append(cached(network(), served(paintings), paintings, after_step=asked.set)[1])
    )
    waiting.start()
    assert asked.wait(60)  # so an interruption is seen while it waits
    assert not found
    lock.release()
    waiting.join(60)
    (listener,) = found
    assert listener.notes[-1] == "another process is filling this part of the cache; waiting for it"
    assert listener.computed == 0


ELSEWHERE = """
import sys, time
sys.path.insert(0, {root!r})
from tests.train.test_frozen_cache import *
prepared = prepare(synthetic(images=50, classes=5, size=16), ImageFormat(16), DataConfig(source="synthetic"), seed=0)
{code}
"""

SLOWLY = """
def after_step():
    print("step", flush=True)
    time.sleep(0.01)
cached(network(), served(prepared), prepared, after_step=after_step)
"""

TOGETHER = """
from torch.nn.parallel import DistributedDataParallel
folder, rank = sys.argv[1], int(sys.argv[2])
distributed.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2)
images, model = served(prepared), network()
features, listener = cached(model, images, prepared, requested="auto")
found = {"computed": listener.computed}
for name, network_, batches in (("features", model, features), ("images", network(), images)):
    found[name] = losses(DistributedDataParallel(network_), batches)
print(json.dumps(found))
distributed.destroy_process_group()
"""


def elsewhere(code: str, *arguments: object) -> "subprocess.Popen[str]":
    """Another process that runs `code`."""
    whole = ELSEWHERE.format(root=str(Path(__file__).parents[2]), code=code)
    command = [sys.executable, "-c", whole, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_nothing_wrong(paintings: Prepared) -> None:
    images = served(paintings)
    for steps in (1, 3, 5):
        process = elsewhere(SLOWLY)
        assert process.stdout is not None
        for _ in range(steps):
            process.stdout.readline()
        process.kill()
        process.communicate()
    features, listener = cached(network(), images, paintings)
    assert 0 < listener.computed < 4 * TRAIN + VAL
    assert matches_the_network(features, images)


@pytest.mark.slow
def test_two_processes_that_train_together_lose_as_they_do_on_images(tmp_path: Path) -> None:
    processes = [elsewhere(TOGETHER, tmp_path, rank) for rank in (0, 1)]
    printed = [process.communicate()[0] for process in processes]
    found = [json.loads(text) for text in printed]
    assert sorted(each["computed"] for each in found) == [0, 4 * TRAIN + VAL]
    for each in found:
        assert each["features"] == pytest.approx(each["images"], rel=1e-5)


# What is done and why


def test_off_and_nothing_frozen_leave_all_as_it_is(paintings: Prepared) -> None:
    images = served(paintings)
    for names, requested in ((EARLY, "off"), ((), "auto"), ((), "off")):
        model = network(names)
        found, listener = cached(model, images, paintings, requested=requested)
        assert found == images
        assert not model.takes_features
        assert listener.notes == []


def test_storing_is_reported_with_its_size(paintings: Prepared) -> None:
    for names, named, nbytes in ((EARLY, "stem to layer2", ROW), (("stem",), "stem", 16 * 16 * 16 * 4)):
        _, listener = cached(network(names), served(paintings), paintings, requested="auto")
        size = f"{(4 * TRAIN + VAL) * nbytes / 1e6:.1f} MB"
        assert listener.notes == [
            f"the output of {named} is computed once and stored, {size}: epochs run the rest alone"
        ]


STEM_LEARNS = (
    "cache_frozen: the stem learns, so the output of all that comes after it changes with every step; freeze the stem "
    "too, or turn cache_frozen off"
)
ENDLESS = (
    "cache_frozen: with crop and mixup an image never looks the same twice; augment with flip and rotate90 alone, or "
    "turn cache_frozen off"
)


@pytest.mark.parametrize(
    ("names", "augment", "reason"),
    [(("layer1",), ("flip",), STEM_LEARNS), (EARLY, ("crop", "flip", "mixup"), ENDLESS)],
    ids=["stem", "endless"],
)
def test_what_cannot_be_stored_runs_in_every_epoch_or_is_refused(
    names: tuple[str, ...], augment: tuple[str, ...], reason: str, paintings: Prepared
) -> None:
    images, model = served(paintings, augment), network(names)
    found, listener = cached(model, images, paintings, requested="auto")
    assert found == images
    assert not model.takes_features
    assert listener.notes == [f"the frozen parts run in every epoch ({reason})"]
    with pytest.raises(ConfigError) as failure:
        cached(model, images, paintings, requested="on")
    assert str(failure.value) == reason


def test_images_of_several_sizes_are_not_stored(paintings: Prepared) -> None:
    images, model = served(paintings), network(EARLY)
    images["train"].transform.sizes = SizeSchedule((8, 16), 4)
    _, listener = cached(model, images, paintings, requested="auto")
    reason = (
        "cache_frozen: with progressive_size an image comes in several sizes; leave progressive_size, or turn "
        "cache_frozen off"
    )
    assert listener.notes == [f"the frozen parts run in every epoch ({reason})"]
    with pytest.raises(ConfigError) as failure:
        cached(model, images, paintings, requested="on")
    assert str(failure.value) == reason


def test_on_with_nothing_frozen_is_refused(paintings: Prepared) -> None:
    with pytest.raises(ConfigError) as failure:
        cached(network(()), served(paintings), paintings, requested="on")
    assert str(failure.value) == STEM_LEARNS


def test_storing_must_be_less_work_than_it_saves(paintings: Prepared) -> None:
    """148 turned images and 7 more against 44 an epoch."""
    images = served(paintings)
    found, listener = cached(network(), images, paintings, requested="auto", epochs=3)
    assert found == images
    assert listener.notes == [
        "the frozen parts run in every epoch (cache_frozen: 155 views of images would be computed to save 132 in 3 "
        "epochs)"
    ]
    found, _ = cached(network(), images, paintings, requested="auto", epochs=4)
    assert isinstance(found["train"].rows, FeatureRows)
    found, _ = cached(network(), images, paintings, requested="auto", epochs=1)
    assert isinstance(found["train"].rows, FeatureRows)  # it is there now


def test_a_small_disk_is_reported_before_anything_is_computed(
    paintings: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = (4 * TRAIN + VAL) * ROW
    monkeypatch.setattr(frozen_cache, "bytes_free", lambda: needed)
    images, model = served(paintings), network()
    reason = (
        f"{cache_folder()}: the output of the frozen parts takes 1.3 MB, and the disk has 1.3 MB free; free some "
        "space, name another place in RESNET_LAB_CACHE, or turn cache_frozen off"
    )
    found, listener = cached(model, images, paintings, requested="auto")
    assert (found, model.takes_features) == (images, False)
    assert listener.notes == [f"the frozen parts run in every epoch ({reason})"]
    assert not cache_folder().exists()
    with pytest.raises(DataError) as failure:
        cached(model, images, paintings)
    assert str(failure.value) == reason


def test_a_disk_that_fills_up_is_given_back_what_was_taken(
    paintings: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, write = [], os.pwrite

    def pwrite(*args: Any) -> int:
        written.append(1)
        if len(written) > 30:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(*args)

    monkeypatch.setattr(os, "pwrite", pwrite)
    images, model = served(paintings), network()
    found, listener = cached(model, images, paintings, requested="auto")
    assert (found, model.takes_features) == (images, False)
    assert folders() == []
    (notes,) = listener.notes[1:]
    start, end = notes.split(f"{cache_folder()}/frozen/")
    assert start == "the frozen parts run in every epoch ("
    assert end[16:] == (
        ": the disk of the cache is full; free some space, `resnet-lab data cache clear`, or name another place in "
        "RESNET_LAB_CACHE, or turn cache_frozen off)"
    )


def test_a_cache_that_cannot_be_written_is_reported(paintings: Prepared, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file stands there")
    with pytest.raises(DataError) as failure:
        cached(network(), served(paintings), paintings)
    assert str(failure.value).partition(": ")[2] == (
        "the cache cannot be used: Not a directory; name another place in RESNET_LAB_CACHE, or turn cache_frozen off"
    )


def test_all_processes_do_the_same(paintings: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def agreed(here: bool, placement: Placement) -> bool:
        asked.append(here)
        return False

    monkeypatch.setattr(frozen_cache, "_agreed", agreed)
    images, model = served(paintings), network()
    found, listener = cached(model, images, paintings, requested="auto")
    assert (found, model.takes_features, asked) == (images, False, [True])
    assert listener.notes == ["the frozen parts run in every epoch (another process cannot store their output)"]


@pytest.mark.parametrize("here", [True, False])
def test_one_process_agrees_with_itself(here: bool, tmp_path: Path) -> None:
    assert frozen_cache._agreed(here, CPU) is here
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    try:
        assert frozen_cache._agreed(here, CPU) is here
    finally:
        distributed.destroy_process_group()


def test_views_of_floats_are_those_of_pixels() -> None:
    """Turning the normalised image is normalising the turned one."""
    augment = parse_augmentations(["flip", "rotate90"])
    batch = torch.randn(3, 2, 5, 5)
    shown: list[Tensor] = [augment.shown(batch.clone(), view) for view in range(8)]
    for view, found in enumerate(shown):
        expected = np.rot90(batch.flip(3).numpy() if view >= 4 else batch.numpy(), view % 4, axes=(2, 3))
        assert np.array_equal(found, expected)
