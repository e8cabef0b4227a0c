"""Compared with SciPy's t interval, and means by hand."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from resnet_lab.study.interactions import interactions
from tests.study.fabricated import design, found, shares


def test_cells_of_two_factors(tmp_path: Path) -> None:
    results, _ = found(tmp_path, design(), shares, n=60, waiting=(("gelu eca", 2),))
    (pair,) = interactions(results)
    assert (pair.first, pair.second, pair.levels) == ("act", "attn", (("relu", "gelu"), ("none", "eca")))
    cell = pair.cells["relu", "eca"]
    scores = [results.outcomes["relu eca", seed].scores["macro_accuracy"] for seed in range(3)]
    assert (cell.n, cell.mean) == (3, pytest.approx(np.mean(scores)))
    assert cell.interval == pytest.approx(stats.t.interval(0.95, 2, loc=np.mean(scores), scale=stats.sem(scores)))
    assert pair.cells["gelu", "eca"].n == 2


def test_a_cell_of_several_arms_is_their_mean_in_each_seed(tmp_path: Path) -> None:
    study = design(factors={"act": ["relu", "gelu"], "attn": ["none", "eca"], "train.lr": [0.001, 0.002]}, seeds=2)

    def rights(arm: str, seed: int, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.arange(len(labels)) < (30 if arm.endswith("0.001") else 60)

    results, _ = found(tmp_path, study, rights, n=60)
    cells = {(pair.first, pair.second): pair.cells for pair in interactions(results)}
    assert list(cells) == [("act", "attn"), ("act", "train.lr"), ("attn", "train.lr")]
    assert cells["act", "attn"]["gelu", "eca"].mean == pytest.approx(0.75)
    assert cells["act", "train.lr"]["gelu", "0.002"].mean == pytest.approx(1.0)


def test_a_half_fraction_of_three_factors_has_none(tmp_path: Path) -> None:
    """That of two factors is the main effect of the third."""
    factors = {"act": ["relu", "gelu"], "attn": ["none", "eca"], "train.lr": [0.001, 0.002]}
    results, _ = found(tmp_path, design(factors=factors, fraction="half"), lambda arm, seed, labels: labels < 2, n=60)
    assert [effect.aliases for effect in results.effects] == [
        ("attn eca x train.lr 0.002",), ("act gelu x train.lr 0.002",), ("act gelu x attn eca",),
    ]  # fmt: skip
    assert interactions(results) == []
    assert (
        "this design cannot tell apart act gelu with attn eca x train.lr 0.002; attn eca with act gelu x "
        "train.lr 0.002; train.lr 0.002 with act gelu x attn eca"
    ) in results.remarks
