"""State of a training in one file, from which it resumes bit for bit.

Order, augmentation and dropout are pure functions of seed, epoch and step, and the learning rate of the step: so they
need no place here.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self

import torch
from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer

from resnet_lab.core.errors import CheckpointError
from resnet_lab.core.history import Epoch
from resnet_lab.core.records import Entries, Record, Seconds, Tuple, validated
from resnet_lab.network.checkpoint import read_sealed, write_sealed
from resnet_lab.train.learner import Learner
from resnet_lab.train.tally import Tally

FORMAT = 1
KEY = "resnet_lab_training"


class _Header(Record):
    """The description in the file."""

    model_config = ConfigDict(extra="ignore")
    history: Tuple[Epoch]
    step: Annotated[int, Field(ge=0, le=2**53, strict=True)]
    seconds: Seconds
    scaler: Entries[float]

    @model_validator(mode="after")
    def _of_epochs_in_order(self) -> Self:
        if [epoch.epoch for epoch in self.history] != list(range(1, len(self.history) + 1)):
            raise PydanticCustomError("contradiction", "The epochs should be counted from 1")
        for epoch in self.history:
            if problem := epoch.problem:
                raise PydanticCustomError(
                    "contradiction", "Epoch {number}: {problem}", {"number": epoch.epoch, "problem": problem}
                )
        return self


@dataclass
class Progress:
    """Position in a training.

    Attributes:
        history: finished epochs.
        step: steps done of the next one.
        seconds: spent on these.
        tally: of these.
    """

    tally: Tally
    history: list[Epoch] = field(default_factory=list)
    step: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"epoch {self.epoch} after {self.step} steps"

    @property
    def epoch(self) -> int:
        """The one that is being trained, counted from 1."""
        return len(self.history) + 1

    def steps(self, steps_per_epoch: int) -> int:
        """Done in all."""
        return len(self.history) * steps_per_epoch + self.step

    def begin_epoch(self) -> None:
        self.step, self.seconds = 0, 0.0
        self.tally = Tally(self.tally.num_classes, self.tally.sums.device)


def write_state(path: Path, progress: Progress, learner: Learner) -> None:
    """Replace the file atomically.

    All processes have to call it, and rank 0 writes: its state is that of all, except for the tally.

    Raises:
        RunError: the file cannot be written.
    """
    tally = learner.processes.total(progress.tally.sums)
    if not learner.processes.is_first:
        return
    tensors = {f"model.{name}": tensor for name, tensor in learner.model.state_dict().items()}
    for number, values in learner.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": tensor for name, tensor in values.items() if tensor is not None}
    for number, group in enumerate(learner.optimizer.param_groups):
        if "step" in group:  # LAMB counts by group, and not by parameter
            tensors[f"group.{number}.step"] = torch.as_tensor(group["step"], dtype=torch.float32)
    if learner.average is not None:
        tensors |= {f"average.{name}": tensor for name, tensor in learner.average.state_dict().items()}
    if learner.mean is not None:
        tensors |= {f"mean.{name}": tensor for name, tensor in learner.mean.state_dict().items()}
    tensors["tally"] = tally
    header = {
        "format": FORMAT,
        "history": [asdict(epoch) for epoch in progress.history],
        "step": progress.step,
        "seconds": progress.seconds,
        "scaler": learner.scaler.state_dict(),
    }
    write_sealed(path, KEY, header, tensors)


def read_state(path: Path, progress: Progress, learner: Learner, steps_per_epoch: int) -> None:
    """Put everything back as it was when the file was written.

    Raises:
        CheckpointError: the file is damaged, too new, or of another network or optimiser.
    """
    header, tensors = read_sealed(path, KEY, FORMAT, "training state")
    described = validated(_Header, header, str(path), CheckpointError)
    if described.step > steps_per_epoch:
        raise CheckpointError(
            f"{path}: step {described.step} of an epoch of {steps_per_epoch} steps; the state is damaged"
        )
    try:
        learner.model.load_state_dict(_under("model.", tensors))
        _load_optimizer(learner.optimizer, _under("optimizer.", tensors), _under("group.", tensors))
        if learner.average is not None:
            learner.average.load_state_dict(_under("average.", tensors))
        if learner.mean is not None:
            learner.mean.load_state_dict(_under("mean.", tensors))
        if learner.processes.is_first:
            if tensors["tally"].shape != progress.tally.sums.shape:
                raise ValueError(f"tally is {tuple(tensors['tally'].shape)}")
            progress.tally.sums.copy_(tensors["tally"])
            if problem := progress.tally.problem:
                raise ValueError(f"tally: {problem}")
            if described.step and not progress.tally.sums[1]:
                raise ValueError(f"tally: no image was seen in {described.step} steps")
        if described.scaler:
            learner.scaler.load_state_dict(described.scaler)
    except (RuntimeError, ValueError, KeyError, IndexError) as error:
        raise CheckpointError(
            f"{path}: the state is of another network or optimiser than the run describes: {error}"
        ) from None
    progress.history = list(described.history)
    progress.step, progress.seconds = described.step, described.seconds
    progress.tally.checked = progress.step


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _load_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor], steps: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Any]] = {}
    for key, tensor in tensors.items():
        number, name = key.split(".")
        state.setdefault(int(number), {})[name] = tensor
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    kept = {"momentum_buffer"} if isinstance(optimizer, SGD) else {"exp_avg", "exp_avg_sq"}
    kept |= {"step"} if isinstance(optimizer, Adam) else set()
    for place, values in state.items():
        if place not in range(len(parameters)):
            raise ValueError(f"there is no parameter {place}")
        if values.keys() != kept:
            raise ValueError(f"parameter {place} has {', '.join(sorted(values))}, not {', '.join(sorted(kept))}")
        for name, tensor in values.items():
            if tensor.shape != (() if name == "step" else parameters[place].shape) or not tensor.is_floating_point():
                raise ValueError(f"{name} of parameter {place} is {tuple(tensor.shape)} of {tensor.dtype}")
            if name in ("step", "exp_avg_sq") and (tensor < 0).any():
                raise ValueError(f"{name} of parameter {place} is negative")
    groups = optimizer.state_dict()["param_groups"]
    for key, step in steps.items():
        if step.shape != () or not (step >= 0 and step == step.round()):
            raise ValueError(f"the step of a group is {step.tolist()}")
        groups[int(key.removesuffix(".step"))]["step"] = int(step)
    optimizer.load_state_dict({"state": state, "param_groups": groups})
