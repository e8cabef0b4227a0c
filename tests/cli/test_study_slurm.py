"""`study slurm`: its script, and tasks of it run by stand-ins for Slurm's commands."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from resnet_lab.core.errors import ConfigError
from resnet_lab.study.slurm import Job, batch_script

STUDY = """
[study]
factors = { attn = ["none", "eca"] }
seeds = 2

[model]
model = "resnet20"
input_size = 8

[data]
source = "synthetic(images=240, classes=2, size=16)"

[train]
epochs = 8
batch_size = 16
device = "cpu"
precision = "fp32"
compile = "off"
threads = 1
"""
COMMANDS = {
    "srun": 'echo $$ > "$HERE/step-$SLURM_ARRAY_TASK_ID"\nexec "$@"',
    "scontrol": '[ "$1" = requeue ] && echo "$2" >> "$HERE/requeued"',
}


class Tasks:
    """Slurm for tasks of one array: starts each by the script, with the variables and commands that it would have."""

    def __init__(self, folder: Path, script: str) -> None:
        self.folder, self.script = folder, folder / "job.sh"
        self.script.write_text(script)
        for name, body in COMMANDS.items():
            (folder / name).write_text(f"#!/bin/bash\n{body}\n")
            (folder / name).chmod(0o755)

    def start(self, number: int) -> subprocess.Popen[bytes]:
        environment = {
            "HERE": str(self.folder), "PATH": f"{self.folder}:{os.environ['PATH']}", "SLURM_ARRAY_TASK_ID": str(number),
            "SLURM_JOB_ID": str(100 + number), "PYTHONPATH": str(Path(__file__).parents[2]),
        }  # fmt: skip
        with (self.folder / f"task-{number}.txt").open("ab") as log:
            return subprocess.Popen(
                ["bash", self.script], env=os.environ | environment, stdout=log, stderr=log, process_group=0
            )

    def requeued(self) -> list[str]:
        path = self.folder / "requeued"
        return path.read_text().split() if path.exists() else []


def wait_for(found: Callable[[], object], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end
        time.sleep(0.02)


def training(trials: Path) -> set[str]:
    """Trials that are being trained, and have a saved state."""
    return {path.parent.name for path in trials.glob("*/state.safetensors")}


@pytest.mark.long
def test_tasks_that_die_and_are_stopped_come_to_what_one_process_does(cli: Callable, tmp_path: Path) -> None:
    Path("study.toml").write_text(STUDY)
    code, script, err = cli("study", "slurm", "study.toml", "--out", "shared", "--tasks", 2)
    assert code == 0, err
    tasks, trials = Tasks(tmp_path, script), tmp_path / "shared" / "trials"
    lost = tasks.start(0)
    wait_for(lambda: training(trials))
    os.killpg(lost.pid, signal.SIGKILL)  # its node is lost
    lost.wait()
    first = training(trials)
    assert len(first) == 1
    stopped = tasks.start(1)
    wait_for(lambda: training(trials) - first or list(trials.glob("*.json")))
    os.kill(int((tmp_path / "step-1").read_text()), signal.SIGTERM)  # its time is over
    assert stopped.wait(120) == 0
    assert tasks.requeued() == ["101"]
    assert len(list(trials.glob("*.json"))) < 4
    again = [tasks.start(number) for number in (0, 1)]
    codes = [task.wait(300) for task in again]
    assert codes == [0, 0], (tmp_path / "task-0.txt").read_text()
    assert cli("study", "run", "study.toml", "--out", "alone", "--no-bench", "--json").code == 0
    names = sorted(path.name for path in Path("alone/trials").glob("*.json"))
    assert sorted(path.name for path in trials.glob("*.json")) == names
    assert len(names) == 4
    for name in names:
        ours, theirs = (json.loads((folder / name).read_text()) for folder in (trials, Path("alone/trials")))
        assert ours["scores"] == theirs["scores"]
        for file in ("best.safetensors", "last.safetensors", "metrics.csv"):
            run = name.removesuffix(".json")
            assert (trials / run / file).read_bytes() == (Path("alone/trials") / run / file).read_bytes()


def test_the_script(cli: Callable, tmp_path: Path) -> None:
    Path("study.toml").write_text(STUDY)
    code, script, _ = cli(
        "study", "slurm", "study.toml", "--out", "my parts", "--tasks", 3, "--time", "1-12", "--cpus", 4, "--gpus", 1,
        "--sbatch=--partition=gpu", "--track", "tensorboard",
    )  # fmt: skip
    assert code == 0
    head, _, body = script.partition("\n\n")
    assert head.splitlines() == [
        "#!/bin/bash", "#SBATCH --job-name=my-parts", "#SBATCH --array=0-2", "#SBATCH --time=1-12",
        "#SBATCH --ntasks=1", "#SBATCH --cpus-per-task=4", "#SBATCH --gpus-per-task=1",
        "#SBATCH --signal=TERM@120", "#SBATCH --requeue",
        "#SBATCH --open-mode=append", "#SBATCH --partition=gpu",
    ]  # fmt: skip
    run = f"study run {tmp_path}/study.toml --out '{tmp_path}/my parts' --no-bench --track=tensorboard\n"
    assert run in body
    assert not Path("my parts").exists()


def test_a_study_by_name(cli: Callable) -> None:
    assert " study run digits-parts --out " in cli("study", "slurm", "digits-parts", "--out", "parts").out


def test_refused(cli: Callable) -> None:
    code, out, err = cli("study", "slurm", "nothing.toml", "--out", "parts")
    assert (code, out) == (2, "")
    assert err.startswith("resnet-lab: nothing.toml: ")
    for job, message in (
        ({"time": "an hour"}, "--time is 'an hour'; give minutes, HH:MM:SS or DAYS-HH, as sbatch takes it"),
        ({"more": ("gpu",)}, "--sbatch is 'gpu'; give an option of sbatch, such as --sbatch=--partition=gpu"),
        ({"more": ("--a\nrm",)}, "--sbatch is '--a\\nrm'; give an option of sbatch, such as --sbatch=--partition=gpu"),
    ):
        with pytest.raises(ConfigError) as caught:
            batch_script(Job(**job), ["true"], Path("parts"))
        assert str(caught.value) == message
