"""Folders level by level; all paths are from a root, with `/`."""

import os
from pathlib import Path
from typing import NamedTuple

from resnet_lab.data.sources.folders import is_hidden, is_image


class Branch(NamedTuple):
    """A folder whose images are of one class and, where the source states it, of one part."""

    name: str
    folder: str
    part: str = ""


class Level(NamedTuple):
    """Direct content of a folder, hidden entries left out, sorted."""

    folders: list[str]
    images: list[str]


def level_of(folder: Path) -> Level:
    """List a folder's direct content; raises `OSError` where it cannot be listed."""
    folders, images = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                continue
            if _is_folder(entry):
                folders.append(entry.name)
            elif is_image(entry.name):
                images.append(entry.name)
    return Level(sorted(folders), sorted(images))


def subfolders(folder: Path) -> list[str]:
    """Folders directly in a folder, sorted; none where it has images beside them, or cannot be listed.

    It stops at the first image, since class folders may hold very many.
    """
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_hidden(entry.name):
                    continue
                if _is_folder(entry):
                    found.append(entry.name)
                elif is_image(entry.name):
                    return []
    except OSError:
        return []
    return sorted(found)


def join(*names: str) -> str:
    """A path of those that are not empty."""
    return "/".join(name for name in names if name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that runs in circles
        return False
