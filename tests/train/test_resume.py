"""Trainings that are killed at random moments come to the bits of one that is not."""

from pathlib import Path

import pytest

from tests.train import killed


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], float]:
    return killed.undisturbed(tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.slow
@pytest.mark.parametrize("first", [0, 10])
def test_killed_trainings(tmp_path: Path, first: int, undisturbed: tuple[dict[str, str], float]) -> None:
    """Twenty; `python -m tests.train.killed FOLDER 100` does a hundred."""
    expected, seconds = undisturbed
    assert killed.come_to_the_same(tmp_path, range(first, first + 10), expected, seconds) >= 5
