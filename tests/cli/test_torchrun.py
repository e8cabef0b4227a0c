"""`resnet-lab train` in two processes that torchrun starts."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import load_file

from tests.torchrun import torchrun

SMOOTH = (
    "--model", "resnet20", "--size", 8, "--act", "gelu", "--batch-size", 96, "--optimizer", "sgd", "--lr", 0.01,
    "--schedule", "constant", "--epochs", 2, "--precision", "fp32", "--device", "cpu", "--compile", "off",
)  # fmt: skip
"""A training whose rounding does not grow, as it does at the kinks of ReLU."""


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("together") / "run"
    done = torchrun("resnet_lab", "train", *SMOOTH, "--sync-batch-norm", "--out", folder, "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("epoch   2: loss") == 1, "only rank 0 logs"
    assert json.loads(done.stdout)["run"] == str(folder)
    return folder


@pytest.mark.slow
def test_two_processes_come_to_what_one_does(cli: Callable, together: Path) -> None:
    assert cli("train", *SMOOTH, "--out", "run").code == 0
    ours, alone = (pd.read_csv(folder / "metrics.csv") for folder in (together, Path("run")))
    for column in ("train_loss", "val_loss"):
        assert ours[column].tolist() == pytest.approx(alone[column].tolist(), rel=1e-4)
    assert json.loads((together / "run.json").read_text())["device"]["processes"] == 2


@pytest.mark.slow
def test_the_evaluation_is_one_process_s(cli: Callable, together: Path) -> None:
    record = json.loads((together / "run.json").read_text())
    code, out, _ = cli("eval", together, "--precision", "fp32", "--json")
    assert code == 0
    assert record["test"].items() <= json.loads(out)["test"].items()


@pytest.mark.slow
def test_errors_are_reported_once(tmp_path: Path) -> None:
    done = torchrun("resnet_lab", "train", "--data", tmp_path / "nothing", "--device", "cpu")
    assert done.returncode != 0
    assert done.stderr.count("resnet-lab: ") == 1
    assert 'Traceback (most recent call last):\n  File "' + str(Path(__file__).parents[2]) not in done.stderr


def _stopped_in_the_middle(folder: Path, stop: Callable[[int], None], *options: str) -> tuple[int, str]:
    """Exit code and standard error of a training that something happens to once its first state is saved.

    Args:
        stop: is given torchrun's process number.
    """
    arguments = [str(option) for option in (*SMOOTH, "--sync-batch-norm", "--out", folder)]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *options]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [*command, "--module", "resnet_lab", "train", *arguments], env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 200
        while not (folder / "state.safetensors").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        stop(process.pid)
        _, err = process.communicate(timeout=250)
    return process.returncode, err


@pytest.mark.long
def test_a_stop_is_agreed_and_the_training_resumes(together: Path, tmp_path: Path) -> None:
    """SIGTERM to one process ends both at the same step; two others go on, to the bits of an undisturbed run."""
    folder = tmp_path / "run"
    _, err = _stopped_in_the_middle(folder, lambda pid: os.kill(pid, signal.SIGTERM))
    assert f"resume with `resnet-lab train --resume {folder}`" in err
    assert json.loads((folder / "run.json").read_text())["status"] == "stopped by SIGTERM"
    done = torchrun("resnet_lab", "train", "--resume", folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "metrics.csv").read_text() == (together / "metrics.csv").read_text()
    ours, undisturbed = (load_file(run / "last.safetensors") for run in (folder, together))
    assert all(ours[name].equal(undisturbed[name]) for name in undisturbed)


@pytest.mark.long
def test_a_lost_process_is_replaced_and_the_training_resumes(together: Path, tmp_path: Path) -> None:
    """torchrun starts all anew when one was killed, and they find the run folder again."""

    def kill_one(pid: int) -> None:
        os.kill(int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[-1]), signal.SIGKILL)

    folder = tmp_path / "run"
    code, err = _stopped_in_the_middle(folder, kill_one, "--max-restarts", "1")
    assert code == 0, err
    assert "resuming at epoch" in err
    assert (folder / "metrics.csv").read_text() == (together / "metrics.csv").read_text()
