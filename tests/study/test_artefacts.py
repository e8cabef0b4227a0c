import os
import time
from pathlib import Path

import pytest

from resnet_lab.core.errors import ConfigError, RunError
from resnet_lab.study.artefacts import Artefacts
from resnet_lab.study.outcome import Outcome
from resnet_lab.study.trials import StudyFolder, Trial, trials_of
from tests.study.small import study

pytest.importorskip("fsspec", reason="needs the package fsspec")


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def with_a_run(place: Path) -> tuple[StudyFolder, Trial]:
    folder, trial = StudyFolder(place), trials_of(study())[0]
    run = folder.run(trial)
    (run.folder / "predictions").mkdir(parents=True)
    run.record.write_text("{}")
    (run.folder / "predictions" / "test.safetensors").write_bytes(os.urandom(1000))
    return folder, trial


@pytest.fixture(params=["memory", "file", "folder"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return {
        "memory": f"memory://{tmp_path.name}/kept",
        "file": f"file://{tmp_path}/kept/here",
        "folder": str(tmp_path / "kept"),
    }[request.param]


def test_a_trial_round_trips(address: str, tmp_path: Path) -> None:
    here, trial = with_a_run(tmp_path / "here")
    there = StudyFolder(tmp_path / "there")
    there.trials.mkdir(parents=True)
    kept = Artefacts(address)
    kept.require_writable()
    assert not kept.has(trial)
    kept.put(trial, here)
    assert kept.has(trial)
    assert not kept.has(trials_of(study())[1])
    before = content(here.trials)
    (here.run(trial).folder / ".lock").touch()
    kept.get(trial, there)
    assert content(there.trials) == before

    here.run(trial).record.write_text('{"status": "finished"}')
    (here.run(trial).folder / "state.safetensors").touch()
    kept.put(trial, here)
    (here.run(trial).folder / "state.safetensors").unlink()
    here.keep(trial, Outcome(trial.name, "none", 0, None, {"accuracy": 0.5}, (0.5, 1.0), 1, 1, 1.0, trial.rate, {}))
    kept.put(trial, here)
    kept.get(trial, there)
    assert there.outcome(trial) == here.outcome(trial)
    assert there.run(trial).record.read_text() == '{"status": "finished"}'
    assert not (there.run(trial).folder / "state.safetensors").exists()
    assert [path.name for path in there.trials.iterdir() if path.name.startswith(".")] == []


def test_what_was_kept_outlives_a_write_that_fails(tmp_path: Path) -> None:
    here, trial = with_a_run(tmp_path / "here")
    kept = Artefacts(str(tmp_path / "kept"))
    kept.require_writable()
    kept.put(trial, here)
    before = (tmp_path / "kept" / f"{trial.name}.zip").read_bytes()
    (here.run(trial).folder / "metrics.csv").symlink_to("absent")
    os.utime(here.run(trial).record, (time.time(), -1e9))  # before 1980, which no archive can say
    with pytest.raises(RunError) as failure:
        kept.put(trial, here)
    assert str(failure.value) == (
        f"{tmp_path}/kept: artefacts cannot be written there: ValueError: ZIP does not support timestamps before 1980"
    )
    assert (tmp_path / "kept" / f"{trial.name}.zip").read_bytes() == before


def test_addresses_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError) as failure:
        Artefacts(str(tmp_path / "file" / "kept")).require_writable()
    assert str(failure.value) == f"{tmp_path}/file/kept: artefacts cannot be written there: Not a directory"
    with pytest.raises(ConfigError) as wrong:
        Artefacts("nowhere://kept")
    assert str(wrong.value) == "nowhere://kept: not an address for artefacts: Protocol not known: nowhere"
    trial = trials_of(study())[0]
    StudyFolder(tmp_path / "study").trials.mkdir(parents=True)
    with pytest.raises(RunError) as absent:
        Artefacts(str(tmp_path / "kept")).get(trial, StudyFolder(tmp_path / "study"))
    assert str(absent.value) == f"{tmp_path}/kept: artefacts cannot be fetched there: No such file or directory"
    monkeypatch.setitem(__import__("sys").modules, "fsspec.core", None)
    with pytest.raises(ConfigError) as missing:
        Artefacts("kept")
    assert str(missing.value) == 'artefacts need the package fsspec: pip install "resnet-lab[ray]"'
