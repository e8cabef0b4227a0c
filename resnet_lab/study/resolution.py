"""Decisions on what a study's design leaves open: `resolved.json`, read by all who run or report the study.

It is decided once. Epochs and learning rate are part of a trial's name: a second look at the clock could turn finished
trials into orphaned ones.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, Field

from resnet_lab.core.errors import RunError
from resnet_lab.core.files import write_atomically
from resnet_lab.core.records import Count, Entries, Record, read_json, validated
from resnet_lab.study.design import Arm, Study
from resnet_lab.study.plan import Plan
from resnet_lab.study.trials import StudyFolder, prefix_of
from resnet_lab.train.config import Positive

FORMAT = 1

REMEDY = "remove it, and what the finished trials were trained with is taken up again"

Compilation = Literal["off", "on", "max"]

_TRIAL = re.compile(r"(.+-[0-9a-f]{12})(?:-lr.+)?-seed\d+", re.DOTALL)
M = TypeVar("M", bound=BaseModel)


class ResolvedArm(Record):
    """Decided configuration of an arm, where its design leaves it open.

    Attributes:
        lr: learning rate; None until it is tuned.
        batch_size: images an optimiser step.
        compile: of a training step, as `device.choose` takes it.
        threads: of the processor; None where nothing shows what earlier trials had.
    """

    name: Annotated[str, Field(max_length=10_000)]
    epochs: Count
    lr: Positive | None
    batch_size: Count
    compile: Compilation
    threads: Count | None = None

    def of(self, arm: Arm) -> Arm:
        """The arm, trained so."""
        design = arm.design or arm.train
        changes: dict[str, object] = {"epochs": self.epochs}
        if self.lr is not None:
            changes["lr"] = self.lr
        if design.batch_size == "auto":
            changes["batch_size"] = self.batch_size
        if design.compile == "auto":
            changes["compile"] = self.compile
        if design.threads is None:
            changes["threads"] = self.threads
        return replace(arm, train=arm.train.model_copy(update=changes), design=design)


class ResolvedStudy(Record):
    """Decisions by `question`; answers to earlier designs stay, for when these come back."""

    format: Annotated[int, Field(ge=1, le=FORMAT, strict=True)] = FORMAT
    arms: Entries[ResolvedArm] = Field(default_factory=dict)

    def arm(self, arm: Arm, plan: Plan) -> ResolvedArm | None:
        """Decisions for an arm of the design; None where there are none yet."""
        return self.arms.get(question(arm, plan))

    def with_arms(self, plan: Plan, decided: Sequence[tuple[Arm, ResolvedArm]]) -> "ResolvedStudy":
        """Copy with further or changed decisions."""
        return self.model_copy(update={"arms": {**self.arms, **{question(arm, plan): each for arm, each in decided}}})

    def of(self, study: Study) -> Study:
        """The study as far as it is resolved."""
        arms = [(arm, self.arm(arm, study.plan)) for arm in study.arms]
        return replace(study, arms=tuple(arm if each is None else each.of(arm) for arm, each in arms))


def question(arm: Arm, plan: Plan) -> str:
    """First 12 hexadecimal digits of a SHA-256 of what decides on an arm: its design, the budget, the rates to try."""
    asked: list[object] = [arm.hash, plan.budget.model_dump(mode="json")]
    if plan.tune_lr:
        asked += [list(plan.tune_lr), plan.first_seed]
    return sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]


def read_resolution(folder: StudyFolder) -> ResolvedStudy | None:
    """Read a study folder's resolution; None where it has none yet.

    Raises:
        RunError: the file is damaged, or of a newer format.
    """
    path = folder.resolution
    if not path.exists():
        return None
    content = read_json(path, RunError, remedy=REMEDY)
    written = content.get("format") if isinstance(content, dict) else None
    if isinstance(written, int) and written > FORMAT:
        raise RunError(f"{path}: format {written} is newer than this resnet-lab reads ({FORMAT}); upgrade")
    return validated(ResolvedStudy, content, f"{path}: damaged", RunError, REMEDY)


def write_resolution(folder: StudyFolder, resolved: ResolvedStudy) -> None:
    """Replace what the folder has; raises `RunError` where it cannot be written."""
    write_atomically(folder.resolution, resolved.model_dump_json(indent=1).encode())


def recovered(study: Study, folder: StudyFolder) -> ResolvedStudy:
    """Recover the configuration of a folder's trials, left without a resolution by an earlier version.

    A trial's record has its epochs, and its name shows whether it is a trial of the arm with so many. Of several
    numbers of epochs, as a study has them that was timed again, the one with the most trials is taken.
    """
    trials: dict[str, list[_Trained]] = defaultdict(list)
    for name, trained in _trained(folder).items():
        if (match := _TRIAL.fullmatch(name)) is not None:
            trials[match[1]].append(trained)
    every_number = {each.epochs for group in trials.values() for each in group}
    found = []
    for arm in study.arms:
        most: tuple[int, list[_Trained]] = (0, [])
        for epochs in sorted(_possible_epochs(arm, study.plan) or every_number):
            rates = {arm.train.lr, *study.plan.tune_lr}
            own = [each for lr in rates for each in trials[prefix_of(_with(arm, epochs=epochs, lr=lr))]]
            if len(own) > len(most[1]):
                most = epochs, own
        if (resolved := _recovered(arm, study.plan, *most)) is not None:
            found.append((arm, resolved))
    return ResolvedStudy().with_arms(study.plan, found)


def _recovered(arm: Arm, plan: Plan, epochs: int, trials: "Sequence[_Trained]") -> ResolvedArm | None:
    """None where there are no trials, or they do not show what was left open."""
    batches = Counter(each.batch_size for each in trials if each.batch_size is not None)
    batch_size = arm.train.batch_size
    if batch_size == "auto" and batches:
        batch_size = batches.most_common(1)[0][0]
    if not trials or batch_size == "auto":
        return None
    threads = Counter(each.threads for each in trials if each.threads is not None)
    compiled = 2 * sum(each.is_compiled for each in trials) > len(trials)
    return ResolvedArm(
        name=arm.name,
        epochs=epochs,
        lr=None if plan.tune_lr else arm.train.lr,
        batch_size=batch_size,
        compile=arm.train.compile if arm.train.compile != "auto" else "on" if compiled else "off",
        threads=threads.most_common(1)[0][0] if threads else None,
    )


def _possible_epochs(arm: Arm, plan: Plan) -> set[int]:
    """Epochs that the design gives; none where they follow from another budget."""
    if plan.budget.epochs is not None:
        return {plan.budget.epochs}
    return set() if plan.budget.model_dump(exclude_none=True) else {arm.train.epochs}


def _with(arm: Arm, **changes: object) -> Arm:
    return replace(arm, train=arm.train.model_copy(update=changes))


@dataclass(frozen=True)
class _Trained:
    """Known configuration of a trial."""

    epochs: int
    batch_size: int | None = None
    is_compiled: bool = False
    threads: int | None = None


class _Config(BaseModel):
    epochs: Count
    batch_size: Count


class _Device(BaseModel):
    compiled: bool = False
    threads: Count | None = None


class _Run(BaseModel):
    config: _Config
    device: _Device


class _Outcome(BaseModel):
    epochs: Count


def _trained(folder: StudyFolder) -> dict[str, _Trained]:
    """Configuration of each trial by name: from its record or else its outcome; damaged ones give nothing here."""
    found = {}
    for path in folder.trials.glob("*.json"):
        if (outcome := _read(_Outcome, path)) is not None:
            found[path.stem] = _Trained(outcome.epochs)
    for path in folder.trials.glob("*/run.json"):
        if (run := _read(_Run, path)) is not None:
            device = run.device
            found[path.parent.name] = _Trained(
                run.config.epochs, run.config.batch_size, device.compiled, device.threads
            )
    return found


def _read(kind: type[M], path: Path) -> M | None:
    try:
        return validated(kind, read_json(path, RunError), str(path), RunError)
    except RunError:
        return None
