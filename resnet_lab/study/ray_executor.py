"""Trials as tasks of a Ray cluster, which places them and begins them anew elsewhere when a node is lost.

A task works in the study folder itself where that is on a disk all nodes share. With an address for artefacts it works
in a folder of its node's, which it keeps at that address as it goes; the driver, the process that the user started,
brings it into the study folder.
"""

import io
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from socket import gethostname
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from resnet_lab.core.children import python_module
from resnet_lab.core.errors import ConfigError, ResNetLabError, RunError
from resnet_lab.core.files import make_folder, write_atomically
from resnet_lab.data.sources.permission import PERMISSIONS
from resnet_lab.network.plugins import Registry, load
from resnet_lab.study.artefacts import Artefacts
from resnet_lab.study.design import Study
from resnet_lab.study.executing import POLL, Execute, StudyWatcher, loaded_plugins, show
from resnet_lab.study.trials import StudyFolder, Trial, carry_out
from resnet_lab.train.history import Epoch
from resnet_lab.train.interruption import Interrupted, Interruption
from resnet_lab.train.watching import TrainingWatcher

PATIENCE = 12.0
"""Seconds in which a cluster has to answer."""

GRACE = 60.0
"""Seconds that trials have to save their state when the study is stopped."""

AT_ONCE = 500
"""Tasks that are handed to Ray before the first of them is over; each may hold a lock, and so an open file."""

OBJECT_STORE = 100 * 2**20
"""Bytes for objects of a cluster that is started here: next to nothing passes through it."""


@dataclass(frozen=True)
class Wishes:
    """What trials are to run on.

    Attributes:
        address: of the cluster's head, `auto` for the one this machine belongs to, or `local` to start one here.
        gpus: of a trial; a fraction shares one. None is 1 where an arm may use a GPU and the cluster has one, else 0.
        cpus: of a trial, which uses as many threads.
        retries: of a trial whose node or process was lost.
        artefacts: a folder or URL that all nodes reach; None where they share the study folder.
    """

    address: str = "auto"
    gpus: float | None = None
    cpus: float = 1
    retries: int = 3
    artefacts: str | None = None


class _Stopped(Exception):
    """`Interrupted` as a task tells it: that one does not survive pickling."""


@contextmanager
def on_ray(study: Study, wishes: Wishes) -> Iterator[Execute]:
    """Connect to a cluster; what it gives brings trials to their end there.

    Raises:
        ConfigError: ray is not installed, no cluster answers, or no node has what a trial asks for.
        RunError: artefacts cannot be kept at the address.
    """
    try:
        import ray
    except ImportError:
        raise ConfigError('the executor ray needs the package ray: pip install "resnet-lab[ray]"') from None
    artefacts = None if wishes.artefacts is None else Artefacts(wishes.artefacts)
    if artefacts is not None:
        artefacts.require_writable()
    with redirect_stdout(io.StringIO()):  # where Ray tells of lost nodes, between the lines of --json
        with _handlers_kept():
            _connect(wishes.address)
        try:
            gpus = _gpus(study, wishes, [node["Resources"] for node in ray.nodes() if node["Alive"]])  # type: ignore[no-untyped-call]
            task = ray.remote(_work).options(
                num_cpus=wishes.cpus,
                num_gpus=gpus,
                max_retries=wishes.retries,
                retry_exceptions=[_Stopped],
            )

            def execute(
                study: Study, trials: Sequence[Trial], folder: StudyFolder, registry: Registry, watcher: StudyWatcher
            ) -> None:
                _Drive(task, study, trials, folder, registry, watcher, artefacts).carry_out()

            yield execute
        finally:
            ray.shutdown()


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """`ray.init` has SIGTERM end the program with a code of its own."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)


def _connect(address: str) -> None:
    import ray

    if "://" in address:
        raise ConfigError(
            f"{address}: start the study on a node of the cluster, with --address auto, or by `ray job submit`; "
            "Ray's client is not used"
        )
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == "local":
        ray.init("local", include_dashboard=False, object_store_memory=OBJECT_STORE, **quiet)
        return
    _require_answer(address)
    try:
        ray.init(address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(f"the Ray cluster at {address} refuses: {' '.join(str(error).split())}") from None


def _require_answer(address: str) -> None:
    """By a process of its own, as `ray.init` would wait for minutes and say a lot."""
    command = python_module("ray.scripts.scripts", "health-check")
    if address != "auto":
        command += ["--address", address]
    try:
        answered = subprocess.run(command, capture_output=True, timeout=PATIENCE).returncode == 0
    except subprocess.TimeoutExpired:
        answered = False
    if not answered:
        raise ConfigError(
            f"no Ray cluster answers at {address}; name the head's address, such as 10.0.0.1:6379, auto on a node of "
            "the cluster, or local to start one on this machine"
        )


def _gpus(study: Study, wishes: Wishes, nodes: Sequence[dict[str, float]]) -> float:
    """Of a trial, once some node has that and the CPUs too."""
    gpus = wishes.gpus
    if gpus is None:
        wanted = any(arm.train.device != "cpu" for arm in study.arms)
        gpus = float(wanted and any(node.get("GPU", 0) >= 1 for node in nodes))
    if gpus > 1 and gpus % 1:
        raise ConfigError(f"{gpus:g} GPUs a trial: more than one must be a whole number")
    if not any(node.get("CPU", 0) >= wishes.cpus and node.get("GPU", 0) >= gpus for node in nodes):
        largest = max(nodes, key=lambda node: (node.get("GPU", 0), node.get("CPU", 0)), default={})
        raise ConfigError(
            f"no node of the Ray cluster has the {wishes.cpus:g} CPUs and {gpus:g} GPUs that each trial asks for; the "
            f"largest has {largest.get('CPU', 0):g} CPUs and {largest.get('GPU', 0):g} GPUs"
        )
    return gpus


class _Drive:
    """One go through the trials, by the driver."""

    def __init__(
        self,
        task: Any,
        study: Study,
        trials: Sequence[Trial],
        folder: StudyFolder,
        registry: Registry,
        watcher: StudyWatcher,
        artefacts: Artefacts | None,
    ) -> None:
        self.task, self.study, self.trials = task, study, trials
        self.folder, self.watcher, self.artefacts = folder, watcher, artefacts
        self.plugins = loaded_plugins(registry)
        self.token = folder.folder.resolve() / f".driver-{uuid4().hex}"
        self.waiting = deque(trial for trial in trials if folder.outcome(trial) is None)
        self.flying: dict[Any, tuple[Trial, ExitStack]] = {}
        self.lost: list[tuple[Trial, str]] = []

    def carry_out(self) -> None:
        make_folder(self.folder.trials)
        write_atomically(self.token, b"")
        try:
            with Interruption() as interruption:
                while self.waiting or self.flying:
                    interruption.check()
                    self._submit()
                    self._settle()
                    show(self.trials, self.folder, self.watcher)
        finally:
            self._cancel()
            self.token.unlink(missing_ok=True)
        show(self.trials, self.folder, self.watcher)
        if self.lost:
            trial, reason = self.lost[0]
            raise RunError(
                f"{len(self.lost)} of {len(self.trials)} trials were lost with their process or node, as were their "
                f"retries, the first {trial.name}: {reason}; "
                f"`resnet-lab study run --resume {self.folder.folder}` goes on"
            )

    def _submit(self) -> None:
        """Hand over what is not over, nor another process's."""
        for _ in range(min(len(self.waiting), AT_ONCE - len(self.flying))):
            trial, claim = self.waiting.popleft(), ExitStack()
            if self.artefacts is not None and not self._claim(trial, claim):
                continue
            address = None if self.artefacts is None else self.artefacts.address
            allowed = {name: os.environ[name] for name in PERMISSIONS if name in os.environ}
            place = _Place(Path.cwd(), self.folder.folder.resolve(), self.token, address, allowed)
            self.flying[self.task.remote(self.study, trial, place, self.plugins)] = trial, claim

    def _claim(self, trial: Trial, claim: ExitStack) -> bool:
        """Whether it still has to be run; tasks that see the study folder claim their trials themselves."""
        assert self.artefacts is not None
        if not claim.enter_context(self.folder.claimed(trial)):
            self.waiting.append(trial)
            return False
        if self.folder.outcome(trial) is not None:
            claim.close()
            return False
        if self.folder.run(trial).record.exists() and not self.artefacts.has(trial):
            self.artefacts.put(trial, self.folder)
        return True

    def _settle(self) -> None:
        """Take in what has come back, after a while at most."""
        import ray

        if not self.flying:
            time.sleep(POLL)
            return
        done, _ = ray.wait(list(self.flying), timeout=POLL)
        for reference in done:
            trial, claim = self.flying.pop(reference)
            with claim:
                try:
                    ray.get(reference)
                except ray.exceptions.RayTaskError as error:
                    self._failed(trial, error.cause)
                except ray.exceptions.RayError as error:
                    self.lost.append((trial, str(error).strip().splitlines()[0]))
                else:
                    if self.artefacts is not None:
                        self.artefacts.get(trial, self.folder)

    def _failed(self, trial: Trial, cause: BaseException) -> None:
        if isinstance(cause, _Stopped):
            self.lost.append((trial, str(cause)))
        elif isinstance(cause, ImportError):
            raise RunError(f"a node of the Ray cluster cannot run trials: {cause}; install the same resnet-lab there")
        else:
            raise cause

    def _cancel(self) -> None:
        """Have trials that run save their state."""
        import ray

        for reference in self.flying:
            ray.cancel(reference)
        if self.flying:
            ray.wait(list(self.flying), num_returns=len(self.flying), timeout=GRACE)
        for _, claim in self.flying.values():
            claim.close()


@dataclass(frozen=True)
class _Place:
    """Where the driver is and its study folder, a file there that shows whether a node sees it, and the artefacts.

    Attributes:
        allowed: environment variables by which the user lets data be fetched.
    """

    current: Path
    folder: Path
    token: Path
    artefacts: str | None
    allowed: dict[str, str] = field(default_factory=dict)


def _work(study: Study, trial: Trial, place: _Place, plugins: list[str]) -> None:
    """A trial, by a process of Ray's."""
    with suppress(OSError):
        os.chdir(place.current)  # so that a study's relative paths mean the same
    os.environ.update(place.allowed)
    try:
        registry = load(only=plugins)
        if place.artefacts is not None:
            _apart(study, trial, Artefacts(place.artefacts), registry)
        elif place.token.exists():
            while carry_out(study, trial, StudyFolder(place.folder), registry, TrainingWatcher()) is None:
                time.sleep(POLL)
        else:
            raise RunError(f"{place.folder} cannot be seen; put it on a disk that all nodes share, or give --artifacts")
    except Interrupted as error:
        raise _Stopped(str(error)) from None
    except ResNetLabError as error:
        raise type(error)(f"{error} (on node {gethostname()})") from None


def _apart(study: Study, trial: Trial, artefacts: Artefacts, registry: Registry) -> None:
    """In a folder of this node's, from where the artefacts are to where they shall be."""
    with TemporaryDirectory(prefix="resnet-lab-") as temporary:
        folder = StudyFolder(Path(temporary))
        make_folder(folder.trials)
        if artefacts.has(trial):
            artefacts.get(trial, folder)
        if folder.outcome(trial) is not None:
            return
        try:
            carry_out(study, trial, folder, registry, _Keeping(trial, artefacts, folder))
        finally:
            if folder.run(trial).record.exists() or folder.outcome(trial) is not None:
                artefacts.put(trial, folder)


class _Keeping(TrainingWatcher):
    """Keeps the run folder as artefacts as often as a training saves its state."""

    def __init__(self, trial: Trial, artefacts: Artefacts, folder: StudyFolder) -> None:
        self._trial, self._artefacts, self._folder = trial, artefacts, folder
        self._every = 60 * trial.arm.train.save_minutes
        self._next = time.monotonic() + self._every

    def epoch(self, epoch: Epoch, best: Epoch) -> None:
        if time.monotonic() > self._next:
            self._artefacts.put(self._trial, self._folder)
            self._next = time.monotonic() + self._every
