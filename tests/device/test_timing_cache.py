from pathlib import Path

import pytest

from resnet_lab.device.timing_cache import StepTimes, recall, remember

MEASURED = StepTimes(compiling=20.5, eager=1.25, compiled=0.75)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RESNET_LAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_was_measured_is_found_again_under_the_same_facts(folder: Path) -> None:
    remember(MEASURED, "resnet50", "threads 2")
    remember(StepTimes(1, 2, 3), "resnet18", "threads 2")
    assert recall("resnet50", "threads 2") == MEASURED
    assert recall("resnet50", "threads 4") is None
    remember(StepTimes(20.5), "resnet34")
    assert recall("resnet34") == StepTimes(20.5, None, None)
    assert [path.name for path in folder.iterdir()] == ["compiled.json"]


def test_the_newer_counts(folder: Path) -> None:
    remember(StepTimes(1, 2, 3), "resnet50")
    remember(MEASURED, "resnet50")
    assert recall("resnet50") == MEASURED


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"null",
        b'{"resnet50": 3}',
        b'{"resnet50": {"eager": 1}}',
        b'{"resnet50": {"a": "b"}}',
    ],
)
def test_a_damaged_file_is_as_good_as_none(folder: Path, content: bytes) -> None:
    folder.mkdir()
    (folder / "compiled.json").write_bytes(content)
    assert recall("resnet50") is None
    remember(MEASURED, "resnet50")
    assert recall("resnet50") == MEASURED


def test_where_nothing_can_be_written_nothing_is_remembered(folder: Path) -> None:
    folder.write_text("a file where the folder should be")
    remember(MEASURED, "resnet50")
    assert recall("resnet50") is None
