"""Batch script by which Slurm trains a study: tasks of a job array that share the study folder."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from resnet_lab.core.errors import ConfigError

SAVE_WITHIN = 120
"""Seconds before the time limit at which tasks are asked to save their state."""

_TIME = re.compile(r"[0-9]+(:[0-9]{2}){0,2}|[0-9]+-[0-9]{1,2}(:[0-9]{2}){0,2}")


@dataclass(frozen=True)
class Job:
    """A job array.

    Attributes:
        tasks: number of tasks, each of which trains one trial at a time.
        time: limit of a task, as sbatch takes it: minutes, `HH:MM:SS` or `DAYS-HH`.
        more: further options of sbatch, such as `--partition=gpu`.
    """

    tasks: int = 1
    time: str = "1:00:00"
    cpus: int = 1
    gpus: int = 0
    more: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _TIME.fullmatch(self.time):
            raise ConfigError(f"--time is {self.time!r}; give minutes, HH:MM:SS or DAYS-HH, as sbatch takes it")
        for option in self.more:
            if not option.startswith("-") or "\n" in option:
                raise ConfigError(f"--sbatch is {option!r}; give an option of sbatch, such as --sbatch=--partition=gpu")


def batch_script(job: Job, command: Sequence[str], folder: Path) -> str:
    """Script for sbatch.

    A task that is asked to stop, before its time limit or for another job, saves its state and is queued again. One
    whose node is lost is queued again by Slurm. Its trial's lock is gone with its process, so that whoever comes
    first resumes the trial.

    Args:
        command: a `study run` of the study, which every task runs.
    """
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.name)
    options = [
        f"--job-name={name}", f"--array=0-{job.tasks - 1}", f"--time={job.time}",
        "--ntasks=1", f"--cpus-per-task={job.cpus}", *([f"--gpus-per-task={job.gpus}"] if job.gpus else []),
        f"--signal=TERM@{SAVE_WITHIN}", "--requeue", "--open-mode=append", *job.more,
    ]  # fmt: skip
    head = "\n".join(f"#SBATCH {option}" for option in options)
    return f"""#!/bin/bash
{head}

export OMP_NUM_THREADS={job.cpus}
srun {shlex.join(command)}
code=$?
if [ $code -eq 143 ]; then  # asked to stop, with the state saved
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
fi
exit $code
"""
