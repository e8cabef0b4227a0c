"""A folder of class folders, or of files named after their class. Legend: N images."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from unicodedata import normalize

import numpy as np

from resnet_lab.core.columns import TextColumn
from resnet_lab.core.errors import DataError
from resnet_lab.core.images import ImageSet
from resnet_lab.core.wording import counted
from resnet_lab.data.sources.artists import Artists, read_artists
from resnet_lab.data.sources.assembly import require_classes, require_label, settled_parts
from resnet_lab.data.sources.folders import ENDINGS, Listing, access, folder_by_folder, is_image
from resnet_lab.data.sources.layout import NUMBERED, FolderLayout, find_layout
from resnet_lab.data.sources.levels import Branch
from resnet_lab.data.sources.spelling import class_names, repaired

Found = dict[str, list[tuple[str, str]]]
"""Path and part of the images, by the name of their folder, or the one in their own names."""


def open_class_folders(root: Path, fewest: int = 2) -> ImageSet:
    """The images of a folder, its layout recognised, spellings of one name put together, artists.csv joined.

    Args:
        fewest: classes that there have to be.

    Raises:
        DataError: the folder cannot be listed; no class folder, a single one, or one without an image; folders that
            can be read as parts and as classes.
    """
    try:
        layout = find_layout(root)
    except OSError as error:
        raise DataError(f"{error.filename or root}: cannot be listed: {error.strerror}") from None
    listing, beside = Listing(root), Listing(root)
    aside = {folder: beside.images(folder) for folder in layout.aside}
    found = _flat(listing, layout.flat) if layout.flat is not None else _branches(listing, layout.branches)
    if not found:
        if images := sum(is_image(path) for path in layout.strays):
            raise DataError(
                f"{root} holds {counted(images, 'image')} and no folder, as one class does; give the folder above it, "
                f"{root.resolve().parent}, which must hold one folder of images per class"
            )
        raise DataError(f"{root} holds no folder; it must hold one folder of images per class")
    if not any(found.values()):
        _refuse_locked(listing)
        other = Counter(PurePosixPath(path).suffix.lower() for path, _ in listing.left_out) - Counter({"": 10**9})
        found_instead = f"; its files end in {', '.join(sorted(other)[:5])}: convert them" if other else ""
        raise DataError(f"{root} holds no image in its class folders; images end in {ENDINGS}{found_instead}")
    artists = read_artists(layout.table) if layout.table is not None else Artists()
    known = artists.class_names(found)
    class_of = {**class_names([name for name in found if name not in known]), **known}
    _require_images(found, class_of, listing, layout)
    for label in sorted(set(class_of.values())):
        require_label(label, str(root))
    of_class: dict[str, list[tuple[str, str]]] = {}
    for name, files in found.items():
        of_class.setdefault(class_of[name], []).extend(files)
    classes = tuple(sorted(label for label, files in of_class.items() if files))
    for label in classes:
        if len(layout.branches) > len(of_class):  # several folders are one class; each is sorted
            of_class[label].sort(key=lambda image: folder_by_folder(image[0]))
    numbers = np.repeat(np.arange(len(classes)), [len(of_class[label]) for label in classes])
    require_classes(classes, str(root), fewest)
    paths = TextColumn(path for label in classes for path, _ in of_class[label])
    read, stamp = access(str(root.resolve()), paths)
    settled, open_notes = settled_parts([part for label in classes for _, part in of_class[label]])
    strays = [*layout.strays, *(path for paths in aside.values() for path in paths)]
    what = "folders" if layout.flat is None else "names"
    lone = [
        f"{len(paths)} images in {folder} are of no class and set aside" for folder, paths in aside.items() if paths
    ]
    notes = [*layout.notes, *lone, *artists.notes, *_spellings(class_of, known, what), *open_notes]
    if artists.paintings:
        counts = Counter({label: len(of_class[label]) for label in classes})
        notes += artists.compared(counts, set(found) - set(known))
    return ImageSet(
        name=str(root.resolve()),
        classes=classes,
        paths=paths,
        labels=numbers,
        read=read,
        stamp=stamp,
        parts=settled,
        left_out=tuple(sorted([*listing.left_out, *((path, "it lies in no class folder") for path in strays)])),
        notes=tuple(notes),
    )


def _branches(listing: Listing, branches: Sequence[Branch]) -> Found:
    found: Found = {}
    for branch in branches:
        images = listing.images(branch.folder)
        if branch.folder not in listing.loops:
            found.setdefault(branch.name, []).extend((path, branch.part) for path in images)
    return found


def _flat(listing: Listing, folder: str) -> Found:
    found: Found = {}
    for path in listing.images(folder):
        if match := NUMBERED.fullmatch(PurePosixPath(path).stem):
            found.setdefault(match["name"], []).append((path, ""))
        else:
            listing.left_out.append((path, "its name is not of the form <class>_<number>"))
    return found


def _require_images(found: Found, class_of: Mapping[str, str], listing: Listing, layout: FolderLayout) -> None:
    """Raise `DataError` for a class without an image."""
    filled = {class_of[name] for name, files in found.items() if files}
    for branch in layout.branches:
        if branch.name in found and class_of[branch.name] not in filled:
            _refuse_locked(listing, branch.folder)
            raise DataError(f"{listing.root / branch.folder}: a class folder without an image; fill it or remove it")


def _refuse_locked(listing: Listing, below: str = "") -> None:
    """Raise `DataError` where a folder seems empty because it may not be read."""
    for folder, error in listing.locked.items():
        if not below or f"{folder}/".startswith(f"{below}/"):
            raise DataError(f"{listing.root / folder}: cannot be listed: {error.strerror}")


def _spellings(class_of: Mapping[str, str], known: Mapping[str, str], what: str) -> list[str]:
    """Folders or names that were merged, and those that were repaired."""
    notes = []
    for label in sorted(set(class_of.values())):
        names = sorted(name for name in class_of if class_of[name] == label)
        quoted = [repr(name) for name in names]
        if len(names) > 1:
            notes.append(f"{what} {', '.join(quoted[:-1])} and {quoted[-1]} are one class, {label}")
        elif names[0] not in known and repaired(names[0]) != normalize("NFC", names[0]):
            notes.append(f"{quoted[0]} is read as {label}")
    return notes
