"""Contents of a page about suspected label errors."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from resnet_lab.core.errors import ResNetLabError
from resnet_lab.evaluation.file_pictures import unchanged_pictures
from resnet_lab.evaluation.gallery import GalleryPicture
from resnet_lab.evaluation.opened_run import Sources
from resnet_lab.evaluation.suspects import LabelQuality, Suspect


@dataclass(frozen=True)
class SuspectGallery:
    """Suspects, and pictures of the first.

    Attributes:
        origin: folder of the run or study that the predictions are of.
        source: of the images.
        quality: score by which they are ranked.
        trainings: whose held-out predictions were averaged.
        unranked: images that no training held out.
        pictures: by path, of the first suspects whose files are what they were.
        shown: number of first suspects to show.
        obstacle: why pictures are missing; empty where none is.
    """

    origin: str
    source: str
    quality: LabelQuality
    suspects: tuple[Suspect, ...]
    trainings: int
    unranked: int
    pictures: dict[str, GalleryPicture]
    shown: int
    obstacle: str

    @property
    def flagged(self) -> list[Suspect]:
        return [each for each in self.suspects if each.flagged]

    @property
    def pairs(self) -> list[tuple[str, str, int]]:
        """Given label, suggested one and number of flagged images, the largest number first."""
        counts = Counter((each.label, each.suggested) for each in self.flagged)
        return [(*pair, number) for pair, number in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def gather_suspects(
    suspects: Sequence[Suspect],
    sources: Sources,
    *,
    origin: str,
    source: str,
    quality: LabelQuality,
    trainings: int,
    unranked: int = 0,
    most: int = 48,
) -> SuspectGallery:
    """Add pictures of the first `most` suspects; where the source cannot be read, the reason stands in their place."""
    wanted = {each.path: each.sha256 for each in suspects[:most]}
    pictures: dict[str, GalleryPicture] = {}
    obstacle = ""
    try:
        pictures, gone = unchanged_pictures(wanted, source, sources) if wanted else ({}, [])
        obstacle = f"{len(gone)} are no longer what was predicted ({gone[0]}, ...)" if gone else ""
    except (ResNetLabError, OSError) as error:
        obstacle = str(error)
    return SuspectGallery(
        origin, source, quality, tuple(suspects), trainings, unranked, pictures, len(wanted), obstacle
    )
