import os
from pathlib import Path

import pytest

from resnet_lab.core.errors import RunError
from resnet_lab.export.drafts import draft


def test_the_file_takes_its_name_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with draft(path) as temporary:
        temporary.write_text("whole")
        assert temporary.name == path.name
        assert not path.exists()
    assert path.read_text() == "whole"
    assert os.listdir(tmp_path) == ["model.onnx"]


def test_after_an_error_nothing_is_left(tmp_path: Path) -> None:
    def fail() -> None:
        with draft(tmp_path / "model.onnx") as temporary:
            temporary.write_text("half")
            raise KeyError("a bug")

    with pytest.raises(KeyError):
        fail()
    assert os.listdir(tmp_path) == []


def test_files_beside_it_come_along(tmp_path: Path) -> None:
    with draft(tmp_path / "model.onnx") as temporary:
        temporary.write_text("graph")
        temporary.with_name("model.onnx.data").write_text("weights")
    assert sorted(os.listdir(tmp_path)) == ["model.onnx", "model.onnx.data"]


def test_what_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_text("old")
    with pytest.raises(RunError) as failure, draft(path):
        pass
    assert str(failure.value) == f"{path} exists already and is left as it is; choose another name or remove it"
    with draft(path, force=True) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"


def test_what_is_there_beside_it_is_left_as_it_is(tmp_path: Path) -> None:
    data = tmp_path / "model.onnx.data"
    data.write_text("old")

    def write() -> None:
        with draft(tmp_path / "model.onnx") as temporary:
            temporary.write_text("graph")
            temporary.with_name("model.onnx.data").write_text("weights")

    with pytest.raises(RunError) as failure:
        write()
    assert str(failure.value) == f"{data} exists already and is left as it is; choose another name or remove it"
    assert (os.listdir(tmp_path), data.read_text()) == (["model.onnx.data"], "old")


def test_no_place_for_it(tmp_path: Path) -> None:
    with pytest.raises(RunError) as failure, draft(tmp_path / "absent" / "model.onnx"):
        pass
    assert str(failure.value) == f"{tmp_path}/absent/model.onnx: cannot be written: No such file or directory"
    with pytest.raises(RunError) as failure, draft(tmp_path, force=True):
        pass
    assert str(failure.value) == f"{tmp_path} is a folder; name the file to write"


def test_its_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    with draft(tmp_path / "model.pt2") as temporary:
        temporary.touch(0o600)
    assert (tmp_path / "model.pt2").stat().st_mode == (tmp_path / "usual").stat().st_mode
