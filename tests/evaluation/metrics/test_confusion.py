import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from resnet_lab.evaluation.metrics.confusion import confusion


@pytest.mark.parametrize("seed", range(20))
def test_scikit_learn_agrees(seed: int) -> None:
    draw = np.random.default_rng(seed)
    labels, predicted = draw.integers(0, 6, 40), draw.integers(0, 7, 40)  # the last class has no images
    found = confusion(labels, predicted, tuple("abcdefg"))
    assert (found.counts == confusion_matrix(labels, predicted, labels=range(7))).all()
    shares = confusion_matrix(labels, predicted, labels=range(6), normalize="true")
    np.testing.assert_allclose(found.shares[:6, :6], shares * shares_kept(found.counts[:6]))
    assert (found.shares[6] == 0).all()


def shares_kept(counts: np.ndarray) -> np.ndarray:
    """Share of each row that is not in the last column, which scikit-learn was not given."""
    return counts[:, :6].sum(1, keepdims=True) / counts.sum(1, keepdims=True)


def test_pairs_in_words() -> None:
    labels = np.array([0] * 5 + [1] * 9 + [2] * 4)
    predicted = np.array([1, 1, 1, 0, 0, 2, 2, 2, 1, 1, 1, 1, 1, 1, 2, 2, 2, 0])
    found = confusion(labels, predicted, ("Michelangelo", "Botticelli", "Titian"))
    assert [str(pair) for pair in found.pairs()] == [
        "Michelangelo taken for Botticelli: 3 of 5",
        "Botticelli taken for Titian: 3 of 9",
        "Titian taken for Michelangelo: 1 of 4",
    ]
    assert len(found.pairs(most=2)) == 2


def test_orders() -> None:
    """Classes a and d, b and c are taken for each other; c has most images, then a and d, then b."""
    pairs = [("a", "d"), ("d", "a"), ("a", "a"), ("d", "d"), ("b", "c"), *[("c", "b")] * 2, *[("c", "c")] * 2]
    names = ("a", "b", "c", "d")
    labels, predicted = (np.array([names.index(pair[side]) for pair in pairs]) for side in (0, 1))
    found = confusion(labels, predicted, names)
    assert [names[k] for k in found.by_support()] == ["c", "a", "d", "b"]
    order = "".join(names[k] for k in found.by_similarity())
    assert {order[:2], order[2:]} in ({"ad", "bc"}, {"da", "bc"}, {"ad", "cb"}, {"da", "cb"})


def test_two_classes_have_one_order() -> None:
    assert confusion(np.array([0, 1]), np.array([1, 1]), ("a", "b")).by_similarity().tolist() == [0, 1]
