"""Compared with a table by hand, and pandas' pivot of the same rows."""

import numpy as np
import pandas
import pytest

from resnet_lab.study.grid import Grid

ROWS = [("plain", 4, 0.5), ("new", 4, None), ("plain", 5, 0.25), ("new", 5, 0.75), ("plain", 6, None), ("new", 6, 0.0)]
CELLS = {(arm, seed): value for arm, seed, value in ROWS}
GRID = Grid.filled(range(4, 7), ["plain", "new"], lambda arm, seed: CELLS[arm, seed])


def test_cells_come_block_by_block() -> None:
    assert list(GRID.items()) == ROWS
    assert GRID.values() == [0.5, 0.25, 0.75, 0.0]  # a cell of 0 is not missing
    assert [GRID[arm, seed] for arm, seed, _ in ROWS] == [value for *_, value in ROWS]
    assert GRID.of_arm("new") == {5: 0.75, 6: 0.0}
    for place in (("plain", 7), ("old", 4)):
        with pytest.raises(ValueError, match="not in tuple"):
            GRID[place]


def test_numbers_are_a_pivot_of_the_rows() -> None:
    table = pandas.DataFrame(ROWS, columns=["arm", "seed", "value"]).astype({"value": float})
    expected = table.pivot(index="seed", columns="arm", values="value")[["plain", "new"]].to_numpy()
    np.testing.assert_array_equal(GRID.numbers(float), expected)
    assert Grid((), ("plain", "new"), ()).numbers(float).shape == (0, 2)


def test_a_change_may_take_cells_away_and_never_makes_any() -> None:
    halves = GRID.map(lambda value: value / 2 if value else None)
    assert list(halves.items()) == [
        ("plain", 4, 0.25), ("new", 4, None), ("plain", 5, 0.125), ("new", 5, 0.375), ("plain", 6, None),
        ("new", 6, None),
    ]  # fmt: skip
