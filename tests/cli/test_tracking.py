"""`--track` of `train` and `study run`, with the tracker that docs/plugins.md shows."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resnet_lab.study import ray_executor
from resnet_lab.study.trials import StudyFolder, trials_of
from resnet_lab.testing import check
from resnet_lab.train.tracking import Track
from tests.cli.conftest import QUICK
from tests.study.small import study
from tests.torchrun import torchrun

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "plugins.md").read_text()
SMALL = (
    "--attn", "none,eca", "--seeds", 2, "--size", 8, "--data", "synthetic(images=80, classes=2, size=16)",
    "--epochs", 1, "--set", "train.batch_size=16", "--set", "train.precision=fp32", "--set", "train.compile=off",
    "--set", "train.device=cpu", "--set", "model.model=resnet20", "--no-bench",
)  # fmt: skip


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    printed = re.search(r"## Trackers.*?```python\n(.*?)```", PAGE, re.DOTALL)
    assert printed is not None
    file = tmp_path / "lines.py"
    file.write_text(printed.group(1))
    return file


def lines(path: str | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_the_printed_tracker_conforms(plugin: Path) -> None:
    from resnet_lab.network.plugins import load

    report = check("tracker", "lines", registry=load(only=(), files=[plugin]))
    assert report.passed, str(report)


def test_a_training(cli: Callable, paintings: Path, plugin: Path) -> None:
    code, out, err = cli(
        "train", "--data", paintings, *QUICK, "--plugin", plugin, "--track", "lines(file='all.jsonl')", "--out", "run",
        "--json",
    )  # fmt: skip
    assert code == 0, err
    start, *epochs, end = lines("all.jsonl")
    assert (start["event"], start["run"], start["study"]) == ("start", "run", "")
    assert start["config.batch_size"] == 8
    assert [each["epoch"] for each in epochs] == [1, 2]
    assert end["event"] == "finished"
    assert end["test"] == json.loads(out)["test"]


def test_a_resumed_training_is_tracked_where_asked_for(cli: Callable, paintings: Path, plugin: Path) -> None:
    """The record of a run names trackers, and none of them is loaded or told anything for that."""
    stop = plugin.with_name("stop.py")
    stop.write_text(plugin.read_text().replace('"lines"', '"stop"').replace(
        'self._write("epoch"', 'import signal; signal.raise_signal(signal.SIGINT); self._write("epoch"'
    ))  # fmt: skip
    asked = ("train", "--data", paintings, *QUICK, "--out", "run", "--plugin", stop, "--track", "stop")
    assert cli(*asked).code == 128 + signal.SIGINT
    assert [each["event"] for each in lines("lines.jsonl")] == ["start", "epoch", "interrupted"]
    code, _, err = cli("train", "--resume", "run", "--plugin", stop)
    assert code == 0, err
    assert "run was tracked, by stop; it is no longer, unless --track says so\n" in err
    assert len(lines("lines.jsonl")) == 3


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_study(cli: Callable, plugin: Path, processes: int) -> None:
    """One tracked run per trial, in the study's group."""
    code, _, err = cli(
        "study", "run", *SMALL, "--processes", processes, "--plugin", plugin, "--track", "lines(file='all.jsonl')",
        "--out", "parts", "--json",
    )  # fmt: skip
    assert code == 0, err
    found = lines("all.jsonl")
    names = {path.stem for path in Path("parts/trials").glob("*.json")}
    assert {each["run"] for each in found} == names
    assert len(names) == 4
    assert {each["study"] for each in found if each["event"] == "start"} == {"parts"}
    for event in ("start", "epoch", "finished"):
        assert len([each for each in found if each["event"] == event]) == 4


def test_a_study_says_which_tracker_failed(cli: Callable, plugin: Path) -> None:
    code, _, err = cli(
        "study", "run", *SMALL, "--plugin", plugin, "--track", "lines(file='nowhere/all.jsonl')", "--out", "parts",
        "--json",
    )  # fmt: skip
    assert code == 0, err
    first = min(path.stem for path in Path("parts/trials").glob("none*-seed0.json"))
    assert err.splitlines()[-1] == (
        f"resnet-lab: tracker lines failed in 4 trials, first in {first}: FileNotFoundError: [Errno 2] No such file or "
        "directory: 'nowhere/all.jsonl'; the trials are as without it"
    )


def test_a_trial_of_a_cluster(cli: Callable, plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a process of Ray's does it, with the study folder in sight and apart from it."""
    monkeypatch.setenv("RESNET_LAB_PLUGIN_FILES", str(plugin))
    small, folder = study(), StudyFolder(tmp_path / "parts")
    folder.trials.mkdir(parents=True)
    token = folder.folder / ".driver-1"
    token.touch()
    home = ray_executor._Home(tmp_path, track=Track.parse(["lines(file='all.jsonl')"], "parts"))
    first, second = trials_of(small)[:2]
    ray_executor._work(small, first, ray_executor._Place(home, folder.folder, token, None))
    kept = tmp_path / "kept"
    kept.mkdir()
    ray_executor._work(small, second, ray_executor._Place(home, folder.folder, token, str(kept)))
    starts = [(each["run"], each["study"]) for each in lines("all.jsonl") if each["event"] == "start"]
    assert starts == [(first.name, "parts"), (second.name, "parts")]


@pytest.mark.slow
def test_rank_0_alone_is_tracked(plugin: Path, tmp_path: Path) -> None:
    done = torchrun(
        "resnet_lab", "train", *QUICK, "--data", "synthetic(images=80, classes=2, size=16)", "--device", "cpu",
        "--plugin", plugin, "--track", f"lines(file='{tmp_path}/all.jsonl')", "--out", tmp_path / "run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [each["event"] for each in lines(tmp_path / "all.jsonl")] == ["start", "epoch", "epoch", "finished"]


def test_an_unknown_tracker(cli: Callable) -> None:
    unknown = "--track: unknown tracker 'mlflo'; did you mean 'mlflow'?"
    for command in (("train", "--out", "new"), ("study", "run", *SMALL, "--out", "new")):
        assert cli(*command, "--track", "mlflo") == (2, "", f"resnet-lab: {unknown}\n")
        assert not Path("new").exists()


@pytest.mark.slow
def test_no_package_of_a_tracker_is_imported_without_need(tmp_path: Path) -> None:
    code = (
        "import sys; from resnet_lab.network.plugins import load; load(only=())\n"
        "import resnet_lab.train.training\n"
        "assert not {'mlflow', 'wandb', 'aim', 'tensorboard'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
