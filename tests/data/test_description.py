"""Compared with counts by hand, numpy in float64 on the same pixels, and statistics of the standard library."""

import io
import statistics
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from resnet_lab.core.images import ImageSet
from resnet_lab.data.config import DataConfig
from resnet_lab.data.description import THUMBNAIL, Description, ExampleImage, album, check, describe
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.data.preparation import Prepared, prepare

LOUVRE = Path(__file__).parents[3] / "shared" / "data" / "louvre-genres"


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, format=kind, **options)
    return content.getvalue()


def painting(seed: int, width: int = 80, height: int = 72) -> Image.Image:
    """Soft patches of colour, no two seeds alike."""
    patches = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC)


def paintings(number: int, width: int = 80, height: int = 72) -> dict[str, bytes]:
    """So many of each of two classes."""
    return {
        f"{label}/{position}.png": encoded(painting(100 * row + position, width, height))
        for row, label in enumerate("ab")
        for position in range(number)
    }


def image_set(files: dict[str, bytes], parts: Sequence[str] | None = None) -> ImageSet:
    """Set of files in memory, whose classes are the first part of their paths."""
    paths = tuple(files)
    classes = tuple(dict.fromkeys(path.split("/")[0] for path in paths))
    labels = np.array([classes.index(path.split("/")[0]) for path in paths], dtype=np.int64)
    return ImageSet(
        name=f"memory-{sha256(repr(sorted(files.items())).encode()).hexdigest()}",
        classes=classes,
        paths=paths,
        labels=labels,
        read=lambda position: files[paths[position]],
        parts=None if parts is None else tuple(parts),
        left_out=(("a/loop", "a link to a folder above it"),),
        notes=("a note",),
    )


TURNED = Image.Exif()
TURNED[0x0112] = 6  # orientation: a quarter turn

ODD = {
    "a/good.png": encoded(painting(1)),
    "a/greyscale.png": encoded(painting(2).convert("L")),
    "a/press.jpg": encoded(painting(3).convert("CMYK"), "JPEG"),
    "a/empty.jpg": b"",
    "b/text.jpg": b"no image",
    "b/empty.png": b"",
    "b/grey and turned.jpg": encoded(painting(4).convert("L"), "JPEG", exif=TURNED),
}  # fmt: skip


def test_every_bad_file_is_listed_with_its_cause_and_every_odd_one_counted() -> None:
    findings = check(image_set(ODD))
    assert findings.bad == (
        ("a/empty.jpg", "empty file"),
        ("a/loop", "a link to a folder above it"),
        ("b/empty.png", "empty file"),
        ("b/text.jpg", "not an image of a known format"),
    )
    assert (findings.images, findings.usable, findings.classes) == (7, 4, {"a": 3, "b": 1})
    assert findings.handled == {"greyscale": 2, "CMYK": 1, "rotated": 1}
    assert next(iter(findings.handled)) == "greyscale", "the most frequent first"
    assert findings.notes == ("a note",)


def test_empty_files_are_no_copies() -> None:
    assert check(image_set(ODD)).copies == ()


def test_a_set_without_a_usable_image_is_described() -> None:
    findings = check(image_set({"a/1.jpg": b"", "b/1.jpg": b"x"}))
    assert (findings.usable, findings.classes, len(findings.bad)) == (0, {"a": 0, "b": 0}, 3)


def test_copies_and_conflicts() -> None:
    first, second = painting(1), painting(2)
    files = {
        "a/1.png": encoded(first),
        "a/1 again.png": encoded(first),
        "a/2.png": encoded(second),
        "b/2 small.jpg": encoded(second.resize((64, 64)), "JPEG", quality=60),
        "b/3.png": encoded(painting(3)),
    }
    findings = check(image_set(files))
    assert [(each.paths, each.classes, each.exact) for each in findings.copies] == [
        (("a/1.png", "a/1 again.png"), ("a",), True),
        (("a/2.png", "b/2 small.jpg"), ("a", "b"), False),
    ]
    assert findings.conflicts == findings.copies[1:]


def test_a_check_keeps_no_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESNET_LAB_CACHE", str(tmp_path))
    check(image_set(paintings(20)))
    pixels = 40 * ImageFormat(224).nbytes
    assert 0 < sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < pixels / 10


SIDE = 16
CONFIG = DataConfig()


def noise(counts: dict[str, int]) -> dict[str, NDArray[np.uint8]]:
    """Images of the network's size already, so that nothing is resampled, each class brighter than the last."""
    generator = np.random.default_rng(0)
    return {
        f"{label}/{number}.png": generator.integers(40 * row, 40 * row + 90, (SIDE, SIDE, 3), dtype=np.uint8)
        for row, (label, count) in enumerate(counts.items())
        for number in range(count)
    }


@pytest.fixture(scope="module")
def pixels() -> dict[str, NDArray[np.uint8]]:
    return noise({"small": 12, "large": 40, "middle": 25})


@pytest.fixture(scope="module")
def prepared(pixels: dict[str, NDArray[np.uint8]]) -> Prepared:
    files = {path: encoded(Image.fromarray(array)) for path, array in pixels.items()}
    return prepare(image_set({**files, "small/bad.png": b"bad"}), ImageFormat(SIDE), CONFIG, seed=3)


@pytest.fixture(scope="module")
def description(prepared: Prepared) -> Description:
    return describe(prepared, CONFIG, seed=3)


def test_counts_by_class_and_part(prepared: Prepared, description: Description) -> None:
    assert [(row.name, row.images, row.bad) for row in description.classes] == [
        ("large", 40, 0), ("middle", 25, 0), ("small", 12, 1),
    ]  # fmt: skip
    by_hand: dict[tuple[str, str], int] = {}
    for path, part in zip(prepared.images.paths, prepared.parts.tolist(), strict=True):
        if part:
            by_hand[path.split("/")[0], part] = by_hand.get((path.split("/")[0], part), 0) + 1
    assert {
        (row.name, part): getattr(row, part) for row in description.classes for part in ("train", "val", "test")
    } == by_hand
    assert description.imbalance == 40 / 12
    assert sum(description.parts.values()) == description.findings.usable == 77


def test_mean_and_deviation_are_those_of_the_training_part(
    prepared: Prepared, description: Description, pixels: dict[str, NDArray[np.uint8]]
) -> None:
    paths = [prepared.images.paths[position] for position in prepared.positions("train")]
    training = np.stack([pixels[path] for path in paths]).astype(np.float64) / 255
    assert description.mean == pytest.approx(training.mean(axis=(0, 1, 2)), rel=1e-12)
    assert description.std == pytest.approx(training.std(axis=(0, 1, 2)), rel=1e-12)
    everything = np.stack(list(pixels.values())).astype(np.float64) / 255
    assert description.mean != pytest.approx(everything.mean(axis=(0, 1, 2)), rel=1e-6)


def test_a_class_has_its_mean_colour(description: Description, pixels: dict[str, NDArray[np.uint8]]) -> None:
    for row in description.classes:
        own = np.stack([array for path, array in pixels.items() if path.startswith(row.name)]).astype(np.float64) / 255
        assert row.mean == pytest.approx(own.mean(axis=(0, 1, 2)), rel=1e-12)


def test_sizes_are_those_of_the_upright_files() -> None:
    sizes = [(80, 40), (30, 90), (64, 64), (100, 50), (20, 10), (50, 70)]
    files = {
        f"{label}/{number}.png": encoded(painting(10 * number + row, *size))
        for row, label in enumerate("ab")
        for number, size in enumerate(sizes)
    }
    files["a/turned.jpg"] = encoded(painting(99, 300, 200), "JPEG", exif=TURNED)  # fmt: skip
    found = describe(prepare(image_set(files), ImageFormat(60), CONFIG, seed=0), CONFIG, seed=0).sizes
    sizes = [*sizes, *sizes, (200, 300)]
    for name, values in {
        "width": [width for width, _ in sizes],
        "height": [height for _, height in sizes],
        "aspect": [width / height for width, height in sizes],
    }.items():
        spread = found.spreads[name]
        assert (spread.smallest, spread.largest) == (min(values), max(values))
        assert spread.median == pytest.approx(statistics.median(values))
    assert found.enlarged == sum(min(size) < 60 for size in sizes)


def test_copies_across_parts_are_reported() -> None:
    files = paintings(4)
    files["a/4.png"] = files["a/0.png"]
    files["b/4.png"] = files["b/1.png"]
    parts = [*("train", "val", "test", "train"), *("train", "val", "test", "train"), "test", "val"]
    prepared = prepare(image_set(files, parts), ImageFormat(SIDE), CONFIG, seed=0)
    found = describe(prepared, CONFIG, seed=0)
    assert len(found.findings.copies) == 2
    assert [each.paths for each in found.leaks] == [("a/0.png", "a/4.png")]
    pictures = album(prepared, found).copies
    assert [[picture.part for picture in group] for _, group in pictures] == [["train", "test"], ["val", "val"]]


def test_samples_are_of_the_training_part(prepared: Prepared, description: Description) -> None:
    samples = album(prepared, description).samples
    digest_of = dict(zip(prepared.images.paths, (each.digest for each in prepared.examined), strict=True))
    training = [prepared.images.paths[position] for position in prepared.positions("train")]
    for label in ("small", "middle", "large"):
        first = sorted((path for path in training if path.startswith(label)), key=digest_of.__getitem__)[:10]
        assert [picture.path for picture in samples[label]] == first
        assert {(picture.label, picture.part) for picture in samples[label]} == {(label, "train")}


def shown(picture: ExampleImage) -> NDArray[np.float64]:
    return np.asarray(Image.open(io.BytesIO(picture.jpeg)).convert("RGB"), dtype=np.float64)


def test_pictures_show_what_the_network_gets() -> None:
    files = paintings(4, 200, 100)
    prepared = prepare(image_set(files), ImageFormat(128), CONFIG, seed=0)
    samples = album(prepared, describe(prepared, CONFIG, seed=0)).samples
    for picture in (*samples["a"], *samples["b"]):
        expected = Image.open(io.BytesIO(files[picture.path])).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR)
        assert np.abs(shown(picture) - np.asarray(expected, dtype=np.float64)).mean() < 6
        assert (picture.width, picture.height) == (200, 100)


def test_many_classes_have_fewer_samples_each() -> None:
    files = {
        f"{label:03}/{number}.png": encoded(Image.new("RGB", (4, 4), (label, number, 0)))
        for label in range(100)
        for number in range(6)
    }
    prepared = prepare(image_set(files), ImageFormat(4), CONFIG, seed=0)
    samples = album(prepared, describe(prepared, CONFIG, seed=0)).samples
    assert {len(pictures) for pictures in samples.values()} == {2}


def test_greyscale() -> None:
    generator = np.random.default_rng(0)
    arrays = {name: generator.integers(0, 256, (8, 8), dtype=np.uint8) for name in paintings(5)}
    files = {path: encoded(Image.fromarray(array)) for path, array in arrays.items()}
    prepared = prepare(image_set(files), ImageFormat(8, channels=1), CONFIG, seed=0)
    found = describe(prepared, CONFIG, seed=0)
    training = np.stack([arrays[prepared.images.paths[at]] for at in prepared.positions("train")]) / 255
    assert found.mean == pytest.approx([training.mean()], rel=1e-12)
    picture = album(prepared, found).samples["a"][0]
    assert np.abs(shown(picture)[..., 0] - arrays[picture.path]).mean() < 20


@pytest.mark.skipif(not LOUVRE.is_dir(), reason="the folder of Louvre paintings is not beside the checkout")
def test_paintings_are_small_enough_for_a_page() -> None:
    """250 samples and the pictures of 48 groups of copies are to fit into a page of 2 MB."""
    files = {
        f"{folder.name}/{path.name}": path.read_bytes()
        for folder in sorted(LOUVRE.iterdir())
        for path in sorted(folder.iterdir())[:12]
    }
    prepared = prepare(image_set(files), ImageFormat(224), CONFIG, seed=0)
    samples = album(prepared, describe(prepared, CONFIG, seed=0)).samples
    sizes = [len(picture.jpeg) for pictures in samples.values() for picture in pictures]
    assert len(sizes) > 20
    assert (250 + 2 * 48) * statistics.mean(sizes) * 4 / 3 < 1.8e6
