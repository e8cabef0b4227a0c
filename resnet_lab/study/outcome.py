"""Outcome of a trial, as its file has it."""

from dataclasses import dataclass
from math import inf
from statistics import fmean
from typing import Annotated

from pydantic import AfterValidator, Field, TypeAdapter
from pydantic_core import PydanticCustomError

from resnet_lab.core.history import ROUNDING
from resnet_lab.core.records import Count, Entries, Finite, Seconds, Tuple
from resnet_lab.evaluation.metrics.headline import NAMES
from resnet_lab.train.config import Positive

Accuracy = Annotated[Finite, Field(ge=0, le=1 + ROUNDING)]

HIGHEST = {"log_loss": inf, "brier": 2.0}
"""Greatest values of metrics that are no shares."""


def _of_metrics(scores: dict[str, float]) -> dict[str, float]:
    """Scores within the bounds of their metrics; raises for pydantic."""
    for name, value in scores.items():
        most = HIGHEST.get(name, 1.0)
        if name in NAMES and not 0 <= value <= most + ROUNDING:
            bounds = "at least 0" if most == inf else f"in [0, {most:g}]"
            raise PydanticCustomError(
                "score", "{name} is {value}, and should be {bounds}", {"name": name, "value": value, "bounds": bounds}
            )
    return scores


@dataclass(frozen=True)
class Outcome:
    """Outcome of a trial.

    Attributes:
        problem: why it failed; None where it finished.
        scores: of the best epoch on the test part, by `metrics.headline.NAMES`; empty where it failed.
        validation: macro-averaged accuracy and loss of that epoch on the validation part.
        seconds: that its epochs took.
        diverged: whether it failed by that.
        last_scores: `scores` of the last epochs whose predictions were kept, the last of them last.
    """

    trial: str
    arm: str
    seed: int
    problem: str | None
    scores: Annotated[Entries[Finite], AfterValidator(_of_metrics)]
    validation: tuple[Accuracy, Annotated[Finite, Field(ge=0)]] | None
    best_epoch: Count | None
    epochs: Annotated[int, Field(ge=0, le=10**6)]
    seconds: Seconds
    lr: Positive
    versions: Entries[str]
    diverged: bool = False
    last_scores: Tuple[Annotated[Entries[Finite], AfterValidator(_of_metrics)]] = ()

    def scored(self, last: int) -> dict[str, float]:
        """Scores of the best epoch, or with `last` the means of so many last epochs, of all where it had fewer."""
        if not last:
            return self.scores
        epochs = self.last_scores[-last:]
        return {name: fmean(each[name] for each in epochs) for name in (epochs[0] if epochs else ())}


OUTCOME = TypeAdapter(Outcome)
