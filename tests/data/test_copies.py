"""Against all pairs compared one by one, and copies made of paintings."""

import io
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.cluster.hierarchy import DisjointSet

from resnet_lab.core.images import ImageSet
from resnet_lab.data.copies import NEAR_BITS, NEAR_LEVELS, Copies, describe_groups, groups, near_groups
from resnet_lab.data.decoding import Examined, Form, decode

PAINTINGS = Path(__file__).parents[3] / "shared" / "data" / "louvre-genres"
FLAT = np.full(64, 100, np.uint8)


def seen(number: int, hashed: int | None = None, thumbnail: NDArray[np.uint8] = FLAT, cause: str = "") -> Examined:
    return Examined(f"{number:064x}", cause, hash=hashed, thumbnail=b"" if hashed is None else thumbnail.tobytes())


def together(numbers: NDArray[np.int64]) -> set[frozenset[int]]:
    """The positions of each group."""
    return {frozenset(np.flatnonzero(numbers == number).tolist()) for number in np.unique(numbers)}


def by_all_pairs(examined: list[Examined]) -> set[frozenset[int]]:
    sets = DisjointSet(range(len(examined)))
    for a, one in enumerate(examined):
        for b, other in enumerate(examined[:a]):
            if one.cause or other.cause:
                continue
            if one.digest == other.digest != "":
                sets.merge(a, b)
            if one.hash is None or other.hash is None:
                continue
            levels = [abs(x - y) for x, y in zip(one.thumbnail, other.thumbnail, strict=True)]
            if (one.hash ^ other.hash).bit_count() <= NEAR_BITS and sum(levels) / 64 < NEAR_LEVELS:
                sets.merge(a, b)
    return {frozenset(map(int, subset)) for subset in sets.subsets()}


def crowd(number: int, seed: int) -> list[Examined]:
    """Images at every distance in bits and levels from one another, some with the same content, some without a hash."""
    random = np.random.default_rng(seed)
    centres = random.integers(0, 2**63, 6)
    images = []
    for position in range(number):
        bits = random.permutation(64)[: random.integers(0, 8)].tolist()
        hashed = int(centres[random.integers(6)]) ^ sum(1 << bit for bit in bits)
        levels = np.clip(FLAT + random.integers(-1, 2) * random.integers(0, 9), 0, 255).astype(np.uint8)
        if random.random() < 0.1:
            images.append(seen(position, cause="damaged" if random.random() < 0.5 else ""))
        elif position and random.random() < 0.1:
            images.append(images[random.integers(position)])
        else:
            images.append(seen(position, hashed, levels))
    return images


@pytest.mark.parametrize("seed", range(6))
def test_groups_are_those_of_all_pairs(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnet_lab.data.copies.PAIRS_AT_ONCE", 64)
    images = crowd(120, seed)
    found = together(groups(images))
    assert found == by_all_pairs(images)
    assert 10 < len(found) < 110, "the crowd has groups of several sizes"


def test_bits_and_levels_at_the_bounds() -> None:
    near, far = (1 << NEAR_BITS) - 1, (1 << NEAR_BITS + 1) - 1
    assert together(near_groups([seen(0, 0), seen(1, near)])) == {frozenset({0, 1})}
    assert len(together(near_groups([seen(0, 0), seen(1, far)]))) == 2
    darker = (FLAT - NEAR_LEVELS).astype(np.uint8)
    assert len(together(near_groups([seen(0, 0), seen(1, 0, darker)]))) == 2
    darker[0] += 1
    assert len(together(near_groups([seen(0, 0), seen(1, 0, darker)]))) == 1


def test_images_without_a_digest_are_alone() -> None:
    unread = Examined("", "Permission denied")
    assert len(set(groups([unread, unread, seen(1), seen(1)]).tolist())) == 3
    assert groups([]).tolist() == []


def test_twenty_thousand_images_take_seconds_and_all_copies_are_found() -> None:
    random = np.random.default_rng(0)
    hashes = random.integers(0, 2**63, 20_000)
    thumbnails = random.integers(0, 256, (20_000, 64), dtype=np.uint8)
    hashes[10_000:10_500] = hashes[:500] ^ (1 << random.integers(0, 63, 500))
    thumbnails[10_000:10_500] = thumbnails[:500]
    images = [seen(number, int(hashes[number]), thumbnails[number]) for number in range(20_000)]
    start = perf_counter()
    found = groups(images)
    assert perf_counter() - start < 5
    assert np.array_equal(found[10_000:10_500], found[:500])
    assert len(np.unique(found)) == 19_500


def test_groups_are_described_with_their_conflicts() -> None:
    paths, labels = ("a/1", "a/2", "b/1", "b/2", "b/3"), np.array([0, 0, 1, 1, 1])
    images = ImageSet("set", ("a", "b"), paths, labels, lambda index: b"")
    examined = [seen(1), seen(2), seen(1), seen(3, 0), seen(4, 1)]
    first, second = describe_groups(images, examined, groups(examined))
    assert first == Copies(("a/1", "b/1"), ("a", "b"), exact=True)
    assert second == Copies(("b/2", "b/3"), ("b",), exact=False)
    assert (first.conflict, second.conflict) == (True, False)


def made_again(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.skipif(not PAINTINGS.is_dir(), reason="the folder of Louvre paintings is not here")
@pytest.mark.parametrize("form", [Form(64), Form(32, fit="pad"), Form(32, 1, "crop")])
def test_paintings_that_were_saved_again_are_found_and_no_others(form: Form) -> None:
    files = sorted(PAINTINGS.glob("*/*.jpg"))[::12]
    contents = []
    for file in files:
        image = Image.open(file).convert("RGB")
        half = image.resize((image.width // 2, image.height // 2))
        contents += [file.read_bytes(), made_again(image, quality=40), made_again(half), made_again(image.convert("L"))]
    examined = [decode(content, form)[1] for content in contents]
    assert together(groups(examined)) == {frozenset(range(start, start + 4)) for start in range(0, len(contents), 4)}


@pytest.mark.slow
@pytest.mark.skipif(not PAINTINGS.is_dir(), reason="the folder of Louvre paintings is not here")
def test_no_two_of_1150_paintings_are_taken_for_copies() -> None:
    """Not even two studies of one view by Valenciennes, which differ by 8 levels."""
    examined = [decode(file.read_bytes(), Form(64))[1] for file in sorted(PAINTINGS.glob("*/*.jpg"))]
    assert len(set(groups(examined).tolist())) == len(examined) == 1150
