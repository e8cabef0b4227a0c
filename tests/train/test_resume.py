"""Trainings that are killed at random moments come to the bits of one that is not."""

from pathlib import Path

import pytest

from tests.train import killed


@pytest.mark.slow
def test_killed_trainings(tmp_path: Path) -> None:
    """Two; `python -m tests.train.killed FOLDER 100` does a hundred."""
    expected, seconds = killed.undisturbed(tmp_path / "undisturbed")
    assert killed.come_to_the_same(tmp_path, range(2), expected, seconds) >= 1
