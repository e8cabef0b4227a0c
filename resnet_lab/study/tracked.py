"""Failures of trackers over the trials of a study."""

from collections.abc import Sequence

from resnet_lab.core.wording import counted
from resnet_lab.study.trials import StudyFolder, Trial
from resnet_lab.train.tracking import read_told


def tracking_problems(trials: Sequence[Trial], folder: StudyFolder) -> list[str]:
    """A sentence for each tracker that failed in a trial, by tracking.json of the run folders.

    Raises:
        RunError: one is damaged.
    """
    failed: dict[str, list[tuple[str, str]]] = {}
    for trial in trials:
        for name, told in read_told(folder.run(trial).folder).items():
            if told.problem:
                failed.setdefault(name, []).append((trial.name, told.problem))
    return [
        f"tracker {name} failed in {counted(len(found), 'trial')}, first in {found[0][0]}: {found[0][1]}; the trials "
        "are as without it"
        for name, found in sorted(failed.items())
    ]
