import numpy as np
import pytest
from sklearn.metrics import top_k_accuracy_score

from resnet_lab.evaluation.metrics.ranks import rank_table, ranks_of_truth
from tests.evaluation.metrics.drawn import predictions


def test_the_table_by_hand() -> None:
    probabilities = np.array([[0.5, 0.3, 0.2], [0.6, 0.3, 0.1], [0.1, 0.7, 0.2], [0.2, 0.2, 0.6]], dtype=np.float32)
    labels = np.array([0, 1, 1, 1])  # ranks 1, 2, 1 and, of equals the first ahead, 3
    assert ranks_of_truth(labels, probabilities).tolist() == [1, 2, 1, 3]
    rows = rank_table(labels, probabilities)
    assert [(row.rank, row.n, row.within) for row in rows] == [(1, 2, 0.5), (2, 1, 0.75), (3, 1, 1.0)]
    assert [row.confidence for row in rows] == pytest.approx([0.6, 0.6, 0.6])
    assert [row.truth for row in rows] == pytest.approx([0.6, 0.3, 0.2])


def test_shares_are_scikit_learn_s_top_k_accuracies() -> None:
    labels, probabilities = predictions(np.random.default_rng(0), 200, 12)
    rows = rank_table(labels, probabilities)
    for row in rows[:5]:
        expected = top_k_accuracy_score(labels, probabilities, k=row.rank, labels=range(12))
        assert row.within == pytest.approx(expected)
    assert (rows[5].rank, rows[5].within, sum(row.n for row in rows)) == (6, 1.0, 200)


def test_a_rank_without_images_has_no_means() -> None:
    rows = rank_table(np.array([0]), np.array([[0.9, 0.1]], dtype=np.float32))
    assert (rows[1].n, rows[1].confidence, rows[1].truth) == (0, None, None)
