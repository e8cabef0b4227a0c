import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from socket import gethostname
from types import SimpleNamespace
from typing import Any

import pytest

from resnet_lab.cli.study_executors import Where
from resnet_lab.core.errors import ConfigError, RunError
from resnet_lab.network.plugins import load
from resnet_lab.study import ray_executor
from resnet_lab.study.artefacts import Artefacts
from resnet_lab.study.deciding import decided
from resnet_lab.study.executing import Executor, in_processes, one_by_one
from resnet_lab.study.ray_cluster import RayOptions, gpus_of_trial, trials_at_once
from resnet_lab.study.ray_executor import on_ray
from resnet_lab.study.running import as_run
from resnet_lab.study.trials import StudyFolder, carry_out, trials_of
from resnet_lab.train.interruption import Interrupted
from resnet_lab.train.progress import TrainingWatcher
from resnet_lab.train.tracking import UNTRACKED
from tests.study.resuming import resumed
from tests.study.small import Listening, study, table

REGISTRY = load(only=[])
ONE_THREAD = {"OMP_NUM_THREADS": "1"}  # sums of several are rounded otherwise


def enter(ray_options: RayOptions) -> None:
    with on_ray(study(), ray_options):
        pass


def test_ray_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError) as failure:
        enter(RayOptions())
    assert str(failure.value) == 'the executor ray needs the package ray: pip install "resnet-lab[ray]"'


def executing(**wishes: Any) -> AbstractContextManager[Executor]:
    return Where(**wishes).executing(study(), 10, REGISTRY, UNTRACKED)


def test_options_that_exclude_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError) as failure, executing(executor="ray", processes="2"):
        pass
    assert str(failure.value) == (
        "--processes is for this machine, --executor ray has the cluster decide how many trials run at a time by "
        "--cpus-per-trial and --gpus-per-trial; give one of them"
    )
    with pytest.raises(ConfigError) as failure, executing(retries=1):
        pass
    assert str(failure.value) == "--retries is for a Ray cluster; give --executor ray too"
    with executing() as where:
        assert isinstance(where.execute, partial)
        assert where.execute.func is one_by_one
    monkeypatch.setattr("resnet_lab.study.concurrency.measured_processes", lambda *arguments: 2)
    for processes in ("2", "auto"):
        with executing(processes=processes) as where:
            assert where.execute.__qualname__ == in_processes(2).__qualname__
            assert isinstance(where.decide, partial)
            assert where.decide.keywords == {"sharing": 2}
    for processes in ("0", "-1", "two", "1.5", ""):
        with pytest.raises(ConfigError) as failure, executing(processes=processes):
            pass
        assert str(failure.value) == f"--processes is {processes!r}; give a whole number of at least 1, or auto"


def test_what_a_node_must_have() -> None:
    """GPUs are asked for where an arm may use one and there is one."""
    cpus, gpus = [{"CPU": 2.0}, {"CPU": 4.0}], [{"CPU": 2.0}, {"CPU": 8.0, "GPU": 2.0}]
    on_gpu = study(train={"device": "auto"})
    assert [gpus_of_trial(each, RayOptions(), nodes) for each in (study(), on_gpu) for nodes in (cpus, gpus)] == [
        0, 0, 0, 1,
    ]  # fmt: skip
    assert gpus_of_trial(study(), RayOptions(gpus=0.25, cpus=8), gpus) == 0.25
    for ray_options, nodes, message in (
        (RayOptions(gpus=1), cpus, "the 1 CPUs and 1 GPUs that each trial asks for; the largest has 4 CPUs and 0 GPUs"),
        (RayOptions(cpus=9), gpus, "the 9 CPUs and 0 GPUs that each trial asks for; the largest has 8 CPUs and 2 GPUs"),
        (RayOptions(), [], "the 1 CPUs and 0 GPUs that each trial asks for; the largest has 0 CPUs and 0 GPUs"),
    ):
        with pytest.raises(ConfigError) as failure:
            gpus_of_trial(study(), ray_options, nodes)
        assert str(failure.value) == f"no node of the Ray cluster has {message}"
    with pytest.raises(ConfigError) as failure:
        gpus_of_trial(study(), RayOptions(gpus=1.5), gpus)
    assert str(failure.value) == "1.5 GPUs per trial: more than one must be a whole number"
    assert [trials_at_once(RayOptions(), share, gpus) for share in (0.25, 0.4, 1, 2)] == [4, 2, 1, 1]
    assert [trials_at_once(RayOptions(cpus=number), 0, cpus) for number in (0.5, 1, 3, 4)] == [8, 4, 1, 1]


def test_trials_on_the_cpu_ask_for_no_gpu() -> None:
    cpus, gpus = [{"CPU": 2.0}], [{"CPU": 2.0, "GPU": 2.0}]
    on_gpu = study(train={"device": "cuda"})
    for ray_options, nodes, why in (
        (RayOptions(gpus=0), gpus, "is 0"),
        (RayOptions(), cpus, "is not given, and no node has one"),
    ):
        with pytest.raises(ConfigError) as failure:
            gpus_of_trial(on_gpu, ray_options, nodes)
        assert str(failure.value) == (
            f"arm 'none' asks for device cuda, and trials get no GPU (--gpus-per-trial {why}); give --device auto or "
            "cpu"
        )
    assert gpus_of_trial(study(train={"device": "auto"}), RayOptions(gpus=0), gpus) == 0


@pytest.mark.parametrize(("gpus", "max_calls"), [(0, 0), (0.25, 1), (1, 1)])
def test_a_process_of_ray_s_serves_one_trial_where_it_has_a_gpu(
    monkeypatch: pytest.MonkeyPatch, gpus: float, max_calls: int
) -> None:
    """CUDA stays on the GPU on which a process began. The decorator's options are Ray's own, without a cluster."""
    ray = pytest.importorskip("ray")
    found: list[Any] = []

    def drive(task: Any, *others: Any) -> Any:
        found.append((task, others[3]))
        return SimpleNamespace(carry_out=lambda: None)

    nodes = [{"Alive": True, "Resources": {"CPU": 2.0, "GPU": 2.0}}]
    monkeypatch.setattr(ray_executor, "connect", lambda address: None)
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    monkeypatch.setattr(ray_executor, "_Drive", drive)
    with on_ray(study(), RayOptions(gpus=gpus)) as executor:
        executor.execute(study(), [], StudyFolder(Path()), REGISTRY, Listening())
    ((task, home),) = found
    assert task._default_options["num_gpus"] == gpus
    assert task._default_options["max_calls"] == max_calls
    assert home.gpus == gpus


def test_a_node_that_does_not_see_the_study_folder(tmp_path: Path) -> None:
    home = ray_executor._Home(tmp_path)
    place = ray_executor._Place(home, tmp_path / "study", tmp_path / "study" / ".driver-1", None)
    with pytest.raises(RunError) as failure:
        ray_executor._work(study(), trials_of(study())[0], place)
    assert str(failure.value) == (
        f"{tmp_path}/study cannot be seen; put it on a disk that all nodes share, or give --artifacts "
        f"(on node {gethostname()})"
    )


def test_a_node_decides_as_this_process_does_and_names_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # as a task does; undone after the test
    home, chosen = ray_executor._Home(tmp_path), study(budget={"steps": 20})
    notes: list[str] = []
    assert ray_executor._decide(chosen, home, 1, 1) == (notes, decided(chosen, REGISTRY, notes.append, threads=1))
    with pytest.raises(ConfigError) as failure:
        ray_executor._decide(study(train={"batch_size": 10**6, "compile": "auto"}), home, 1, 1)
    assert str(failure.value).startswith("arm 'none': batch_size is 1000000, and the training part has ")
    assert str(failure.value).endswith(f" (on node {gethostname()})")


def test_a_node_without_this_library(tmp_path: Path) -> None:
    home, folder = ray_executor._Home(tmp_path), StudyFolder(tmp_path)
    drive = ray_executor._Drive(None, study(), trials_of(study()), folder, home, Listening(), None)
    with pytest.raises(RunError) as failure:
        drive._failed(drive.trials[0], ModuleNotFoundError("No module named 'resnet_lab'"))
    assert str(failure.value) == (
        "a node of the Ray cluster cannot run trials: No module named 'resnet_lab'; install the same resnet-lab there"
    )
    with pytest.raises(KeyError):
        drive._failed(drive.trials[0], KeyError("a defect"))
    assert drive.lost == []


@pytest.mark.slow
def test_a_trial_resumes_from_its_artefacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped after an epoch on one node and resumed on another, it has the scores of one that nobody disturbed."""
    small = study(train={"epochs": 3})
    trial, kept = trials_of(small)[1], Artefacts(str(tmp_path / "kept"))
    kept.require_writable()
    quiet = StudyFolder(tmp_path / "quiet")
    undisturbed = carry_out(small, trial, quiet, REGISTRY, TrainingWatcher())
    assert undisturbed is not None

    epochs = []

    def stop(watcher: object, epoch: object, best: object) -> None:
        epochs.append(epoch)
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(ray_executor._Keeping, "epoch", stop)
        with pytest.raises(Interrupted):
            ray_executor._apart(small, trial, kept, REGISTRY)
    assert len(epochs) == 1
    with monkeypatch.context() as patch:
        patch.setattr("resnet_lab.study.trials.train", None)  # it is resumed
        ray_executor._apart(small, trial, kept, REGISTRY)
        patch.setattr("resnet_lab.study.trials.resume", None)  # it is over
        ray_executor._apart(small, trial, kept, REGISTRY)
    here = StudyFolder(tmp_path / "here")
    here.trials.mkdir(parents=True)
    kept.get(trial, here)
    outcome = here.outcome(trial)
    assert outcome is not None
    assert (outcome.scores, outcome.epochs) == (undisturbed.scores, 3)


ray = pytest.importorskip("ray", reason="needs the package ray")


@pytest.mark.slow
@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense", "auto"])
def test_a_cluster_that_does_not_answer(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/nowhere")
    start = time.monotonic()
    with pytest.raises(ConfigError) as failure:
        enter(RayOptions(address=address))
    assert str(failure.value) == (
        f"no Ray cluster answers at {address}; name the head's address, such as 10.0.0.1:6379, auto on a node of "
        "the cluster, or local to start one on this machine"
    )
    assert time.monotonic() - start < 15


def test_other_errors_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as failure:
        enter(RayOptions(address="ray://head:10001"))
    assert str(failure.value) == (
        "ray://head:10001: start the study on a node of the cluster, with --address auto, or by `ray job submit`; "
        "Ray's client is not used"
    )
    (tmp_path / "file").touch()
    with pytest.raises(RunError) as unwritable:
        enter(RayOptions(address="local", artefacts=str(tmp_path / "file")))
    assert str(unwritable.value).startswith(f"{tmp_path}/file: artefacts cannot be written there: ")


@pytest.fixture(scope="module")
def cluster() -> Iterator[object]:
    """A head that runs nothing and three nodes of one processor."""
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 80 * 2**20}
    short = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # paths of sockets are at most 107 bytes
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", short)
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("RAY_worker_niceness", "0")  # 15 by default, which on a busy machine is for ever
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **small})
        try:
            for _ in range(3):
                made.add_node(num_cpus=1, **small)
            yield made
        finally:
            made.shutdown()
            shutil.rmtree(short, ignore_errors=True)


def started(folder: StudyFolder, *options: str) -> "subprocess.Popen[str]":
    command = [
        sys.executable,
        "-m",
        "resnet_lab",
        "study",
        "run",
        "--resume",
        str(folder.folder),
        "--quiet",
        "--no-bench",
        *options,
    ]
    return subprocess.Popen(command, env={**os.environ, **ONE_THREAD}, stderr=subprocess.PIPE, text=True)


def wait_until(happened: object, process: "subprocess.Popen[str]") -> None:
    while not happened():  # type: ignore[operator]
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.2)


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    """The table of the local executor."""
    folder = StudyFolder(tmp_path_factory.mktemp("quiet"))
    folder.note(study(seeds=2))
    assert resumed(folder) == [0]
    return table(folder.folder)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "where", [pytest.param("shared", marks=pytest.mark.slow), pytest.param("apart", marks=pytest.mark.long)]
)
def test_a_lost_node_changes_nothing(cluster, quiet, where: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """One of three nodes is killed while all have work; every trial ends, with the bits of the local executor."""
    folder = StudyFolder(tmp_path / "study")
    folder.note(study(seeds=2))
    options = ["--executor", "ray", "--address", cluster.address]
    if where == "apart":
        options += ["--artifacts", f"file://{tmp_path}/kept"]
    driver = started(folder, *options)
    wait_until(lambda: table(folder.folder), driver)
    cluster.remove_node(sorted(cluster.worker_nodes, key=lambda node: node.node_id)[0], allow_graceful=False)
    stderr = driver.communicate()[1]
    cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    assert (driver.returncode, stderr) == (0, "")
    assert table(folder.folder) == quiet
    assert len(quiet) == 4
    assert [path for path in folder.folder.iterdir() if path.name.startswith(".")] == []
    for trial in trials_of(study(seeds=2)):
        assert len(folder.run(trial).seconds()) == 1
        assert folder.run(trial).read()["status"] == "finished"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_stopped_driver_saves_and_resumes(cluster, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """SIGTERM stops the driver; its trials are resumed here, to the bits of an uninterrupted study."""
    long = study(train={"epochs": 8}, seeds=1)
    folder, alone = StudyFolder(tmp_path / "study"), StudyFolder(tmp_path / "alone")
    for each in (folder, alone):
        each.note(long)
    driver = started(folder, "--executor", "ray", "--address", cluster.address)
    wait_until(lambda: len(list(folder.trials.glob("*/state.safetensors"))) == 2, driver)
    driver.send_signal(signal.SIGTERM)
    stderr = driver.communicate()[1]
    assert driver.returncode == 143
    assert stderr == f"resnet-lab: stopped by SIGTERM; resume with `resnet-lab study run --resume {folder.folder}`\n"
    assert {folder.run(trial).read()["status"] for trial in trials_of(long)} == {"stopped by SIGINT"}
    assert resumed(folder, alone) == [0, 0]
    assert table(folder.folder) == table(alone.folder)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_is_left_to_the_device_a_node_decides(cluster, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    ray_here = ("--executor", "ray", "--address", cluster.address)
    folder = StudyFolder(tmp_path / "large")
    folder.note(study(train={"batch_size": 10**6, "compile": "auto"}))
    driver = started(folder, *ray_here)
    assert driver.communicate()[1].endswith(f"; give at most as many (on node {gethostname()})\n")
    assert driver.returncode == 2
    small, folder = study(train={"compile": "auto"}, seeds=1), StudyFolder(tmp_path / "small")
    folder.note(small)
    assert started(folder, *ray_here).wait() == 0
    assert [arm.train.compile for arm in as_run(small, folder).arms] == ["off", "off"]
    assert sorted(table(folder.folder)) == sorted(trial.name for trial in trials_of(small))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_missing_resources_are_reported_before_anything_runs(cluster, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = StudyFolder(tmp_path)
    folder.note(study())
    driver = started(folder, "--executor", "ray", "--address", cluster.address, "--gpus-per-trial", "1")
    assert driver.communicate()[1] == (
        "resnet-lab: no node of the Ray cluster has the 1 CPUs and 1 GPUs that each trial asks for; the largest has 1 "
        "CPUs and 0 GPUs\n"
    )
    assert driver.returncode == 2
    assert table(folder.folder) == {}


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_lost_trial_is_reported_and_can_be_resumed(cluster, quiet, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """A node is killed, and no retry was wished for; the others' trials come to their end."""
    folder = StudyFolder(tmp_path / "study")
    folder.note(study(seeds=2))
    driver = started(folder, "--executor", "ray", "--address", cluster.address, "--retries", "0")
    wait_until(lambda: len(list(folder.trials.glob("*/run.json"))) == 3, driver)
    cluster.remove_node(sorted(cluster.worker_nodes, key=lambda node: node.node_id)[0], allow_graceful=False)
    stderr = driver.communicate()[1]
    cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    assert driver.returncode == 2
    assert re.fullmatch(
        r"resnet-lab: 1 of 4 trials were lost with their process or node, as were their retries, the first \S+: .+; "
        rf"`resnet-lab study run --resume {folder.folder}` resumes them\n",
        stderr,
    )
    assert len(table(folder.folder)) == 3
    assert resumed(folder) == [0]
    assert table(folder.folder) == quiet
