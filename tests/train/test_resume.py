"""Trainings that are killed at random moments come to the bits of one that is not."""

import json
from pathlib import Path

import pytest

from tests.train import killed


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], float]:
    """Digests of what an undisturbed training leaves, and the seconds that it takes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    expected, _ = killed.whole(folder / "first")  # with the imports, which later ones find done
    repeats = [killed.whole(folder / f"again{number}") for number in range(2)]
    assert all(again == expected for again, _ in repeats)
    return expected, min(seconds for _, seconds in repeats)  # by a slow one, kills would come when all is over


def _come_to_the_same(folder: Path, seeds: range, undisturbed: tuple[dict[str, str], float]) -> None:
    expected, seconds = undisturbed
    kills = 0
    for seed in seeds:
        run = folder / f"run{seed}"
        kills += killed.killed(run, seconds, seed)
        assert killed.digests(run) == expected, seed
        assert json.loads((run / "run.json").read_text())["status"] == "finished"
        assert not list(run.glob("state*"))
    assert kills >= len(seeds) / 2


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 100, 10))
def test_a_hundred_killed_trainings(tmp_path: Path, first: int, undisturbed: tuple[dict[str, str], float]) -> None:
    _come_to_the_same(tmp_path, range(first, first + 10), undisturbed)
