"""Works of a study to look at."""

from collections.abc import Sequence
from dataclasses import dataclass

from resnet_lab.core.errors import ResNetLabError
from resnet_lab.evaluation.file_pictures import unchanged_pictures
from resnet_lab.evaluation.gallery import GalleryPicture
from resnet_lab.evaluation.opened_run import Sources
from resnet_lab.study.paired_errors import PairedErrors, Work

MOST = 24
"""Pictures on a page."""


@dataclass(frozen=True)
class WorkGallery:
    """Works with their pictures.

    Attributes:
        works: by arm, those fixed and those broken; arms that have neither are left out.
        pictures: by path, of the works that are as they were when they were tested.
        obstacle: why pictures are missing; empty where none is.
    """

    works: dict[str, tuple[tuple[Work, ...], tuple[Work, ...]]]
    pictures: dict[str, GalleryPicture]
    obstacle: str


def gather_works(errors: Sequence[PairedErrors], source: str, sources: Sources, most: int = MOST) -> WorkGallery:
    """Choose as many works of each arm as the pictures suffice for, those with the most fixed and broken ones first.

    Args:
        source: of the images.
        most: works in all.
    """
    telling = [each for each in errors if each.fixed or each.broken]
    telling.sort(key=lambda each: -sum(count.fixed + count.broken for count in each.counts))
    telling = telling[: max(1, most // 2)]
    share = max(1, most // (2 * len(telling))) if telling else 0
    chosen = {each.arm for each in telling}
    works = {each.arm: (each.fixed[:share], each.broken[:share]) for each in errors if each.arm in chosen}
    wanted = {work.path: work.digest for both in works.values() for kind in both for work in kind}
    try:
        pictures, changed = unchanged_pictures(wanted, source, sources) if wanted else ({}, [])
    except (ResNetLabError, OSError) as error:
        return WorkGallery(works, {}, str(error))
    obstacle = f"{len(changed)} are no longer what was tested ({changed[0]}, ...)" if changed else ""
    return WorkGallery(works, pictures, obstacle)
