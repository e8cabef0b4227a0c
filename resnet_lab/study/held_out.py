"""Held-out predictions that a study has kept: those of each trial on its test part."""

from resnet_lab.core.errors import ConfigError, RunError, nearest
from resnet_lab.core.records import repr_of
from resnet_lab.core.wording import shell_word
from resnet_lab.evaluation.predictions import Predictions
from resnet_lab.evaluation.scoring import stored
from resnet_lab.study.design import Arm, Study
from resnet_lab.study.trials import StudyFolder, trials_of


def kept_of_arm(study: Study, folder: StudyFolder, name: str | None = None) -> list[Predictions]:
    """Predictions of an arm's finished trials, each on its test part at the best epoch.

    Args:
        study: as it was run.
        name: of the arm; the baseline by default.

    Raises:
        ConfigError: there is no such arm.
        RunError: no trial of it has finished with its predictions kept; a damaged file.
        CheckpointError: damaged predictions.
    """
    arm = _arm(study, folder, name)
    done = [trial for trial in trials_of(study, [arm]) if folder.state(trial) == "finished"]
    found = [each for trial in done if (each := stored(folder.run(trial))) is not None]
    if not found:
        raise RunError(
            f"{folder.folder}: no trial of the arm {arm.name!r} has finished with its predictions kept; run the study "
            f"with `resnet-lab study run --resume {shell_word(folder.folder)}`"
        )
    return found


def images_of_arm(study: Study, folder: StudyFolder, name: str | None = None) -> int:
    """Usable images of an arm's source, by the split of its first trial that was started; raises as `kept_of_arm`."""
    runs = [folder.run(trial) for trial in trials_of(study, [_arm(study, folder, name)])]
    return next((run.images_by_part().total() for run in runs if run.splits.exists()), 0)


def _arm(study: Study, folder: StudyFolder, name: str | None) -> Arm:
    arms = {arm.name: arm for arm in study.arms}
    if name is None:
        return study.arms[0]
    if name not in arms:
        raise ConfigError(f"{folder.folder}: there is no arm {repr_of(name)}; {nearest(name, arms)}")
    return arms[name]
