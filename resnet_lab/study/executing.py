"""Execution of a study's trials: one after the other in this process, or by several processes."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Protocol, TypeAlias

from resnet_lab.core.children import Child, python_module
from resnet_lab.core.errors import ConfigError, RunError
from resnet_lab.core.processor import allowed_cores
from resnet_lab.core.wording import counted
from resnet_lab.device.gpu_shares import gpu_in_turn, visible_gpus
from resnet_lab.device.threads import threads_each
from resnet_lab.network.plugins import PLUGINS_VARIABLE, Registry
from resnet_lab.study.deciding import Decide, decided
from resnet_lab.study.design import Study
from resnet_lab.study.outcome import Outcome
from resnet_lab.study.trials import State, StudyFolder, Trial, carry_out
from resnet_lab.train.interruption import Interruption
from resnet_lab.train.progress import TrainingWatcher
from resnet_lab.train.tracking import UNTRACKED, Track

POLL = 0.5
"""Seconds between two looks at what other processes have done."""


class StudyWatcher(Protocol):
    """Interface through which a study reports its progress."""

    def say(self, text: str) -> None:
        """A remark."""

    def show(self, states: dict[str, State], outcomes: Sequence[Outcome]) -> None:
        """Show the progress of every trial, by name, and the outcomes of finished ones."""

    def training(self, trial: Trial) -> TrainingWatcher:
        """The watcher of a trial that is trained here."""


Execute: TypeAlias = Callable[[Study, Sequence[Trial], StudyFolder, Registry, StudyWatcher], None]
"""Runs all unfinished trials; raises as `carry_out` does."""


@dataclass(frozen=True)
class Executor:
    """Executor of trials, which also decides what their design leaves open."""

    execute: Execute
    decide: Decide


def local(processes: int, track: Track = UNTRACKED) -> Executor:
    """Executor on this machine, with so many trials at a time."""
    execute = partial(one_by_one, track=track) if processes == 1 else in_processes(processes, track)
    if (gpus := len(visible_gpus())) > 1:
        return Executor(execute, partial(decided, sharing=ceil(processes / gpus), threads=threads_each(processes)))
    return Executor(execute, partial(decided, sharing=processes))


def one_by_one(
    study: Study,
    trials: Sequence[Trial],
    folder: StudyFolder,
    registry: Registry,
    watcher: StudyWatcher,
    *,
    track: Track = UNTRACKED,
) -> None:
    """Each in this process; those that another one works on are waited for."""
    pending = list(trials)
    while pending:
        show(trials, folder, watcher)
        busy = []
        for trial in pending:
            if folder.outcome(trial) is None:
                if carry_out(study, trial, folder, registry, watcher.training(trial), track) is None:
                    busy.append(trial)
                show(trials, folder, watcher)
        if len(busy) == len(pending):
            time.sleep(POLL)
        pending = busy
    show(trials, folder, watcher)


def in_processes(number: int, track: Track = UNTRACKED) -> Execute:
    """Processes of their own that take one trial after the other, until none is left; of several GPUs each has one."""

    def execute(
        study: Study, trials: Sequence[Trial], folder: StudyFolder, registry: Registry, watcher: StudyWatcher
    ) -> None:
        until = max(trial.seed for trial in trials) - study.plan.first_seed + 1
        child = ("--quiet", "--parent", str(os.getpid()), "--until", str(until), *track.options)
        command = python_module("resnet_lab", "study", "run", "--resume", str(folder.folder), *child)
        used = max(arm.train.threads or 1 for arm in study.arms)
        most = max(1, allowed_cores() // used)
        if most < min(number, len(trials)):
            watcher.say(
                f"{most} at a time: trials of this study have {counted(used, 'thread')} each, all alike, and "
                f"{counted(allowed_cores(), 'core is', 'cores are')} there"
            )
        taken = min(number, len(trials), most)
        threads = str(threads_each(taken))
        environment = {
            "TORCHINDUCTOR_COMPILE_THREADS": threads,  # one compiles in the process itself, without starting others
            **os.environ,
            "OMP_NUM_THREADS": threads,
            PLUGINS_VARIABLE: ",".join(loaded_plugins(registry)),
        }
        chosen = any(":" in arm.train.device for arm in study.arms)  # a GPU by its number
        workers = [Child(command, environment | ({} if chosen else gpu_in_turn(number))) for number in range(taken)]
        try:
            with Interruption() as interruption:
                while any(worker.is_running for worker in workers):
                    interruption.check()
                    show(trials, folder, watcher)
                    time.sleep(POLL)
        finally:
            for worker in workers:
                worker.stop()
            ended = [worker.ended() for worker in workers]
        for worker, (code, last) in zip(workers, ended, strict=True):
            _require_done(code, last, worker.stderr())
        show(trials, folder, watcher)

    return execute


def _require_done(code: int, last: str, stderr: str) -> None:
    """A refusal of a process is one here, and a defect of it one here, with its traceback."""
    if code == 2:
        raise ConfigError(f"a process of the study ended: {last}")
    if code == 1:
        raise RuntimeError(f"a process of the study failed:\n{stderr}")
    if code:
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}: {last}"
        raise RunError(f"a process of the study {how}; what was saved is whole: resume with `study run --resume`")


def loaded_plugins(registry: Registry) -> list[str]:
    """Names by which another process loads the same."""
    return [plugin.name for plugin in registry.plugins if plugin.status == "loaded" and plugin.file is None]


def show(trials: Sequence[Trial], folder: StudyFolder, watcher: StudyWatcher) -> None:
    """Report the state of all trials."""
    outcomes = [outcome for trial in trials if (outcome := folder.outcome(trial)) is not None]
    watcher.show({trial.name: folder.state(trial) for trial in trials}, outcomes)
