"""All that a study's page says, gathered."""

from dataclasses import dataclass

from resnet_lab.network.plugins import Registry
from resnet_lab.study.details import Details, details
from resnet_lab.study.pictures import Wall, hang_works
from resnet_lab.study.results import StudyFindings
from resnet_lab.study.trials import StudyFolder


@dataclass(frozen=True)
class StudyContents:
    """What a study's page is made from.

    Attributes:
        behind: what stands behind the findings.
        wall: of works fixed and broken.
        folder: as the user named it.
    """

    found: StudyFindings
    behind: Details
    wall: Wall
    folder: str


def gather_study(found: StudyFindings, folder: StudyFolder, registry: Registry) -> StudyContents:
    """Everything that finished trials say.

    Raises:
        RunError: a trial's table of epochs is damaged.
    """
    behind = details(found, folder)
    wall = hang_works(behind.errors, found.study.arms[0].data.source, registry)
    return StudyContents(found, behind, wall, str(folder.folder))
