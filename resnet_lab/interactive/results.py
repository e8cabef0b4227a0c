"""Runs, studies, evaluations and reports as objects, which name their files, give plain data, and show themselves."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import wraps
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from resnet_lab.core.errors import ConfigError, ResNetLabError
from resnet_lab.core.history import best_of, read_history
from resnet_lab.core.records import repr_of
from resnet_lab.core.run_folder import Run as RunFolder
from resnet_lab.device import choose
from resnet_lab.evaluation.metrics import Summary
from resnet_lab.evaluation.opened_run import OpenedRun, Sources
from resnet_lab.evaluation.predictions import Predictions
from resnet_lab.evaluation.run_summary import look_at
from resnet_lab.network.plugins import default_registry
from resnet_lab.report.cells import figures_cell, message_cell, run_cell, study_cell
from resnet_lab.study.changes import changes_of, images_of
from resnet_lab.study.learning_curves import learning_curves
from resnet_lab.study.results import StudyFindings, findings
from resnet_lab.study.running import as_run
from resnet_lab.study.trials import StudyFolder
from resnet_lab.study.writing import as_json

R = TypeVar("R")


def _in_words(show: Callable[[R], str]) -> Callable[[R], str]:
    """The fragment of HTML, or in its place the sentence that says why there is none."""

    @wraps(show)
    def shown(result: R) -> str:
        try:
            return show(result)
        except ResNetLabError as error:
            return message_cell(str(error))

    return shown


@dataclass(frozen=True)
class Run:
    """A training by its folder; a notebook shows its figures and learning curves.

    What it gives is read from the folder each time.

    Raises:
        RunError: not a run folder; of the attributes, a damaged file.
    """

    folder: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))
        RunFolder.open(self.folder)

    @property
    def record(self) -> dict[str, Any]:
        """Content of run.json: network, configuration, data, versions, device, status."""
        return RunFolder(self.folder).read()

    @property
    def status(self) -> str:
        """`finished`, `running` of one that runs or was killed, or why it ended."""
        return str(self.record["status"])

    @property
    def metrics(self) -> dict[str, float]:
        """Figures of the best weights on the test part; empty until the training is finished."""
        return dict(self.record.get("test") or {})

    @property
    def history(self) -> list[dict[str, Any]]:
        """Figures of each epoch, as `resnet_lab.core.history.Epoch` has them; accuracies in [0, 1], losses in nats."""
        return [asdict(epoch) for epoch in read_history(RunFolder(self.folder))]

    @property
    def best_epoch(self) -> int | None:
        """Best epoch by validation macro accuracy, from 1; None before the end of the first."""
        epochs = read_history(RunFolder(self.folder))
        return best_of(epochs).epoch if epochs else None

    @property
    def weights(self) -> Path:
        """File of the best weights, for `resnet_lab.load`."""
        return RunFolder(self.folder).best

    @_in_words
    def _repr_html_(self) -> str:
        opened = OpenedRun(self.folder, Sources(default_registry()))
        return run_cell(look_at(opened, choose("cpu"), only_kept=True))


@dataclass(frozen=True)
class Study:
    """A study by its folder; a notebook shows its verdicts, effects, arms and learning curves.

    What it gives is read from the folder each time.

    Raises:
        RunError: not a study folder; of the attributes, a damaged file.
        ConfigError: of the attributes, no trial has finished.
    """

    folder: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))
        StudyFolder(self.folder).study()

    def findings(self) -> StudyFindings:
        """All results, as `resnet_lab.study.findings` gives them."""
        opened = StudyFolder(self.folder)
        return findings(as_run(opened.study(), opened), opened, default_registry())

    @property
    def verdicts(self) -> list[dict[str, Any]]:
        """Effects of the factors, or of the arms where there are none: verdict, difference, interval, sentence."""
        found = as_json(self.findings())
        names = {"name": "name", "verdict": "verdict", "difference": "difference", "interval": "interval",
                 "p": "p_holm", "seeds": "n", "sentence": "in_words"}  # fmt: skip
        effects = found["effects"] or [row for row in found["arms"] if row["verdict"] != "baseline"]
        return [{name: row[key] for name, key in names.items()} for row in effects]

    @property
    def arms(self) -> list[dict[str, Any]]:
        """Arms, the baseline first: mean score over seeds with its interval, parameters, MACs, verdict."""
        return list(as_json(self.findings())["arms"])

    @property
    def trials(self) -> list[dict[str, Any]]:
        """Every finished trial: arm, seed, scores, best epoch, seconds."""
        return list(as_json(self.findings())["trials"])

    @_in_words
    def _repr_html_(self) -> str:
        found = self.findings()
        folder = StudyFolder(self.folder)
        return study_cell(
            found,
            learning_curves(found, folder),
            str(self.folder),
            changes=changes_of(found),
            images=images_of(found.study, folder),
        )


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Figures of a run on a part of its images, or on other images; a notebook shows them.

    Attributes:
        run: its folder.
        predictions: for each image.
    """

    run: Path
    predictions: Predictions = field(repr=False)
    summary: Summary = field(repr=False)

    @property
    def metrics(self) -> dict[str, float]:
        """Figures over all classes."""
        return {name: each.value for name, each in self.summary.headline.items()}

    @property
    def intervals(self) -> dict[str, tuple[float, float] | None]:
        """Their 95% intervals over images; None where there is none."""
        return {name: each.ends for name, each in self.summary.headline.items()}

    @property
    def classes(self) -> list[dict[str, Any]]:
        """Recall with Wilson's interval, precision, F1 and images of each class."""
        return [asdict(row) for row in self.summary.classes]

    def _repr_html_(self) -> str:
        origin = self.predictions.origin
        scored = f"all images of {origin.source}" if origin.part == "all" else f"{origin.part} part"
        return figures_cell(self.summary, f"{self.run.name}: {scored}, weights of epoch {origin.epoch}")


@dataclass(frozen=True)
class Report:
    """A page that was written; a notebook shows its figures, curves and verdicts.

    Attributes:
        page: the HTML file.
        numbers: every number on it.
        cell: what a notebook shows.
    """

    page: Path
    numbers: dict[str, Any] = field(repr=False)
    cell: str = field(repr=False)

    def _repr_html_(self) -> str:
        return self.cell


def folder_of(of: "Run | Study | str | Path") -> Path:
    """Folder of a run or study, or the path itself; raises `ConfigError` for anything else."""
    if isinstance(of, Run | Study):
        return of.folder
    if isinstance(of, str | PathLike):
        return Path(of)
    raise ConfigError(f"a run or study is named by its object or its folder, got {repr_of(of)}")


def folders_of(of: "Run | Study | str | Path | Sequence[Run | str | Path]") -> list[Path]:
    """Folders of one or several."""
    if isinstance(of, Sequence) and not isinstance(of, str):
        return [folder_of(each) for each in of]
    return [folder_of(of)]
