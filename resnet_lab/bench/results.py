"""A bench as a file: JSON with every sample, CSV and Markdown; and two of them compared."""

import csv
import io
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from math import isclose
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from resnet_lab.bench.conditions import gpu_facts
from resnet_lab.bench.measuring import Bench, BenchResult
from resnet_lab.bench.reasons import Profile
from resnet_lab.bench.scaling import exponents
from resnet_lab.bench.statistics import RESOLUTION, Timing, Verdict, quotient_interval
from resnet_lab.bench.timed_networks import MODES
from resnet_lab.core.errors import ConfigError, RunError
from resnet_lab.core.escaping import cell, markdown
from resnet_lab.core.records import Count, Items, Number, OpenRecord, Positive, bounded, read_json, repr_of, validated
from resnet_lab.core.wording import counted, large

FORMAT = 1
MACHINE = ("type", "name", "threads", "torch")
"""Conditions that two files must have in common to be compared."""


REMEDY = "restore the file, or measure again"

ROUNDING = 1e-6
"""Relative difference of a figure that is computed again."""


def _ascending(ends: list[float]) -> list[float]:
    """Ends of an interval, the lower first; raises for pydantic."""
    if ends[0] > ends[1]:
        raise PydanticCustomError("interval", "Input should have the lower end first")
    return ends


class TimedMode(OpenRecord):
    """An arm in one mode."""

    median_ms: Positive
    ratio: Positive
    interval: Annotated[list[Positive], Field(min_length=2, max_length=2), AfterValidator(_ascending)] | None
    verdict: Verdict
    samples_ms: Annotated[Items[Positive], Field(min_length=1)]
    memory: Number | None = None

    @model_validator(mode="after")
    def _of_its_samples(self) -> Self:
        """Raise for pydantic where the median is not that of the samples, or the ratio not in its interval."""
        if not isclose(self.median_ms, own := median(self.samples_ms), rel_tol=ROUNDING):
            raise PydanticCustomError(
                "contradiction",
                "Median_ms is {stated}, and {own} by its samples",
                {"stated": f"{self.median_ms:g}", "own": f"{own:g}"},
            )
        low, high = self.interval or (self.ratio, self.ratio)
        if not low * (1 - ROUNDING) <= self.ratio <= high * (1 + ROUNDING):
            raise PydanticCustomError(
                "contradiction",
                "Ratio is {stated}, outside its interval of {low} to {high}",
                {"stated": f"{self.ratio:g}", "low": f"{low:g}", "high": f"{high:g}"},
            )
        return self


def _timed(mode: TimedMode | None) -> TimedMode:
    """Timing of a mode, which is left out where it was not measured; raises for pydantic."""
    if mode is None:
        raise PydanticCustomError("timing", "Input should be a table, or be left out")
    return mode


_Mode = Annotated[TimedMode | None, AfterValidator(_timed)]


class TimedArm(OpenRecord):
    """An arm; one that could not be timed has the reason."""

    name: str
    maker: str
    spec_hash: str
    batch: Count
    dtype: str
    channels_last: bool
    compile: str | bool
    problem: str | None
    latency: _Mode = None
    infer: _Mode = None
    train: _Mode = None


class Machine(OpenRecord):
    """Device of an arm's timing, without drivers, versions and the like."""

    __pydantic_extra__: dict[str, str | int | float | bool | None]
    type: str
    name: str
    threads: int
    torch: str


class ResultFile(OpenRecord):
    """A file of `bench --out`, as far as it is read again."""

    format: int
    arms: Items[TimedArm]
    machine: Annotated[Machine, BeforeValidator(bounded)]
    remarks: Items[str]


def as_json(found: Bench, device: torch.device, profiles: Mapping[str, Profile] | None = None) -> dict[str, Any]:
    """Everything that was found, with what it was found on."""
    return {
        "format": FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(device, str(found.results[0].placement["name"])),
        "rounds": found.rounds,
        "arms": [_arm(result, (profiles or {}).get(result.arm.name)) for result in found.results],
        "control": {mode: _timing(timing) for mode, timing in found.control.items()},
        "left_out": found.left_out,
        "remarks": found.remarks,
        "roof": asdict(found.roof),
        "scaling": [asdict(each) for mode in found.control for each in exponents(found.results, mode)],
    }


def machine(device: torch.device, name: str) -> dict[str, Any]:
    """Describe the machine: device, driver and power limit, threads, versions, commit of this program."""
    return {
        "type": device.type,
        "name": name,
        "threads": torch.get_num_threads(),
        **gpu_facts(device),
        "python": platform.python_version(),
        **{name: _version(name) for name in ("resnet-lab", "torch", "torchvision", "timm")},
        "commit": _commit(),
    }


def _arm(result: BenchResult, profile: Profile | None) -> dict[str, Any]:
    arm, placement = result.arm, result.placement
    content: dict[str, Any] = {
        "name": arm.name,
        "maker": arm.maker,
        "network": arm.spec.name,
        "spec_hash": arm.spec.hash,
        "size": arm.spec.input_size,
        "batch": arm.batch,
        "dtype": placement["dtype"],
        "precision": placement["precision"],
        "channels_last": placement["channels_last"],
        "compile": arm.compile,
        "checkpoint_activations": arm.recomputes,
        "kernels": list(result.kernels),
        **asdict(result.static),
        "floor_ms": result.floor.alone_ms,
        "fused_floor_ms": result.floor.fused_ms,
        "problem": result.problem,
        **{mode: {**_timing(timing), "memory": result.memory[mode]} for mode, timing in result.timings.items()},
    }
    if profile is not None:
        content["profile"] = {
            "operators": [{**asdict(share), "intensity": share.intensity} for share in profile.shares],
            "stages": profile.stages,
        }
    return content


def _timing(timing: Timing) -> dict[str, Any]:
    return {
        "median_ms": timing.median_ms,
        "iqr_ms": timing.iqr_ms,
        "n": timing.n,
        "ratio": timing.ratio,
        "interval": None if timing.interval is None else list(timing.interval),
        "verdict": timing.verdict,
        "noisy": timing.is_noisy,
        "samples_ms": list(timing.samples),
    }


COLUMNS = (
    "name", "maker", "network", "spec_hash", "size", "batch", "dtype", "channels_last", "compile", "parameters", "macs",
    "activations", "moved_bytes", "infer_bytes", "train_bytes", "floor_ms", "fused_floor_ms", "problem",
)  # fmt: skip
TIMED = ("median_ms", "iqr_ms", "n", "ratio", "low", "high", "verdict", "memory")


def as_csv(content: Mapping[str, Any]) -> str:
    """One row per arm, each with the machine it ran on."""
    text = io.StringIO()
    where = {f"machine_{key}": value for key, value in content["machine"].items()}
    columns = [*COLUMNS, *(f"{mode}_{name}" for mode in MODES for name in TIMED), *where]
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    for arm in content["arms"]:
        row = {name: arm[name] for name in COLUMNS} | where
        for mode in MODES:
            if mode in arm:
                low, high = arm[mode]["interval"] or (None, None)
                values = {**arm[mode], "low": low, "high": high}
                row |= {f"{mode}_{name}": values[name] for name in TIMED}
        table.writerow({name: cell(value) for name, value in row.items()})
    return text.getvalue()


def as_markdown(content: Mapping[str, Any]) -> str:
    """A table of the arms, and a line on what it was measured on."""
    modes = [mode for mode in MODES if mode in content["control"]]
    header = [
        "arm",
        "parameters",
        "MACs",
        *(f"{mode} (ms)" for mode in modes),
        *(f"{mode} ratio" for mode in modes),
    ]
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    for arm in content["arms"]:
        cells = [markdown(arm["name"]), f"{arm['parameters']:,}", large(arm["macs"])]
        cells += [f"{arm[mode]['median_ms']:.2f}" if mode in arm else "" for mode in modes]
        cells += [ratio_text(arm[mode]) if mode in arm else markdown(arm["problem"] or "") for mode in modes]
        lines.append(f"| {' | '.join(cells)} |")
    where = content["machine"]
    lines += [
        "",
        markdown(f"{where['name']}, {counted(where['threads'], 'thread')}, torch {where['torch']}")
        + f"; medians of up to {content['rounds']} "
        "interleaved rounds; ratios of time to the first arm's with 95% intervals. MACs are multiply-adds per image; "
        "FLOPs = 2 x MACs.",
        *(f"- {markdown(remark)}" for remark in content["remarks"]),
    ]
    return "\n".join(lines) + "\n"


def ratio_text(timing: Mapping[str, Any]) -> str:
    """A ratio with its interval."""
    if timing["verdict"] == "baseline":
        return "1"
    if timing["interval"] is None:
        return f"{timing['ratio']:.3f}"
    low, high = timing["interval"]
    return f"{timing['ratio']:.3f} ({low:.3f} to {high:.3f})"


def read(path: Path) -> dict[str, Any]:
    """A file of `bench --out`.

    Raises:
        RunError: it cannot be read, or is of another format.
    """
    content = read_json(path, RunError, remedy=REMEDY)
    if not isinstance(content, dict) or "arms" not in content or "machine" not in content:
        raise RunError(f"{path}: not a result of `resnet-lab bench --out`; name a file that it wrote")
    if content.get("format") != FORMAT:
        raise RunError(
            f"{path}: result format {repr_of(content.get('format'))}, and this resnet-lab reads {FORMAT}; "
            "measure again, or use the version that wrote it"
        )
    validated(ResultFile, content, f"{path}: damaged", RunError, REMEDY)
    return content


Agreement = Literal["agree", "differ", "undecided"]


@dataclass(frozen=True)
class Change:
    """An arm's ratio to its baseline in two files.

    Attributes:
        change: the new ratio by the old one.
        interval: of the change; None where one of the two has none.
        verdict: `agree` where the interval lies within the margin, `differ` where it lies beyond it, else
            `undecided`.
    """

    arm: str
    mode: str
    old: Mapping[str, Any]
    new: Mapping[str, Any]
    change: float
    interval: tuple[float, float] | None
    verdict: Agreement


def diff(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    names: tuple[str, str],
    *,
    margin: float = RESOLUTION,
    unlike: bool = False,
) -> list[Change]:
    """Every arm and mode that both files have.

    Args:
        margin: equivalence margin of changes, as a share.
        unlike: compare results of different machines too.

    Raises:
        ConfigError: the margin is no share.
        RunError: the machines are unlike, or the files have no arm in common.
    """
    if not 0 <= margin < 1:
        raise ConfigError(f"--margin {margin}: a margin is a share from 0 to below 1, such as 0.02 for 2%")
    differing = [key for key in MACHINE if old["machine"].get(key) != new["machine"].get(key)]
    if differing and not unlike:
        what = ", ".join(f"{key} {old['machine'].get(key)} and {new['machine'].get(key)}" for key in differing)
        raise RunError(
            f"{names[0]} and {names[1]} were measured on different machines ({what}); give --unlike to compare them"
        )
    before = {_identity(arm): arm for arm in old["arms"]}
    changes = [
        _change(arm["name"], mode, before[_identity(arm)][mode], arm[mode], margin)
        for arm in new["arms"]
        if _identity(arm) in before
        for mode in MODES
        if mode in arm and mode in before[_identity(arm)]
    ]
    if not changes:
        raise RunError(f"{names[0]} and {names[1]} have no arm in common; they were given other networks or settings")
    return changes


def _identity(arm: Mapping[str, Any]) -> tuple[Any, ...]:
    what = tuple(arm[key] for key in ("maker", "spec_hash", "batch", "dtype", "channels_last", "compile"))
    return *what, arm.get("checkpoint_activations", False), arm.get("precision") == "tf32"  # whose type is that of fp32


def _change(arm: str, mode: str, old: Mapping[str, Any], new: Mapping[str, Any], margin: float) -> Change:
    change = new["ratio"] / old["ratio"]
    if old["interval"] is None or new["interval"] is None:
        return Change(arm, mode, old, new, change, None, "undecided")
    low, high = quotient_interval(
        (new["ratio"], *new["interval"]),
        (old["ratio"], *old["interval"]),
    )
    if low >= 1 - margin and high <= 1 + margin:
        return Change(arm, mode, old, new, change, (low, high), "agree")
    apart = low > 1 + margin or high < 1 - margin
    return Change(arm, mode, old, new, change, (low, high), "differ" if apart else "undecided")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Commit of this program's own checkout, where it runs from one; `+` where files in it were changed."""
    here = Path(__file__).parent
    if not (here.parents[1] / "pyproject.toml").exists():  # installed, perhaps into somebody else's repository
        return None
    commands: Sequence[Sequence[str]] = (
        ("rev-parse", "--short=12", "HEAD"),
        ("status", "--porcelain", "--", str(here)),
    )
    try:
        commit, changed = (
            subprocess.run(
                ["git", "-C", str(here), *words], capture_output=True, text=True, check=True, timeout=10
            ).stdout
            for words in commands
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return commit.strip() + ("+" if changed.strip() else "")
