"""Parts, groups and fingerprints are those of the version that held everything in tuples, bit for bit."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet_lab.core.images import ImageSet
from resnet_lab.data.copies import group_copies
from resnet_lab.data.decoding import ImageInfo
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.data.pixels import DecodedPixels
from resnet_lab.data.preparation import Decoded
from resnet_lab.data.split import split

SYNSETS = (
    "n01440764", "n01443537", "n01484850", "n01491361", "n01494475", "n01496331", "n01498041", "n01514668",
    "n01514859", "n01518878", "n02980441", "n15075141",
)  # fmt: skip


def named() -> ImageSet:
    """3,000 images with ImageNet's names, 250 of each class."""
    numbers = np.random.default_rng(7).choice(30_000, (len(SYNSETS), 250), replace=False)
    paths = [f"{name}/{name}_{number}.JPEG" for name, row in zip(SYNSETS, numbers, strict=True) for number in row]
    labels = np.repeat(np.arange(len(SYNSETS)), 250)
    return ImageSet("imagenet", SYNSETS, tuple(paths), labels, lambda _: b"")


IMAGES = named()


def properties() -> tuple[ImageInfo, ...]:
    """Of which every 17th is a copy of the one 9 before it, and every 101st cannot be used."""
    digests = [sha256(path.encode()).hexdigest() for path in IMAGES.paths]
    for position in range(17, len(digests), 17):
        digests[position] = digests[position - 9]
    return tuple(
        ImageInfo(digest, "empty file" if position % 101 == 100 else "", 500, 375, "RGB")
        for position, digest in enumerate(digests)
    )


def summary(values: Any) -> str:
    """First 16 digits of the SHA-256 of a list as text."""
    return sha256(repr(values).encode()).hexdigest()[:16]


def own_parts(every: int) -> tuple[str, ...]:
    return tuple("val" if position % every == 0 else "" for position in range(len(IMAGES)))


@pytest.mark.parametrize(
    ("seed", "given", "options", "expected"),
    [
        (0, None, {}, "3830dbf8936efc61"),
        (1, None, {}, "0f02303f28d9537e"),
        (0, None, {"folds": 5, "fold": 2}, "12cefdb1d448869f"),
        (0, own_parts(7), {}, "5abad8c07d365752"),
    ],
    ids=["seed 0", "seed 1", "folds", "own parts"],
)
def test_the_parts_are_those_of_before(
    seed: int, given: tuple[str, ...] | None, options: dict[str, int], expected: str
) -> None:
    examined = properties()
    groups = group_copies(examined, near=False).groups
    parts = split(replace(IMAGES, parts=given), examined, groups, seed, **options)  # type: ignore[arg-type]
    assert (parts.shape, parts.dtype) == ((3000,), np.dtype("<U5"))
    assert summary(parts.tolist()) == expected


def test_the_groups_are_those_of_before() -> None:
    assert summary(group_copies(properties(), near=False).groups.tolist()) == "44ea36de9a3182ac"


def test_the_fingerprint_is_that_of_before() -> None:
    pixels = DecodedPixels(IMAGES, ImageFormat(8))
    assert Decoded(IMAGES, properties(), pixels, Path()).fingerprint == "39bff49ae58fc08d"  # type: ignore[arg-type]
