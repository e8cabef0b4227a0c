"""The digits against scikit-learn's own, and against what UCI says of them."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from resnet_lab.plugins import load
from resnet_lab.spec import Component

BUILT_IN = load(only=())


@pytest.fixture(scope="module")
def digits():
    return BUILT_IN.bind("dataset", Component(name="digits"), "here")()


def test_the_only_one():
    assert BUILT_IN.names("dataset") == ["digits"]


def test_labels_are_uci_s(digits):
    assert digits.name == "digits"
    assert digits.classes == ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
    assert digits.labels.dtype == np.int64
    assert np.bincount(digits.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # optdigits.names
    assert len(digits) == len(set(digits.paths)) == 1797


def test_pixels_are_scikit_learn_s(digits):
    """Levels 0 to 16 become 0 to 255, each the nearest whole number."""
    levels = load_digits().images
    images = np.stack([np.asarray(digits.read(index)) for index in range(len(digits))])
    assert digits.read(0).mode == "L"
    assert images.dtype == np.uint8
    assert (images.min(), images.max()) == (0, 255)
    assert np.abs(images - levels * 255 / 16).max() <= 0.5
    assert np.array_equal(digits.labels, load_digits().target)


def test_loaded_twice_is_the_same(digits):
    again = BUILT_IN.bind("dataset", Component(name="digits"), "here")()
    assert again.fingerprint == digits.fingerprint
    assert again.paths[7] == digits.paths[7] == "digits/0007"
