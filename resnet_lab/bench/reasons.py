"""Reasons for an arm's time: its operators by kind, compared with the roofline."""

from dataclasses import dataclass

from resnet_lab.bench.measuring import Bench, BenchResult
from resnet_lab.bench.operators import Operator, timed
from resnet_lab.bench.roofline import Roof
from resnet_lab.bench.timed_networks import images, network_of, placement_of
from resnet_lab.network.plugins import Registry

LISTED = 4
"""Kinds of operators that are named for an arm."""

SLOW = 4
"""Times its floor from which on an operator is neither bound by memory nor by arithmetic."""

LAUNCHED = 2e-5
"""Seconds of an operator on a GPU below which the time from its launch to its start decides."""


@dataclass(frozen=True)
class Share:
    """All operators of one kind in one forward pass, as they come: eager, batch norms not folded.

    Attributes:
        seconds: that they take.
        floor: seconds that they take at least.
        intensity: multiply-adds for each byte that is moved.
    """

    kind: str
    calls: int
    seconds: float
    floor: float
    macs: int
    nbytes: int

    @property
    def intensity(self) -> float:
        return self.macs / self.nbytes

    @property
    def lost(self) -> float:
        """Seconds above the floor."""
        return self.seconds - self.floor


@dataclass(frozen=True)
class Profile:
    """Breakdown of the time of an arm's forward pass of a batch.

    Attributes:
        shares: by kind, those that lose most first.
        stages: seconds by stage.
    """

    shares: tuple[Share, ...]
    stages: dict[str, float]


def profile(result: BenchResult, roof: Roof, registry: Registry, device: str) -> Profile:
    """Time an arm's operators one by one."""
    placement = placement_of(result.arm, device, registry)
    model = placement.place(network_of(result.arm, registry).to(placement.dtype))
    x = images(result.arm, result.arm.batch, placement)[0].to(placement.dtype)
    with placement.products():
        found = timed(model, x)
    stages: dict[str, float] = {}
    kinds: dict[str, list[tuple[Operator, float]]] = {}
    for operator, seconds in found:
        stages[operator.stage] = stages.get(operator.stage, 0.0) + seconds
        kinds.setdefault(operator.kind, []).append((operator, seconds))
    shares = [
        Share(
            kind=kind,
            calls=len(members),
            seconds=sum(seconds for _, seconds in members),
            floor=sum(roof.floor(operator, placement.precision) for operator, _ in members),
            macs=sum(operator.macs for operator, _ in members),
            nbytes=sum(operator.nbytes(placement.dtype.itemsize) for operator, _ in members),
        )
        for kind, members in kinds.items()
    ]
    return Profile(tuple(sorted(shares, key=lambda share: -share.lost)), stages)


def explain(found: Bench, profiles: dict[str, Profile]) -> dict[str, list[str]]:
    """Explain for each arm why it is faster or slower than its multiply-adds suggest.

    Args:
        profiles: of each arm that was timed, by name.
    """
    baseline = found.results[0]
    return {
        result.arm.name: (
            _of_the_baseline(result, profiles[result.arm.name], found.roof)
            if result is baseline
            else _against(result, baseline, profiles, found.roof)
        )
        for result in found.results
        if result.arm.name in profiles
    }


def _of_the_baseline(result: BenchResult, own: Profile, roof: Roof) -> list[str]:
    total = sum(share.seconds for share in own.shares)
    lines = [
        f"{share.kind}: {share.seconds / total:.0%} of the time in {share.calls} calls, "
        f"{_floors(share)}; {_bound(share, roof, result)}"
        for share in own.shares[:LISTED]
    ]
    if (timing := result.timings.get("infer")) is not None:
        lines.insert(
            0,
            f"inference of a batch takes {timing.median_ms:.1f} ms; by its bytes and multiply-adds it could take "
            f"{result.floor.alone_ms:.1f} ms operator by operator, {result.floor.fused_ms:.1f} ms with perfect fusion: "
            f"{result.floor.fused_ms / timing.median_ms:.0%} of what the device could do",
        )
    return lines


def _against(result: BenchResult, baseline: BenchResult, profiles: dict[str, Profile], roof: Roof) -> list[str]:
    own, other = ({share.kind: share for share in profiles[each.arm.name].shares} for each in (result, baseline))
    lines = []
    if (timing := result.timings.get("infer")) is not None:
        macs = result.static.macs / baseline.static.macs
        lines.append(
            f"{macs:.3f} times the multiply-adds, {result.static.moved_bytes / baseline.static.moved_bytes:.3f} times "
            f"the bytes, {timing.ratio:.3f} times the time of {baseline.arm.name} in inference"
        )
    changes = {
        kind: (own[kind].seconds if kind in own else 0.0) - (other[kind].seconds if kind in other else 0.0)
        for kind in own.keys() | other.keys()
    }
    total = sum(share.seconds for share in other.values())
    for kind in sorted(changes, key=lambda kind: -abs(changes[kind]))[:LISTED]:
        change = changes[kind]
        if abs(change) < 0.01 * total:
            break
        if kind not in own:
            lines.append(f"{kind} is gone: {-1000 * change:.1f} ms less")
            continue
        share = own[kind]
        word = "comes in" if kind not in other else "takes more" if change > 0 else "takes less"
        more = f"{1000 * abs(change):.1f} ms {'more' if change > 0 else 'less'}"
        lines.append(f"{kind} {word}: {more} in {share.calls} calls, {_floors(share)}; {_bound(share, roof, result)}")
    return lines


def _floors(share: Share) -> str:
    return f"{share.seconds / share.floor:.1f} times its floor" if share.floor > 0 else "without a floor"


def _bound(share: Share, roof: Roof, result: BenchResult) -> str:
    """Name the bound on the operators."""
    balance = roof.macs[str(result.placement["precision"])] / roof.bandwidth
    if not share.macs:
        what = "it moves bytes, which multiply-adds do not count"
    elif share.intensity < balance:
        what = f"{share.intensity:.1f} multiply-adds per byte where the device does {balance:.0f}: it is memory-bound"
    else:
        what = f"{share.intensity:.0f} multiply-adds per byte where the device does {balance:.0f}: it is compute-bound"
    if share.seconds > SLOW * share.floor:
        if result.placement["type"] != "cpu" and share.seconds < LAUNCHED * share.calls:
            return f"{what}, but too short to be told from its launches"
        what += ", but neither comes near: the kernel itself is slow here"
    return what
