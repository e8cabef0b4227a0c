"""A whole bench: arms counted, checked, timed in interleaved rounds, and compared with the roofline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from resnet_lab.bench.arms import BenchArm
from resnet_lab.bench.conditions import Conditions
from resnet_lab.bench.config import INTERVAL, ROUNDS, Mode
from resnet_lab.bench.interleaved_timing import Timed, interleave
from resnet_lab.bench.operators import Operator, activations, largest_output, operators
from resnet_lab.bench.peers import InexpressibleError
from resnet_lab.bench.roofline import Roof, floors, measure_roof
from resnet_lab.bench.statistics import FEWEST, Timing, is_narrow, timing
from resnet_lab.bench.timed_networks import (
    DifferentError,
    InferenceCall,
    NetworkCache,
    TrainingCall,
    network_of,
    placement_of,
    ready,
)
from resnet_lab.core.errors import ConfigError
from resnet_lab.core.watcher import SILENT, Watcher
from resnet_lab.device import choose
from resnet_lab.device.memory import out_of_memory, peak_of_step, require_memory
from resnet_lab.network.plugins import Registry

MAX_ROUNDS = 100_000
ADAM = 4
"""Numbers of four bytes for each parameter in training: weight, gradient, and Adam's two moments."""

CONTROL = "baseline again"
"""A second copy of the baseline, by whose ratio one sees how far two equal arms come out apart."""


@dataclass(frozen=True)
class Static:
    """Counts that need no execution, for one image by default.

    Attributes:
        macs: multiply-adds of convolutions and matrix products; FLOPs = 2 x MACs.
        activations: elements that these put out.
        moved_bytes: that operators read and write, each by itself, in the arm's type.
        fused_bytes: those of convolutions and matrix products alone: with perfect fusion.
        infer_bytes: estimate of the memory that inference of the arm's batch takes.
        train_bytes: estimate of the memory that a training step of the batch takes, every output kept.
        stages: multiply-adds of each stage.
        kinds: multiply-adds of each kind of operator.
    """

    parameters: int
    macs: int
    activations: int
    moved_bytes: int
    fused_bytes: int
    infer_bytes: int
    train_bytes: int
    stages: dict[str, int]
    kinds: dict[str, int]


@dataclass(frozen=True)
class Floor:
    """Milliseconds that inference of the batch takes at least, by the device's measured bandwidth and matrix rate."""

    alone_ms: float
    fused_ms: float


@dataclass
class BenchResult:
    """Results of one arm.

    Attributes:
        problem: why it could not be timed; None where it was.
        kernels: of plugins that its training step ran.
        timings, memory: by mode; memory in bytes in addition to the weights, None where it is unknown.
    """

    arm: BenchArm
    static: Static
    placement: dict[str, object]
    floor: Floor
    operators: list[Operator]
    problem: str | None = None
    kernels: tuple[str, ...] = ()
    timings: dict[Mode, Timing] = field(default_factory=dict)
    memory: dict[Mode, int | None] = field(default_factory=dict)


@dataclass
class Bench:
    """Results of a bench.

    Attributes:
        results: the baseline's first.
        control: timings of a second copy of the baseline, by mode.
        left_out: arms that a peer cannot express, and why.
        remarks: what a reader should know of how the times were taken.
        rounds: at most.
    """

    results: list[BenchResult]
    control: dict[Mode, Timing]
    left_out: dict[str, str]
    remarks: list[str]
    roof: Roof
    rounds: int


def bench(
    arms: Sequence[BenchArm],
    registry: Registry,
    *,
    modes: Sequence[Mode] = ("latency", "infer", "train"),
    rounds: int = ROUNDS,
    interval: float = INTERVAL,
    device: str = "auto",
    watcher: Watcher = SILENT,
) -> Bench:
    """Count, check and time arms; the first is the baseline.

    An arm that does not fit, cannot be compiled or computes something else is marked, and the others continue.

    Args:
        rounds: at most.
        interval: half width of an arm's ratio, as a share, at which its rounds end.

    Raises:
        SpecError, PluginError: an arm that cannot be built; found before anything is timed.
        ConfigError: the device or precision is not there, there are too many rounds, or nothing can be timed.
    """
    if rounds > MAX_ROUNDS:
        raise ConfigError(f"{rounds:,} rounds, and a bench has at most {MAX_ROUNDS:,}; give fewer with --rounds")
    target = choose(device).device
    results, left_out = _counted(arms, registry, device)
    watcher.begin("measuring bandwidth and matrix rate", 1)
    roof = measure_roof(target, [str(result.placement["precision"]) for result in results])
    for result in results:
        result.floor = _floor(result, roof)
    found = Bench(results, {}, left_out, [], roof, rounds)
    networks = NetworkCache(registry)
    for mode in modes:
        _time(found, mode, networks, device, target, watcher, interval)
    if not any(result.timings for result in results):
        raise ConfigError(f"no arm could be timed: {results[0].arm.name}: {results[0].problem}")
    return found


def _counted(arms: Sequence[BenchArm], registry: Registry, device: str) -> tuple[list[BenchResult], dict[str, str]]:
    results, left_out = [], {}
    for arm in arms:
        placement = placement_of(arm, device, registry)
        try:
            model = network_of(arm, registry, "meta")
        except InexpressibleError as error:
            left_out[arm.name] = str(error)
            continue
        size = arm.spec.input_size
        traced = operators(model, (1, arm.spec.in_channels, size, size))
        parameters = sum(parameter.numel() for parameter in model.parameters())
        static = _static(traced, parameters, placement.dtype, arm.batch)
        results.append(BenchResult(arm, static, placement.record(), Floor(0, 0), traced))
    if not results:
        name, cause = next(iter(left_out.items()))
        raise ConfigError(f"there is nothing to measure: {name}: {cause}")
    return results, left_out


def _static(traced: list[Operator], parameters: int, dtype: torch.dtype, batch: int) -> Static:
    itemsize = dtype.itemsize
    stages: dict[str, int] = {}
    kinds: dict[str, int] = {}
    for each in traced:
        stages[each.stage] = stages.get(each.stage, 0) + each.macs
        if each.macs:
            kinds[each.kind] = kinds.get(each.kind, 0) + each.macs
    return Static(
        parameters=parameters,
        macs=sum(each.macs for each in traced),
        activations=activations(traced),
        moved_bytes=sum(each.nbytes(itemsize) for each in traced),
        fused_bytes=sum(each.nbytes(itemsize) for each in traced if each.is_matrix),
        infer_bytes=itemsize * (parameters + batch * largest_output(traced)),
        train_bytes=4 * ADAM * parameters + itemsize * batch * sum(each.written for each in traced),
        stages=stages,
        kinds=kinds,
    )


def _floor(result: BenchResult, roof: Roof) -> Floor:
    """Floor of the batch; weights are read once, everything else once per image."""
    batch = result.arm.batch
    scaled = [
        Operator(
            kind=each.kind,
            stage=each.stage,
            macs=each.macs * batch,
            read=each.weights + (each.read - each.weights) * batch,
            written=each.written * batch,
            weights=each.weights,
        )
        for each in result.operators
        if each.kind != "batch_norm"  # which is folded into the convolutions
    ]
    alone, fused = floors(scaled, roof, str(result.placement["precision"]))
    return Floor(1000 * alone, 1000 * fused)


def _time(
    found: Bench,
    mode: Mode,
    networks: NetworkCache,
    device: str,
    target: torch.device,
    watcher: Watcher,
    interval: float,
) -> None:
    calls: dict[str, Timed] = {}
    watcher.begin(f"preparing: {mode}", len(found.results))
    for result in found.results:
        call = _ready(result, mode, networks, device, target)
        if call is not None:
            calls[result.arm.name] = call
        watcher.advance()
    baseline = found.results[0].arm
    if baseline.name not in calls:
        raise ConfigError(f"the baseline {baseline.name!r} cannot be timed: {found.results[0].problem}")
    calls[CONTROL] = ready(baseline, mode, networks, device)
    watcher.begin(f"timing: {mode}", found.rounds)

    def done(samples: Mapping[str, Sequence[float]]) -> set[str]:
        """Arms whose intervals are narrow; the baseline, with which they are compared, when all are."""
        if len(samples[baseline.name]) < FEWEST:
            return set()
        rest = [name for name in calls if name != baseline.name]
        over = {name for name in rest if is_narrow(timing(samples[name], samples[baseline.name]), interval)}
        return {*over, baseline.name} if len(over) == len(rest) else over

    turns = interleave(calls, found.rounds, target, watcher, done)
    first = turns.samples[baseline.name]
    for result in found.results:
        if result.arm.name in calls:
            result.timings[mode] = timing(turns.samples[result.arm.name], first)
    found.control[mode] = timing(turns.samples[CONTROL], first)
    found.remarks += [f"{mode}: {remark}" for remark in _remarks(turns.conditions, found, mode)]


def _ready(
    result: BenchResult, mode: Mode, networks: NetworkCache, device: str, target: torch.device
) -> InferenceCall | TrainingCall | None:
    """The arm's call, its memory measured; None where that failed, and why is in the result."""
    arm = result.arm
    batch = 1 if mode == "latency" else arm.batch
    try:
        if mode == "train":
            shape = (batch, arm.spec.in_channels, arm.spec.input_size, arm.spec.input_size)
            placement = placement_of(arm, device, networks.registry, training=True)
            require_memory(networks.of(arm), shape, placement, training=True, most=2 * result.static.train_bytes)
        call = ready(arm, mode, networks, device)
        if isinstance(call, TrainingCall):
            result.kernels = call.kernels
        compiled_on_processor = arm.compile != "off" and target.type == "cpu"
        peak = None if compiled_on_processor else peak_of_step(lambda _: call(), batch, target)
        result.memory[mode] = peak
    except (DifferentError, ConfigError) as error:
        result.problem = f"{mode}: {error}"
    except (RuntimeError, MemoryError) as error:
        message = out_of_memory(error, target, batch)
        if message is None:
            raise
        result.problem = f"{mode}: {message}"
    else:
        return call
    return None


def _remarks(conditions: Conditions, found: Bench, mode: Mode) -> list[str]:
    noisy = [result.arm.name for result in found.results if mode in result.timings and result.timings[mode].is_noisy]
    remarks = conditions.remarks()
    if noisy:
        remarks.append(f"times spread by more than 10%: {', '.join(noisy)}: more rounds narrow the intervals")
    control = found.control[mode]
    if control.verdict in ("faster", "slower"):
        remarks.append(
            f"a second copy of the baseline came out at {control.ratio:.3f} times its time: distrust differences of "
            "that size, and measure again with more rounds"
        )
    return remarks
