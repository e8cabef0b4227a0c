"""The digits against scikit-learn's own and what UCI says of them; the synthetic images against what they promise."""

import tracemalloc

import numpy as np
import pytest
from sklearn.datasets import load_digits

from resnet_lab.core.errors import DataError, SpecError
from resnet_lab.data.copies import group_copies
from resnet_lab.data.decoding import decode
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.network.plugins import load
from resnet_lab.network.spec import Component

BUILT_IN = load(only=())


def made(text):
    return BUILT_IN.bind("dataset", Component.parse(text), "here")()


def pixels(images, indices):
    return np.stack([np.asarray(images.read(index)) for index in indices])


@pytest.fixture(scope="module")
def digits():
    return made("digits")


def test_the_only_ones():
    assert BUILT_IN.names("dataset") == ["digits", "synthetic"]


def test_labels_are_uci_s(digits):
    assert digits.name == "digits"
    assert digits.classes == ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
    assert digits.labels.dtype == np.int64
    assert np.bincount(digits.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # optdigits.names
    assert len(digits) == len(set(digits.paths)) == 1797


def test_pixels_are_scikit_learn_s(digits):
    """Levels 0 to 16 become 0 to 255, each the nearest whole number."""
    levels = load_digits().images
    images = pixels(digits, range(len(digits)))
    assert digits.read(0).mode == "L"
    assert images.dtype == np.uint8
    assert (images.min(), images.max()) == (0, 255)
    assert np.abs(images - levels * 255 / 16).max() <= 0.5
    assert np.array_equal(digits.labels, load_digits().target)


def test_loaded_twice_is_the_same(digits):
    again = made("digits")
    assert again.paths[7] == digits.paths[7] == "digits/0007"
    assert again.paths == digits.paths


def test_a_synthetic_image_depends_on_the_seed_and_its_place_alone():
    few, many = made("synthetic(images=20)"), made("synthetic(images=1000)")
    assert np.array_equal(pixels(few, range(20)), pixels(many, range(20)))
    assert few.read(3).size == (64, 64)
    assert len(few) == len(set(few.paths)) == 20
    assert few.classes == tuple(f"stripes {number}" for number in range(10))
    assert few.labels.tolist() == [*range(10), *range(10)]
    other = made("synthetic(images=20, seed=1)")
    assert not np.array_equal(pixels(few, [3]), pixels(other, [3]))
    stamps = {few.stamp(3), few.stamp(4), other.stamp(3), made("synthetic(images=20, size=32)").stamp(3)}
    assert len(stamps) == 4
    assert few.stamp(3) == many.stamp(3)


def test_synthetic_images_stay_what_they_were_while_their_stamp_does():
    """RENDERING is to be raised where this fails: caches would serve the old images."""
    images = made("synthetic")
    assert images.stamp(7) == "1 7 10 64 0"
    corner = np.asarray(images.read(7).resize((4, 4)), dtype=np.int64)[0]
    drawn = [[112, 144, 143], [143, 123, 130], [136, 142, 113], [144, 143, 121]]
    assert np.abs(corner - drawn).max() <= 2  # rounding differs between processors


def test_classes_are_the_directions_of_the_stripes():
    """Bigun and Granlund 1987: twice the angle of the strongest gradients is that of the mean squared gradient."""
    images = made("synthetic(images=500)")
    down, right = np.gradient(pixels(images, range(500)).astype(np.float64), axis=(1, 2))
    squared = ((right + 1j * down) ** 2).sum(axis=(1, 2, 3))
    turn = np.angle(squared) / (2 * np.pi) % 1
    assert np.mean(np.round(turn * 10) % 10 == images.labels) > 0.9


@pytest.mark.slow
def test_no_two_of_2000_synthetic_images_are_taken_for_copies():
    images = made("synthetic(images=2000)")
    examined = [decode(images.read(index), ImageFormat(64))[1] for index in range(len(images))]
    assert all(each.signature for each in examined)
    assert len(np.unique(group_copies(examined).groups)) == 2000


def test_images_cost_the_memory_of_their_names_alone():
    tracemalloc.start()
    images = made("synthetic(images=100000, size=224)")
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 100 * len(images)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("synthetic(classes=1)", "synthetic: classes must be at least 2, got 1"),
        ("synthetic(images=5)", "synthetic: images must be at least 10, got 5"),
        ("synthetic(images=999999999999)", "synthetic: images must be at most 10000000, got 999999999999"),
        ("synthetic(size=100000)", "synthetic: size must be at most 8192, got 100000"),
        ("synthetic(seed=-1)", "synthetic: seed must be at least 0, got -1"),
        ("synthetic(size=8)", "synthetic: size must be at least 16, got 8"),
    ],
)
def test_what_cannot_be_drawn(text, message):
    with pytest.raises(DataError) as failure:
        made(text)
    assert str(failure.value) == message


def test_a_parameter_that_is_none():
    with pytest.raises(SpecError) as failure:
        made("synthetic(image=5)")
    assert str(failure.value) == "here: dataset synthetic has no parameter 'image'; did you mean 'images'?"
