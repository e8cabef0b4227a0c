"""Contents of a study's page."""

from dataclasses import dataclass

from resnet_lab.evaluation.opened_run import Sources
from resnet_lab.network.plugins import Registry
from resnet_lab.study.analyses import StudyAnalyses, analyse
from resnet_lab.study.changes import StudyChange, StudyImages, changes_of, images_of
from resnet_lab.study.pictures import WorkGallery, gather_works
from resnet_lab.study.results import StudyFindings
from resnet_lab.study.trials import StudyFolder


@dataclass(frozen=True)
class StudyContents:
    """Contents of a study's page.

    Attributes:
        gallery: of works fixed and broken.
        folder: as the user named it.
        changes: that the study is about.
        images: that it divides into parts; None where no trial has recorded them.
    """

    found: StudyFindings
    analyses: StudyAnalyses
    gallery: WorkGallery
    folder: str
    changes: list[StudyChange]
    images: StudyImages | None


def gather_study(found: StudyFindings, folder: StudyFolder, registry: Registry) -> StudyContents:
    """Collect the results of finished trials.

    Raises:
        RunError: a trial's table of epochs is damaged.
    """
    analyses = analyse(found, folder)
    gallery = gather_works(analyses.paired_errors, found.study.arms[0].data.source, Sources(registry))
    return StudyContents(
        found, analyses, gallery, str(folder.folder), changes_of(found), images_of(found.study, folder)
    )
