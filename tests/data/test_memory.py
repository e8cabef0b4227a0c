"""Memory per image while a training runs, counted by the allocator: names, labels, parts, rows, copies and an order."""

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from resnet_lab.core.images import ImageSet
from resnet_lab.data import preparation, recorded_set
from resnet_lab.data.cache import Stored
from resnet_lab.data.config import DataConfig
from resnet_lab.data.decoding import ImageInfo
from resnet_lab.data.image_columns import ImageTable
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.data.order import Order, Step, Subset
from resnet_lab.data.preparation import Prepared, prepare
from resnet_lab.data.sources.folders import access

CLASSES, A_CLASS = 100, 500
NUMBER = CLASSES * A_CLASS
FORM = ImageFormat(4)
BOUND = 100
"""Bytes per image, with names of 30 bytes."""


def names() -> Iterator[str]:
    return (
        f"n{1440764 + 7 * label:08}/n{1440764 + 7 * label:08}_{number * 13}.JPEG"
        for label in range(CLASSES)
        for number in range(A_CLASS)
    )


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What decoding would have found, in a file, as in a folder of the cache."""
    path, table = tmp_path_factory.mktemp("cache") / "set.records", ImageTable(3)
    for row, name in enumerate(names()):
        digest = sha256(name.encode()).hexdigest()
        table.add(ImageInfo(digest, "", 500, 375, "RGB", (), b"", (1, 2, 3), (4, 5, 6)), row, 7)
    recorded_set.write(path, "key", [table.records], table.words, 3)
    (path.parent / "pixels.u8").touch()
    return path


@pytest.fixture
def prepared(records: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], Prepared]:
    def stored(images: ImageSet, image_format: ImageFormat, **options: object) -> tuple[Stored, ImageFormat]:
        examined = recorded_set.read(records, lambda digests: [], "key")
        assert examined is not None
        return Stored(examined, examined.column("row"), records.parent, records.parent / "pixels.u8"), image_format

    monkeypatch.setattr(preparation, "store_at_one_depth", stored)
    monkeypatch.setattr(preparation, "bytes_needed", lambda *arguments: 0)

    def prepare_all(in_shards: bool) -> Prepared:
        read, _ = access("/images", list(names())[:1])
        labels = np.repeat(np.arange(CLASSES), A_CLASS)
        chunks = np.arange(NUMBER, dtype=np.int32) // 50 if in_shards else None
        classes = tuple(map(str, range(CLASSES)))
        images = ImageSet("set", classes, list(names()), labels, read, chunks=chunks)
        return prepare(images, FORM, DataConfig(near_copies="off"), 0)

    return prepare_all


def subset(prepared: Prepared) -> Subset:
    """The training part, as a training has it."""
    images, chosen = prepared.images, prepared.positions("train")
    chunks: NDArray[np.integer] | None = None if images.chunks is None else images.chunks[chosen]
    return Subset(chosen, images.labels[chosen], CLASSES, chunks)


@pytest.mark.parametrize("in_shards", [False, True], ids=["folder", "shards"])
def test_an_image_takes_less_than_100_bytes(prepared: Callable[[bool], Prepared], in_shards: bool) -> None:
    prepared(in_shards)  # what is made once, such as modules, is not counted
    gc.collect()
    tracemalloc.start()
    try:
        ready = prepared(in_shards)
        steps: Iterator[Step] = Order(subset(ready), 100).training(0)
        first = next(steps)
        gc.collect()
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(first.indices) == 100
    assert held / NUMBER < BOUND
    assert held / NUMBER > 60, "names, labels and parts alone take 43"
