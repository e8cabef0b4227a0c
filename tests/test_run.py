from pathlib import Path

import pytest

from resnet_lab.errors import RunError
from resnet_lab.run import Run


def test_a_record_comes_back(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "runs" / "first")
    run.write({"status": "finished", "classes": ["ä", "b"]})
    assert Run.open(tmp_path / "runs" / "first").read() == {"format": 1, "status": "finished", "classes": ["ä", "b"]}


def test_a_folder_is_never_used_twice(tmp_path: Path) -> None:
    with pytest.raises(RunError) as failure:
        Run.create(tmp_path)
    assert str(failure.value) == f"{tmp_path} exists already and is left as it is; choose another name or remove it"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError) as failure:
        Run.create(tmp_path / "file" / "run")
    assert str(failure.value) == f"{tmp_path}/file/run: the run folder cannot be made: Not a directory"


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(RunError) as failure:
        Run.open(tmp_path)
    assert str(failure.value) == (
        f"{tmp_path} is not a run folder: it holds no run.json; name one that `resnet-lab train` made"
    )


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "x"}'])
def test_a_damaged_record(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunError, match=r"run\.json: damaged \(.*\); the run's weights can still be used by their path"):
        Run.open(tmp_path).read()


def test_a_record_of_a_newer_program(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"format": 2}')
    with pytest.raises(RunError) as failure:
        Run.open(tmp_path).read()
    assert str(failure.value) == (
        f"{tmp_path}/run.json: run format 2 is newer than this resnet-lab reads (1); upgrade resnet-lab"
    )
