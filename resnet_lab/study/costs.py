"""Cost of each arm of a study on the device that it ran on: a bench of them all, kept as `bench.json`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from resnet_lab.bench.arms import BenchArm
from resnet_lab.bench.config import Mode
from resnet_lab.bench.measuring import bench
from resnet_lab.bench.results import REMEDY, as_json, read
from resnet_lab.bench.statistics import median_interval
from resnet_lab.bench.timed_networks import MODES
from resnet_lab.core.errors import ConfigError, RunError
from resnet_lab.core.files import write_atomically
from resnet_lab.core.locks import claimed, held
from resnet_lab.core.processor import allowed_cores
from resnet_lab.core.records import repr_of
from resnet_lab.core.watcher import SILENT, Watcher
from resnet_lab.device import choose
from resnet_lab.device.threads import using_threads
from resnet_lab.network.plugins import Registry
from resnet_lab.study.design import Arm
from resnet_lab.study.trials import StudyFolder


@dataclass(frozen=True)
class ArmCost:
    """Cost of one arm in one mode of the bench.

    Attributes:
        median_ms: of a call: one image (`latency`), or a batch (`infer`, `train`).
        interval_ms: of that median; None with too few rounds.
        ratio: median over the rounds of its time by the baseline's.
        ratio_interval: of that.
        images: of a call.
        memory: peak in bytes beside the weights; None where it is unknown.
    """

    median_ms: float
    interval_ms: tuple[float, float] | None
    ratio: float
    ratio_interval: tuple[float, float] | None
    images: int
    memory: int | None

    @property
    def images_a_second(self) -> float:
        """Throughput."""
        return 1000 * self.images / self.median_ms


@dataclass(frozen=True)
class Costs:
    """Costs of a whole study.

    Attributes:
        arms: by arm and mode; an arm that could not be timed has none.
        machine: what they were taken on.
        remarks: what a reader should know of how they were taken.
    """

    arms: Mapping[str, Mapping[Mode, ArmCost]]
    machine: Mapping[str, Any]
    remarks: Sequence[str]

    def of(self, arm: str, mode: Mode) -> ArmCost | None:
        """An arm's cost in a mode, if it was measured."""
        return self.arms.get(arm, {}).get(mode)


def measure_costs(
    arms: Sequence[Arm], classes: int, folder: StudyFolder, registry: Registry, watcher: Watcher = SILENT
) -> str | None:
    """Bench all arms against the first and store the result, unless it exists; the reason where that fails.

    With as many threads as the trials have, or the fewest of them; no more than there are cores.

    Of several processes that come to it, one measures, and the others wait for it.
    """
    if being_measured(folder):
        watcher.say("another process measures the arms' costs; waiting for it")
    with held(folder.bench.with_suffix(".lock")):
        if kept_costs(arms, classes, folder) is not None:
            return None
        watcher.begin("measuring the arms' costs", 1)
        device, threads = arms[0].train.device, [arm.train.threads or torch.get_num_threads() for arm in arms]
        try:
            with using_threads(min(*threads, allowed_cores())):  # as in a trial
                found = bench([arm.for_bench(classes) for arm in arms], registry, device=device, watcher=watcher)
                content = as_json(found, choose(device).device)
        except ConfigError as error:
            return f"costs are not measured: {error}"
        write_atomically(folder.bench, json.dumps(content, indent=1).encode())
        return None


def being_measured(folder: StudyFolder) -> bool:
    """Whether a process is measuring a study's costs."""
    lock = folder.bench.with_suffix(".lock")
    if not lock.exists():
        return False
    with claimed(lock) as is_free:
        return not is_free


def kept_costs(arms: Sequence[Arm], classes: int, folder: StudyFolder) -> Costs | None:
    """Kept measurements of these very arms; None where there are none.

    Raises:
        RunError: the file is damaged, or of another format.
    """
    if not folder.bench.exists():
        return None
    content = read(folder.bench)
    rows: dict[str, Mapping[str, Any]] = {}
    for row in content["arms"]:
        if rows.setdefault(row["name"], row) is not row:
            raise RunError(f"{folder.bench}: damaged: the arm {repr_of(row['name'])} is listed twice; {REMEDY}")
    for each in (arm.for_bench(classes) for arm in arms):
        row = rows.get(each.name)
        if row is None or not _is_of(row, each):
            return None
    return Costs(
        {arm.name: {mode: _cost(rows[arm.name], mode) for mode in MODES if mode in rows[arm.name]} for arm in arms},
        content["machine"],
        [f"{arm.name}: {rows[arm.name]['problem']}" for arm in arms if rows[arm.name]["problem"]] + content["remarks"],
    )


def _is_of(row: Mapping[str, Any], arm: BenchArm) -> bool:
    """Whether a row is of that network, timed as the arm asks; what the arm leaves to the device may be anything."""
    compiled = {False: "off", True: "on"}.get(row["compile"], row["compile"])  # truth values are earlier versions'
    asked: dict[str, object] = {"spec_hash": arm.spec.hash, "batch": arm.batch, "compile": arm.compile}
    if arm.channels_last is not None:
        asked["channels_last"] = arm.channels_last
    if arm.precision != "auto":
        asked["precision"] = arm.precision
    return {**row, "compile": compiled}.items() >= asked.items()


def _cost(row: Mapping[str, Any], mode: Mode) -> ArmCost:
    timing = row[mode]
    interval = timing["interval"]
    return ArmCost(
        median_ms=timing["median_ms"],
        interval_ms=median_interval(timing["samples_ms"]),
        ratio=timing["ratio"],
        ratio_interval=None if interval is None else (interval[0], interval[1]),
        images=1 if mode == "latency" else row["batch"],
        memory=timing["memory"],
    )
