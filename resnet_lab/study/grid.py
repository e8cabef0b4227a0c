"""Results by seed and arm, some of them missing. Legend: S seeds, A arms."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class Grid(Generic[T]):
    """Cells of seeds times arms; one is None where a trial failed, has not finished, or has no such value.

    Attributes:
        cells: a row per seed, in it a cell per arm.
    """

    seeds: tuple[int, ...]
    arms: tuple[str, ...]
    cells: tuple[tuple[T | None, ...], ...]

    @classmethod
    def filled(cls, seeds: Sequence[int], arms: Sequence[str], cell: Callable[[str, int], T | None]) -> "Grid[T]":
        """Each cell made of its arm and seed, block by block."""
        return cls(tuple(seeds), tuple(arms), tuple(tuple(cell(arm, seed) for arm in arms) for seed in seeds))

    def __getitem__(self, place: tuple[str, int]) -> T | None:
        """The cell of an arm and a seed; raises `ValueError` where the grid has no such row or column."""
        arm, seed = place
        return self.cells[self.seeds.index(seed)][self.arms.index(arm)]

    def items(self) -> Iterator[tuple[str, int, T | None]]:
        """Arm, seed and cell, block by block."""
        for seed, row in zip(self.seeds, self.cells, strict=True):
            for arm, cell in zip(self.arms, row, strict=True):
                yield arm, seed, cell

    def values(self) -> list[T]:
        """The cells that are not missing, block by block."""
        return [cell for _, _, cell in self.items() if cell is not None]

    def of_arm(self, arm: str) -> dict[int, T]:
        """The cells of an arm that are not missing, by seed."""
        column = self.arms.index(arm)
        return {
            seed: cell for seed, row in zip(self.seeds, self.cells, strict=True) if (cell := row[column]) is not None
        }

    def map(self, change: Callable[[T], U | None]) -> "Grid[U]":
        """The same grid with each cell changed; what is missing stays so."""
        cells = tuple(tuple(None if cell is None else change(cell) for cell in row) for row in self.cells)
        return Grid(self.seeds, self.arms, cells)

    def numbers(self, of: Callable[[T], float]) -> NDArray[np.float64]:
        """A number of each cell, NaN where it is missing; shape (S, A)."""
        rows = [[np.nan if cell is None else of(cell) for cell in row] for row in self.cells]
        return np.array(rows, dtype=np.float64).reshape(len(self.seeds), len(self.arms))
