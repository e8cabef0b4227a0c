"""Contents of a bench's page, from the file of a bench or from one that was just made."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field

from resnet_lab.bench.config import Mode
from resnet_lab.bench.results import REMEDY, Machine, TimedArm, TimedMode
from resnet_lab.core.errors import RunError
from resnet_lab.core.records import Count, Entries, Items, NotNegative, Number, OpenRecord, Positive, bounded, validated


class _Frozen(OpenRecord):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class BenchTiming(_Frozen, TimedMode):
    """An arm's time in one mode, in ms."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)
    iqr_ms: NotNegative
    noisy: bool


class OperatorKind(_Frozen):
    """All operators of one kind in a forward pass of a batch.

    Attributes:
        seconds, floor: that they take, and that they take at least.
        macs, nbytes: multiply-adds, and bytes moved.
    """

    kind: str
    calls: Count
    seconds: NotNegative
    floor: NotNegative
    macs: Number
    nbytes: Number


class OperatorTimes(_Frozen):
    """Time of an arm by kind of operator, and seconds by stage."""

    operators: Items[OperatorKind]
    stages: Entries[NotNegative]


class BenchArmRow(_Frozen, TimedArm):
    """An arm of a bench; without times where it could not be timed."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)
    network: str
    size: Count
    precision: str
    parameters: Number
    macs: Number
    moved_bytes: Number
    floor_ms: NotNegative
    fused_floor_ms: NotNegative
    latency: BenchTiming | None = None
    infer: BenchTiming | None = None
    train: BenchTiming | None = None
    profile: OperatorTimes | None = None

    def timing(self, mode: Mode) -> BenchTiming | None:
        """Its time in a mode; None where it has none."""
        found: BenchTiming | None = getattr(self, mode)
        return found


class Roofline(_Frozen):
    """Peak rates of a device per second: bytes, and multiply-adds by precision."""

    bandwidth: Positive
    macs: Entries[Positive]


class GrowthRate(_Frozen):
    """A time that grows as a power of a quantity."""

    mode: Mode
    quantity: str
    values: Items[Number]
    exponent: float
    interval: Annotated[list[float], Field(min_length=2, max_length=2)] | None
    misfit: float


class BenchContents(_Frozen):
    """Everything on a bench's page.

    Attributes:
        arms: the baseline first.
        control: a second copy of the baseline, by mode.
        left_out: why, by arm.
        reasons: sentences by arm, where they were asked for.
    """

    machine: Annotated[Machine, BeforeValidator(bounded)]
    remarks: Items[str]
    created: str
    rounds: Count
    arms: Annotated[Items[BenchArmRow], Field(min_length=1)]
    control: Entries[BenchTiming]
    left_out: Entries[str]
    roof: Roofline
    scaling: Items[GrowthRate] = Field(default_factory=list)
    reasons: Entries[Items[str]] = Field(default_factory=dict)

    @property
    def modes(self) -> list[Mode]:
        """Modes in which the baseline was timed, in the order of the file."""
        modes: tuple[Mode, ...] = ("latency", "infer", "train")
        return [mode for mode in modes if self.arms[0].timing(mode) is not None]


def contents_of(content: Mapping[str, Any], where: str) -> BenchContents:
    """The contents of a bench's page.

    Args:
        content: as `results.as_json` gives it, or `results.read`.
        where: it comes from, for errors.

    Raises:
        RunError: it is damaged.
    """
    return validated(BenchContents, content, where, RunError, REMEDY)
