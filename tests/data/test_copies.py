"""Exact and near copies: made from pictures and found again, and none found where there is none."""

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from resnet_lab.core.images import ImageSet
from resnet_lab.data.config import DataConfig
from resnet_lab.data.copies import Copies, describe_groups, group_copies
from resnet_lab.data.decoding import ImageInfo, decode
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.data.near_copies import LARGEST, find_near_copies
from resnet_lab.data.preparation import prepare
from resnet_lab.data.signatures import signature
from tests.data import drawn_sets
from tests.data.drawn_sets import COPIES, painted, saved

PAINTINGS = Path(__file__).parents[3] / "shared" / "data" / "louvre-genres"


def seen(number: int, cause: str = "") -> ImageInfo:
    return ImageInfo(f"{number:064x}", cause)


def as_sets(numbers: NDArray[np.int64]) -> set[frozenset[int]]:
    """The positions of each group of two or more."""
    found = (np.flatnonzero(numbers == number).tolist() for number in np.unique(numbers))
    return {frozenset(group) for group in found if len(group) > 1}


def near(images: Sequence[Image.Image]) -> set[frozenset[int]]:
    return as_sets(find_near_copies([signature(image) for image in images]).groups)


def looked_at(contents: Sequence[bytes]) -> list[ImageInfo]:
    return [decode(content, ImageFormat(64))[1] for content in contents]


def test_files_that_are_the_same_are_copies_and_unusable_ones_are_not() -> None:
    unread = ImageInfo("", "Permission denied")
    images = [seen(2), unread, unread, seen(2), seen(1, "empty file"), seen(1, "empty file")]
    assert as_sets(group_copies(images).groups) == {frozenset({0, 3})}
    assert group_copies([]).groups.tolist() == []


@pytest.fixture(scope="module")
def gallery() -> list[Image.Image]:
    return [painted(seed) for seed in range(12)]


@pytest.mark.parametrize("name", COPIES)
def test_copies_are_found_and_no_others(gallery: list[Image.Image], name: str) -> None:
    contents = [*map(saved, gallery), *map(COPIES[name], gallery)]
    found = group_copies(looked_at(contents))
    assert as_sets(found.groups) == {frozenset({number, number + 12}) for number in range(12)}
    assert (found.compared, found.remark) == (24, "")


def test_copies_trimmed_at_two_edges_are_found(gallery: list[Image.Image]) -> None:
    """Every cell is moved: descriptors of some correlate by less than 0.85, and are still the most alike."""
    copies = [image.crop((round(0.06 * image.width), round(0.06 * image.height), *image.size)) for image in gallery]
    assert near([*gallery, *copies]) == {frozenset({number, number + 12}) for number in range(12)}


def test_near_copies_are_not_looked_for_where_that_is_off(gallery: list[Image.Image]) -> None:
    contents = [saved(gallery[0]), saved(gallery[0], 40), saved(gallery[1]), saved(gallery[1])]
    examined = looked_at(contents)
    assert as_sets(group_copies(examined).groups) == {frozenset({0, 1}), frozenset({2, 3})}
    off = group_copies(examined, near=False)
    assert (as_sets(off.groups), off.compared, off.remark) == ({frozenset({2, 3})}, None, "")


DRAWN: dict[str, Callable[[], list[Image.Image]]] = {
    "discs": drawn_sets.discs,
    "printed digits": lambda: drawn_sets.letters("0123456789", 30),
    "letters": lambda: drawn_sets.letters("ABEGKMRS", 30),
    "even colours": lambda: drawn_sets.swatches(100),
    "line drawings": lambda: drawn_sets.lines(100),
    "handwritten digits": lambda: drawn_sets.handwritten_digits()[:150],
}


@pytest.mark.parametrize("name", DRAWN)
def test_drawn_pictures_are_no_copies(name: str) -> None:
    images = DRAWN[name]()
    for quality in (95, 50):
        again = [Image.open(io.BytesIO(saved(image, quality))) for image in images]
        assert near(again) == set()


def test_a_set_of_printed_digits_can_be_split() -> None:
    pictures = [saved(image) for image in drawn_sets.letters("0123456789", 30)]
    labels = np.repeat(np.arange(10), 30)
    images = ImageSet("digits", tuple("0123456789"), tuple(map(str, range(300))), labels, lambda index: pictures[index])
    prepared = prepare(images, ImageFormat(32), DataConfig(cache="stream"), 0)
    assert prepared.copies == []
    assert len(prepared.positions("train")) > 200


def test_groups_too_large_for_copies_are_left_apart_with_a_remark(gallery: list[Image.Image]) -> None:
    crowd = [saved(gallery[0], quality) for quality in range(40, 90, 5)][: LARGEST + 1]
    others = [saved(image) for image in gallery[1:]]
    found = group_copies(looked_at([*crowd, *others]))
    assert as_sets(found.groups) == set()
    assert found.remark == (
        "9 images look as alike as near copies do, in 1 group of up to 9; a picture rarely has more than 8 copies, so "
        "that these are left apart: where they are copies, as frames of a film may be, assign their "
        "parts by a split file"
    )
    as_many = [*crowd[:LARGEST], *others]
    assert as_sets(group_copies(looked_at(as_many)).groups) == {frozenset(range(LARGEST))}


def test_the_two_ends_of_a_chain_are_not_together() -> None:
    """Mixtures of two pictures at 0, 26, 52 and 78 degrees correlate by the cosine of what is between them."""
    one, other = (np.asarray(painted(seed), float) - 128 for seed in (1, 2))
    images = [
        Image.fromarray(np.clip(128 + np.cos(angle) * one + np.sin(angle) * other, 0, 255).astype(np.uint8))
        for angle in np.deg2rad([0, 26, 52, 78])
    ]
    links = [len(near([a, b])) for a, b in pairwise(images)]
    assert links == [1, 1, 1], "neighbours are copies"
    assert all(len(group) < 4 for group in near(images))


def test_copies_do_not_depend_on_the_chunks_of_the_search(
    gallery: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [*gallery, *(image.crop((12, 0, 192, 144)) for image in gallery[::-1])]
    whole = near(images)
    assert whole == {frozenset({number, 23 - number}) for number in range(12)}
    monkeypatch.setattr("resnet_lab.data.near_copies.CORRELATIONS_AT_ONCE", 64)
    monkeypatch.setattr("resnet_lab.data.alignment.PAIRS_AT_ONCE", 5)
    assert near(images) == whole


def test_groups_are_described_with_their_conflicts() -> None:
    paths, labels = ("a/1", "a/2", "b/1", "b/2", "b/3"), np.array([0, 0, 1, 1, 1])
    images = ImageSet("set", ("a", "b"), paths, labels, lambda index: b"")
    one, other = (signature(image) for image in (painted(1), painted(1).convert("L")))
    examined = [seen(1), seen(2), seen(1), replace(seen(3), signature=one), replace(seen(4), signature=other)]
    first, second = describe_groups(images, examined, group_copies(examined).groups)
    assert first == Copies(("a/1", "b/1"), ("a", "b"), exact=True)
    assert second == Copies(("b/2", "b/3"), ("b",), exact=False)
    assert (first.conflict, second.conflict) == (True, False)


@pytest.mark.skipif(not PAINTINGS.is_dir(), reason="the folder of Louvre paintings is not here")
def test_copies_of_paintings_are_found_and_no_others() -> None:
    """All 14 kinds of copies in turn, each of six other paintings."""
    paintings = [Image.open(file).convert("RGB") for file in sorted(PAINTINGS.glob("*/*.jpg"))[::13][: 6 * len(COPIES)]]
    copies = [make(painting) for make, painting in zip([*COPIES.values()] * 6, paintings, strict=True)]
    found = as_sets(group_copies(looked_at([*map(saved, paintings), *copies])).groups)
    number = len(paintings)
    expected = {frozenset({position, number + position}) for position in range(number)}
    assert found <= expected, "no other groups"
    assert len(found) >= number - 1


@pytest.mark.slow
@pytest.mark.skipif(not PAINTINGS.is_dir(), reason="the folder of Louvre paintings is not here")
@pytest.mark.parametrize("changed", [lambda image: image, drawn_sets.darkened, drawn_sets.flattened])
def test_of_1150_paintings_no_different_ones_are_taken_for_copies(
    changed: Callable[[Image.Image], Image.Image],
) -> None:
    files = sorted(PAINTINGS.glob("*/*.jpg"))
    found = near([changed(Image.open(file).convert("RGB")) for file in files])
    assert [[files[position].stem for position in group] for group in found] == []
