"""Works of a study to look at."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL.Image import Image

from resnet_lab.core.errors import ResNetLabError
from resnet_lab.data.decoding import decode, to_array, without_warnings
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.evaluation.gallery import GalleryPicture
from resnet_lab.evaluation.opened_run import Sources
from resnet_lab.evaluation.picture_files import as_files
from resnet_lab.study.paired_errors import PairedErrors, Work

MOST = 24
"""Pictures on a page."""

SIDE = 200
"""Largest side of each, in pixels."""


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
    wanted = {work.path: work for both in works.values() for kind in both for work in kind}
    try:
        pictures, changed = _pictures(wanted, source, sources) if wanted else ({}, [])
    except (ResNetLabError, OSError) as error:
        return WorkGallery(works, {}, str(error))
    obstacle = f"{len(changed)} are no longer what was tested ({changed[0]}, ...)" if changed else ""
    return WorkGallery(works, pictures, obstacle)


def _pictures(wanted: dict[str, Work], source: str, sources: Sources) -> tuple[dict[str, GalleryPicture], list[str]]:
    """Pictures by path, and the paths whose pictures are gone."""
    images = sources.images(source)
    positions = {path: position for position, path in enumerate(images.paths) if path in wanted}
    contents: dict[str, bytes | Image] = {}
    shapes: dict[str, tuple[int, int]] = {}
    with without_warnings():
        for path, work in wanted.items():
            try:
                content = images.read(positions[path])
                examined = decode(content, ImageFormat(1))[1]
            except (KeyError, OSError):
                continue
            if examined.digest == work.digest and not examined.cause:
                contents[path], shapes[path] = content, (examined.width, examined.height)
        side = min(SIDE, max((max(shape) for shape in shapes.values()), default=1))
        squares = [to_array(content, ImageFormat(side)) for content in contents.values()]
    files = as_files(squares)[0] if squares else []
    pictures = {path: GalleryPicture(path, *shapes[path], file) for path, file in zip(contents, files, strict=True)}
    return pictures, [path for path in wanted if path not in pictures]
