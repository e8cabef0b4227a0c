"""Trainings that are killed at random moments come to the bits of one that is not."""

import json
from pathlib import Path

import pytest

from tests.train import killed


def _all_come_to_the_same(folder: Path, runs: int) -> None:
    expected, _ = killed.whole(folder / "whole")  # with the imports, which later ones find done
    again, seconds = killed.whole(folder / "again")
    assert again == expected
    kills = 0
    for number in range(runs):
        kills += killed.killed(folder / f"run{number}", seconds, seed=number)
        assert killed.digests(folder / f"run{number}") == expected, number
        assert json.loads((folder / f"run{number}" / "run.json").read_text())["status"] == "finished"
        assert not list((folder / f"run{number}").glob("state*"))
    assert kills >= runs / 2


def test_a_few_killed_trainings(tmp_path: Path) -> None:
    _all_come_to_the_same(tmp_path, 3)


@pytest.mark.slow
def test_a_hundred_killed_trainings(tmp_path: Path) -> None:
    _all_come_to_the_same(tmp_path, 100)
