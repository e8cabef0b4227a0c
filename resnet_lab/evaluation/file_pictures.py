"""Pictures of image files that are still what they were."""

from collections.abc import Mapping

from PIL.Image import Image

from resnet_lab.data.decoding import decode, to_array, without_warnings
from resnet_lab.data.image_format import ImageFormat
from resnet_lab.evaluation.gallery import GalleryPicture
from resnet_lab.evaluation.opened_run import Sources
from resnet_lab.evaluation.picture_files import as_files

SIDE = 200
"""Largest side of each, in pixels."""


def unchanged_pictures(
    digests: Mapping[str, str], source: str, sources: Sources
) -> tuple[dict[str, GalleryPicture], list[str]]:
    """Pictures by path, and the paths whose files are gone or are no longer what they were.

    Args:
        digests: SHA-256 of each image's content, by its path in the source.

    Raises:
        DataError: the source cannot be opened.
    """
    images = sources.images(source)
    positions = {path: position for position, path in enumerate(images.paths) if path in digests}
    contents: dict[str, bytes | Image] = {}
    shapes: dict[str, tuple[int, int]] = {}
    with without_warnings():
        for path, digest in digests.items():
            try:
                content = images.read(positions[path])
                examined = decode(content, ImageFormat(1))[1]
            except (KeyError, OSError):
                continue
            if examined.digest == digest and not examined.cause:
                contents[path], shapes[path] = content, (examined.width, examined.height)
        side = min(SIDE, max((max(shape) for shape in shapes.values()), default=1))
        squares = [to_array(content, ImageFormat(side)) for content in contents.values()]
    files = as_files(squares)[0] if squares else []
    pictures = {path: GalleryPicture(path, *shapes[path], file) for path, file in zip(contents, files, strict=True)}
    return pictures, [path for path in digests if path not in pictures]
