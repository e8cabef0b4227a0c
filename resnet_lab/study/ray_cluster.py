"""A Ray cluster, and what its nodes have for a trial."""

import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from resnet_lab.core.children import python_module
from resnet_lab.core.errors import ConfigError
from resnet_lab.study.design import Study

PATIENCE = 12.0
"""Seconds in which a cluster has to answer."""

OBJECT_STORE = 100 * 2**20
"""Bytes for objects of a cluster that is started here: next to nothing passes through it."""


@dataclass(frozen=True)
class RayOptions:
    """Options of a Ray cluster.

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


@contextmanager
def handlers_kept() -> Iterator[None]:
    """`ray.init` has SIGTERM end the program with a code of its own."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)


def trials_at_once(ray_options: RayOptions, gpus: float, nodes: Sequence[dict[str, float]]) -> int:
    """Trials that share the memory of one device: of a GPU, or of the node with the most CPUs."""
    if gpus:
        return max(1, int(1 / gpus))
    return max(1, int(max(node.get("CPU", 0) for node in nodes) / ray_options.cpus))


def connect(address: str) -> None:
    """Have this process be a driver of the cluster; raises `ConfigError` where none answers."""
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
    """Require an answer, by a process of its own: `ray.init` would wait for minutes and print a lot."""
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


def gpus_of_trial(study: Study, ray_options: RayOptions, nodes: Sequence[dict[str, float]]) -> float:
    """GPUs of a trial, as wished for, or by what arms may use and nodes have.

    Raises:
        ConfigError: no node has that and the CPUs too.
    """
    gpus = ray_options.gpus
    if gpus is None:
        wanted = any(arm.train.device != "cpu" for arm in study.arms)
        gpus = float(wanted and any(node.get("GPU", 0) >= 1 for node in nodes))
    asking = next((arm for arm in study.arms if arm.train.device.startswith("cuda")), None)
    if asking is not None and not gpus:
        raise ConfigError(
            f"arm {asking.name!r} asks for device {asking.train.device}, and trials get no GPU (--gpus-per-trial "
            f"{'is 0' if ray_options.gpus == 0 else 'is not given, and no node has one'}); give --device auto or cpu"
        )
    if gpus > 1 and gpus % 1:
        raise ConfigError(f"{gpus:g} GPUs per trial: more than one must be a whole number")
    if not any(node.get("CPU", 0) >= ray_options.cpus and node.get("GPU", 0) >= gpus for node in nodes):
        largest = max(nodes, key=lambda node: (node.get("GPU", 0), node.get("CPU", 0)), default={})
        raise ConfigError(
            f"no node of the Ray cluster has the {ray_options.cpus:g} CPUs and {gpus:g} GPUs that each trial asks for; "
            f"the largest has {largest.get('CPU', 0):g} CPUs and {largest.get('GPU', 0):g} GPUs"
        )
    return gpus
