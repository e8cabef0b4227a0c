"""Stamps as numbers, and the key of a set."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from resnet_lab.core.columns import TextColumn
from resnet_lab.core.images import ImageSet
from resnet_lab.data.stamps import hash_of, key_of, stamps_of
from tests.data.folder_sets import fill, set_of


@pytest.fixture
def images(tmp_path: Path) -> ImageSet:
    return set_of(fill(tmp_path / "images", 3))


def test_a_stamp_is_a_number_of_its_own(images: ImageSet) -> None:
    stamps = stamps_of(images)
    assert stamps is not None
    assert images.stamp is not None
    assert stamps.tolist() == [hash_of(images.stamp(position).encode()) for position in range(3)]
    assert len(set(stamps.tolist())) == 3
    Path(images.paths[1]).unlink()
    again = stamps_of(images)
    assert again is not None
    assert again.tolist() == [stamps[0], 0, stamps[2]], "which no stamp has"
    assert stamps_of(replace(images, stamp=None)) is None


def test_a_key_changes_with_anything_that_it_is_of(images: ImageSet) -> None:
    stamps = stamps_of(images)
    assert stamps is not None
    key = key_of(images, stamps, "fact", "another")
    assert key == key_of(replace(images, paths=tuple(images.paths)), stamps.copy(), "fact", "another")
    first, *others = images.paths
    joined = replace(images, paths=TextColumn([f"{first}{others[0][:1]}", others[0][1:], others[1]]))
    assert joined.paths.content == images.paths.content  # type: ignore[attr-defined]
    for changed in (
        key_of(joined, stamps, "fact", "another"),
        key_of(images, stamps[::-1].copy(), "fact", "another"),
        key_of(images, stamps, "fact", "other"),
        key_of(images, stamps, "factanother"),
    ):
        assert len(changed) == len(key)
        assert changed != key


def test_there_is_no_key_where_something_is_not_known(images: ImageSet) -> None:
    stamps = stamps_of(images)
    assert key_of(images, None, "fact") == key_of(images, stamps, "fact", "") == ""
    assert key_of(images, np.array([1, 0, 2], dtype=np.uint64), "fact") == ""
