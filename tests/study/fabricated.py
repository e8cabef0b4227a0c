"""Studies whose trials nobody trained: the files that they would have left, with made-up predictions."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_lab.core.history import Epoch, metrics_table, times_table
from resnet_lab.evaluation.metrics.headline import headline
from resnet_lab.evaluation.predictions import Origin, Predictions, weights_digest
from resnet_lab.network.plugins import load
from resnet_lab.study.design import Study, study_from
from resnet_lab.study.outcome import Outcome
from resnet_lab.study.results import StudyFindings, findings
from resnet_lab.study.trials import StudyFolder, Trial, trials_of

REGISTRY = load(only=[])
Rights = Callable[[str, int, NDArray[np.int64]], NDArray[np.bool_]]
"""Function of an arm, a seed and labels: which of the images the network has right."""


def design(**plan: Any) -> Study:
    """Design with a ResNet-20 at 8 pixels; 2 x 2 arms and three seeds unless `plan` says otherwise."""
    factors = {} if "arms" in plan else {"factors": {"act": ["relu", "gelu"], "attn": ["none", "eca"]}}
    tables = {
        "study": {"name": "made up", "seeds": 3, **factors, **plan},
        "model": {"model": "resnet20", "input_size": 8},
        "data": {"source": "digits"},
        "train": {"epochs": 3},
    }
    return study_from(tables, "made up")


def by_chance(shares: Mapping[str, float], spread: float = 0.02) -> Rights:
    """Each arm right on about that share of the images, which differs a little from seed to seed."""

    def rights(arm: str, seed: int, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
        own = np.random.default_rng([seed, *arm.encode()])
        difficulty = np.random.default_rng(seed).random(len(labels))  # the same for all arms of a seed
        found: NDArray[np.bool_] = difficulty + own.normal(0, 0.1, len(labels)) < shares[arm] + own.normal(0, spread)
        return found

    return rights


def predictions(
    labels: NDArray[np.int64], right: NDArray[np.bool_], classes: int, weights: str, **changes: Any
) -> Predictions:
    """Predictions that name the next class where they are wrong."""
    probabilities = np.full((len(labels), classes), 0.3 / max(1, classes - 1), dtype=np.float32)
    probabilities[np.arange(len(labels)), np.where(right, labels, (labels + 1) % classes)] = 0.7
    origin = Origin(
        weights=weights, source="digits", part="test", device={"name": "a processor", "type": "cpu"}, epoch=2,
        created="2026-01-02T03:04:05+00:00", versions={"torch": "2.99"},
    )  # fmt: skip
    values: dict[str, Any] = {
        "classes": tuple(f"class {k}" for k in range(classes)),
        "paths": tuple(f"{k}/{number}.png" for number, k in enumerate(labels.tolist())),
        "digests": tuple(f"{number:064x}" for number in range(len(labels))),
        "labels": labels,
        "probabilities": probabilities,
        "origin": origin,
    }
    return Predictions(**values | changes)


def epochs_of(score: float, n: int = 3) -> list[Epoch]:
    """That rise to a score."""
    shares = [score * (1 - 0.5 ** (number + 1)) / (1 - 0.5**n) for number in range(n)]
    return [
        Epoch(number, 1e-3, 2 - share, share, 2.2 - share, share, share, 10.0, 100.0)
        for number, share in enumerate(shares, 1)
    ]


def fabricate(
    path: Path,
    study: Study,
    rights: Rights,
    *,
    n: int = 60,
    classes: int = 3,
    failed: Mapping[tuple[str, int], str] | None = None,
    waiting: tuple[tuple[str, int], ...] = (),
    last: int = 0,
    **changes: Any,
) -> StudyFolder:
    """The folder of a study.

    Args:
        failed: problems by arm and seed.
        waiting: arms and seeds of trials that have not finished.
        last: epochs whose predictions are kept too, right as at the seed 100 times the epoch later.
        changes: to what all predictions hold.
    """
    folder = StudyFolder(path)
    folder.note(study)
    for trial in trials_of(study):
        key = (trial.arm.name, trial.seed)
        if key not in waiting:
            problem = (failed or {}).get(key)
            fabricate_trial(folder, trial, rights, n, classes, problem, last=last, **changes)
    return folder


def fabricate_trial(
    folder: StudyFolder,
    trial: Trial,
    rights: Rights,
    n: int = 60,
    classes: int = 3,
    problem: str | None = None,
    *,
    last: int = 0,
    **changes: Any,
) -> None:
    """What one trial would have left."""
    run = folder.run(trial)
    run.folder.mkdir(parents=True)
    labels = np.arange(n) % classes
    run.best.write_bytes(trial.name.encode())
    right = rights(trial.arm.name, trial.seed, labels)
    made = predictions(labels, right, classes, weights_digest(run.best), **changes)
    made.write(run.predictions("test"))
    scores = headline(made.labels, made.probabilities)
    last_scores = []
    for epoch in range(4 - last, 4):
        right = rights(trial.arm.name, trial.seed + 100 * epoch, labels)
        one = predictions(labels, right, classes, "kept", **changes)
        one = replace(one, origin=one.origin.model_copy(update={"epoch": epoch}))
        one.write(run.predictions_of_epoch(epoch))
        last_scores.append(headline(one.labels, one.probabilities))
    history = epochs_of(scores["macro_accuracy"])
    run.metrics.write_text(metrics_table(history))
    run.times.write_text(times_table(history))
    folder.keep(
        trial,
        Outcome(
            trial=trial.name, arm=trial.arm.name, seed=trial.seed, problem=problem,
            scores={} if problem else scores, validation=None if problem else (scores["macro_accuracy"], 1.2),
            best_epoch=None if problem else 3, epochs=3, seconds=30.0, lr=trial.arm.train.lr,
            versions={"torch": "2.99", "resnet-lab": "1.0"}, diverged=problem == "it diverged",
            last_scores=() if problem else tuple(last_scores),
        ),
    )  # fmt: skip


def found(path: Path, study: Study, rights: Rights, **options: Any) -> tuple[StudyFindings, StudyFolder]:
    """Findings of such a folder, and the folder."""
    folder = fabricate(path, study, rights, **options)
    return findings(study, folder, REGISTRY), folder


RIGHT = {
    ("plain", 0): [1, 1, 0, 0, 1, 1],
    ("plain", 1): [1, 0, 0, 1, 1, 0],
    ("new", 0): [1, 1, 1, 0, 1, 0],
    ("new", 1): [1, 1, 1, 1, 0, 0],
}
"""Right answers on the test images of classes 0, 1, 2, 0, 1, 2."""


def by_hand(arm: str, seed: int, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.array(RIGHT[arm, seed], dtype=bool)


NAMED = {"arms": {"plain": {}, "new": {"act": "gelu"}}, "seeds": 2}


def shares(arm: str, seed: int, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The first images, as many as the arm and the seed say."""
    right = {"relu none": 30, "relu eca": 36, "gelu none": 33, "gelu eca": 45}[arm] + 3 * seed
    return np.arange(len(labels)) < right
