"""Finds labelled images: a folder of class folders, or a data set by name."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from resnet_lab.errors import DataError, nearest
from resnet_lab.images import ImageSet
from resnet_lab.plugins import Registry
from resnet_lab.spec import Component

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})


def open_images(source: str, registry: Registry) -> ImageSet:
    """The images of `source`: the path of a folder of class folders, or a registered data set such as `digits`.

    Raises:
        DataError: neither a folder nor a data set; no class folder, a single one, or one without an image.
    """
    path = Path(source)
    names = registry.names("dataset")
    if source.partition("(")[0] in names:
        images = registry.bind("dataset", Component.parse(source), "data")()
        if not isinstance(images, ImageSet):
            raise DataError(
                f"data set {source!r} gave {type(images).__name__}, not an ImageSet; its plugin is at fault"
            )
        return replace(images, name=source)
    if not path.exists():
        raise DataError(f"{source}: no such folder, and no data set of that name; {nearest(source, names)}")
    if not path.is_dir():
        raise DataError(f"{source} is a file; give the folder that holds one folder of images a class")
    return _class_folders(path)


def _class_folders(root: Path) -> ImageSet:
    try:
        folders = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        found = [find_images(folder) for folder in folders]
    except OSError as error:
        raise DataError(f"{error.filename or root}: cannot be listed: {error.strerror}") from None
    if not folders:
        raise DataError(f"{root} holds no folder; it must hold one folder of images a class")
    if not any(found):
        raise DataError(f"{root} holds no image in its class folders; images end in {', '.join(sorted(SUFFIXES))}")
    for folder, files in zip(folders, found, strict=True):
        if not files:
            raise DataError(f"{folder}: a class folder without an image; fill it or remove it")
    if len(folders) < 2:
        raise DataError(f"{root} holds one class, {folders[0].name!r}; a classifier needs at least two")
    files = [file for group in found for file in group]
    return ImageSet(
        name=str(root.resolve()),
        classes=tuple(folder.name for folder in folders),
        paths=tuple(file.relative_to(root).as_posix() for file in files),
        labels=np.repeat(np.arange(len(folders), dtype=np.int64), [len(group) for group in found]),
        read=lambda index: read_image(files[index]),
    )


def find_images(folder: Path) -> list[Path]:
    """All image files below a folder, by their ending, hidden ones and those in hidden folders left out, sorted.

    Raises:
        OSError: a folder cannot be listed.
    """
    found: list[Path] = []
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if not entry.is_symlink():  # it may lead back to where it stands
                found += find_images(entry)
        elif entry.suffix.lower() in SUFFIXES:
            found.append(entry)
    return sorted(found)


def read_image(path: Path) -> Image.Image:
    """Decode a file.

    Raises:
        DataError: it cannot be decoded, for whatever cause.
    """
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except Exception as error:  # Pillow raises nearly anything on damaged files
        cause = getattr(error, "strerror", None) or "not an image Pillow can read"
        if not isinstance(error, UnidentifiedImageError) and getattr(error, "strerror", None) is None:
            cause = str(error) or type(error).__name__
        raise DataError(f"{path}: unreadable image ({cause}); repair or remove it") from None
