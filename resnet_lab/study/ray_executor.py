"""Trials as tasks of a Ray cluster, which places them and restarts them elsewhere when a node is lost.

A task works in the study folder itself where that is on a disk all nodes share. With an address for artefacts it works
in a folder of its node's, which it keeps at that address as it goes; the driver, the process that the user started,
brings it into the study folder.
"""

import io
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from socket import gethostname
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from resnet_lab.core.errors import ConfigError, ResNetLabError, RunError
from resnet_lab.core.files import make_folder, write_atomically
from resnet_lab.core.history import Epoch
from resnet_lab.core.wording import shell_word
from resnet_lab.data.sources.permission import PERMISSIONS
from resnet_lab.device.gpu_shares import take_share
from resnet_lab.network.plugins import Registry, load
from resnet_lab.study.artefacts import Artefacts
from resnet_lab.study.deciding import decided, depends_on_device
from resnet_lab.study.design import Study
from resnet_lab.study.executing import POLL, Executor, StudyWatcher, loaded_plugins, show
from resnet_lab.study.ray_cluster import RayOptions, connect, gpus_of_trial, handlers_kept, trials_at_once
from resnet_lab.study.resolution import ResolvedArm
from resnet_lab.study.trials import StudyFolder, Trial, carry_out
from resnet_lab.train.interruption import Interrupted, Interruption
from resnet_lab.train.progress import TrainingWatcher
from resnet_lab.train.tracking import UNTRACKED, Track

GRACE = 60.0
"""Seconds that trials have to save their state when the study is stopped."""

AT_ONCE = 500
"""Tasks that are submitted to Ray at a time; each may hold a lock, and so an open file."""


class _Stopped(Exception):
    """`Interrupted` as raised by a task: that one does not survive pickling."""


@contextmanager
def on_ray(study: Study, ray_options: RayOptions, track: Track = UNTRACKED) -> Iterator[Executor]:
    """Connect to a cluster, to have trials run there.

    Raises:
        ConfigError: ray is not installed, no cluster answers, or no node has what a trial asks for.
        RunError: artefacts cannot be kept at the address.
    """
    try:
        import ray
    except ImportError:
        raise ConfigError('the executor ray needs the package ray: pip install "resnet-lab[ray]"') from None
    artefacts = None if ray_options.artefacts is None else Artefacts(ray_options.artefacts)
    if artefacts is not None:
        artefacts.require_writable()
    with redirect_stdout(io.StringIO()):  # where Ray reports lost nodes, between the lines of --json
        with handlers_kept():
            connect(ray_options.address)
        try:
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
            gpus = gpus_of_trial(study, ray_options, nodes)
            options: dict[str, Any] = {
                "num_cpus": ray_options.cpus,
                "num_gpus": gpus,
                "max_retries": ray_options.retries,
                "max_calls": 1 if gpus else 0,  # a process stays on the GPU that it first used
            }
            threads = max(1, int(ray_options.cpus))
            remote: Any = ray.remote  # whose `options()` would leave max_calls as it is
            task = remote(**options, retry_exceptions=[_Stopped])(_work)

            def decide(study: Study, registry: Registry, say: Callable[[str], None]) -> list[ResolvedArm]:
                if not depends_on_device(study):
                    return decided(study, registry, say, threads=threads)
                sharing = trials_at_once(ray_options, gpus, nodes)
                home = _Home.here(registry, gpus)
                asked = remote(**options)(_decide).remote(study, home, sharing, threads)
                answer: tuple[list[str], list[ResolvedArm]] = _answered(asked)
                for text in answer[0]:
                    say(text)
                return answer[1]

            def execute(
                study: Study, trials: Sequence[Trial], folder: StudyFolder, registry: Registry, watcher: StudyWatcher
            ) -> None:
                home = _Home.here(registry, gpus, track)
                _Drive(task, study, trials, folder, home, watcher, artefacts).carry_out()

            yield Executor(execute, decide)
        finally:
            ray.shutdown()


class _Drive:
    """One go through the trials, by the driver."""

    def __init__(
        self,
        task: Any,
        study: Study,
        trials: Sequence[Trial],
        folder: StudyFolder,
        home: "_Home",
        watcher: StudyWatcher,
        artefacts: Artefacts | None,
    ) -> None:
        self.task, self.study, self.trials = task, study, trials
        self.folder, self.watcher, self.artefacts = folder, watcher, artefacts
        self.home = home
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
                f"`resnet-lab study run --resume {shell_word(self.folder.folder)}` resumes them"
            )

    def _submit(self) -> None:
        """Submit trials that have not finished and are not another process's."""
        for _ in range(min(len(self.waiting), AT_ONCE - len(self.flying))):
            trial, claim = self.waiting.popleft(), ExitStack()
            if self.artefacts is not None and not self._claim(trial, claim):
                continue
            address = None if self.artefacts is None else self.artefacts.address
            place = _Place(self.home, self.folder.folder.resolve(), self.token, address)
            self.flying[self.task.remote(self.study, trial, place)] = trial, claim

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
        if not isinstance(cause, _Stopped):
            raise _reported(cause)
        self.lost.append((trial, str(cause)))

    def _cancel(self) -> None:
        """Have trials that run save their state."""
        import ray

        for reference in self.flying:
            ray.cancel(reference)
        if self.flying:
            ray.wait(list(self.flying), num_returns=len(self.flying), timeout=GRACE)
        for _, claim in self.flying.values():
            claim.close()


def _reported(cause: BaseException) -> BaseException:
    if isinstance(cause, ImportError):
        return RunError(f"a node of the Ray cluster cannot run trials: {cause}; install the same resnet-lab there")
    return cause


def _answered(reference: Any) -> Any:
    """Result of a task, as soon as it is finished.

    Raises:
        RunError: its process or node was lost, as were its retries.
        Interrupted: SIGINT or SIGTERM came; the task is given up.
    """
    import ray

    try:
        with Interruption() as interruption:
            while not ray.wait([reference], timeout=POLL)[0]:
                interruption.check()
        return ray.get(reference)
    except Interrupted:
        ray.cancel(reference)
        raise
    except ray.exceptions.RayTaskError as error:
        raise _reported(error.cause) from None
    except ray.exceptions.RayError as error:
        raise RunError(f"the node that timed the arms was lost: {str(error).strip().splitlines()[0]}") from None


@dataclass(frozen=True)
class _Home:
    """State of the driver: its folder, its permissions and its plugins.

    Attributes:
        allowed: environment variables by which the user lets data be fetched.
        plugins: by name.
        gpus: of a trial; None leaves it what it sees.
        track: trackers of a trial.
    """

    current: Path
    allowed: Mapping[str, str] = field(default_factory=dict)
    plugins: Sequence[str] = ()
    gpus: float | None = None
    track: Track = UNTRACKED

    @classmethod
    def here(cls, registry: Registry, gpus: float | None = None, track: Track = UNTRACKED) -> "_Home":
        allowed = {name: os.environ[name] for name in PERMISSIONS if name in os.environ}
        return cls(Path.cwd(), allowed, loaded_plugins(registry), gpus, track)

    @contextmanager
    def entered(self) -> Iterator[Registry]:
        """The same on a node, whose errors then name it."""
        with suppress(OSError):
            os.chdir(self.current)  # so that a study's relative paths mean the same
        os.environ.update(self.allowed)
        if self.gpus is not None:
            take_share(self.gpus)
        try:
            yield load(only=self.plugins)
        except Interrupted as error:
            raise _Stopped(str(error)) from None
        except ResNetLabError as error:
            raise type(error)(f"{error} (on node {gethostname()})") from None


@dataclass(frozen=True)
class _Place:
    """The study folder, a file there that shows whether a node sees it, and the artefacts."""

    home: _Home
    folder: Path
    token: Path
    artefacts: str | None


def _decide(study: Study, home: _Home, sharing: int, threads: int) -> tuple[list[str], list[ResolvedArm]]:
    """Decide on a node's device, with messages, in a process of Ray's."""
    notes: list[str] = []
    with home.entered() as registry:
        return notes, decided(study, registry, notes.append, sharing, threads=threads)


def _work(study: Study, trial: Trial, place: _Place) -> None:
    """A trial, by a process of Ray's."""
    with place.home.entered() as registry:
        if place.artefacts is not None:
            _apart(study, trial, Artefacts(place.artefacts), registry, place.home.track)
        elif place.token.exists():
            shared, watcher = StudyFolder(place.folder), TrainingWatcher()
            while carry_out(study, trial, shared, registry, watcher, place.home.track) is None:
                time.sleep(POLL)
        else:
            raise RunError(f"{place.folder} cannot be seen; put it on a disk that all nodes share, or give --artifacts")


def _apart(study: Study, trial: Trial, artefacts: Artefacts, registry: Registry, track: Track = UNTRACKED) -> None:
    """Run a trial in a folder of this node's, fetching its artefacts first and storing them afterwards."""
    with TemporaryDirectory(prefix="resnet-lab-") as temporary:
        folder = StudyFolder(Path(temporary))
        make_folder(folder.trials)
        if artefacts.has(trial):
            artefacts.get(trial, folder)
        if folder.outcome(trial) is not None:
            return
        try:
            carry_out(study, trial, folder, registry, _Keeping(trial, artefacts, folder), track)
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
