"""Folders that are the parts of a split, distinguished from class folders by their names and by what is in them.

ROOT/Training/<class>/... ROOT/Testing/<class>/...      parts above classes
ROOT/seg_train/seg_train/<class>/... ROOT/seg_test/...  the same, as archives unpack them
ROOT/train/<class>/... ROOT/test/*.jpg                  test images without a class, which are set aside
ROOT/<class>/train/*.jpg ROOT/<class>/test/*.jpg        parts below classes
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from resnet_lab.core.errors import DataError
from resnet_lab.data.sources.assembly import FILLERS, named_part, some
from resnet_lab.data.sources.folders import find_images
from resnet_lab.data.sources.levels import Branch, join, level_of, subfolders
from resnet_lab.data.sources.spelling import loose_key


@dataclass(frozen=True)
class PartFolders:
    """Roles of the folders of one level.

    Attributes:
        branches: class folders with their part; none where the folders are no parts.
        aside: folders with images that belong to no class.
        strays: images that lie next to the class folders of a part.
        within: a folder to look into instead, which holds the parts.
    """

    branches: tuple[Branch, ...] = ()
    aside: tuple[str, ...] = ()
    strays: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    within: str | None = None


def find_parts(root: Path, folder: str, folders: Sequence[str]) -> PartFolders:
    """Roles of a folder's `folders`, where there are parts among them.

    Raises:
        DataError: they can be read as parts and as classes.
    """
    if parts := _partition(folders):
        return _parts(root, folder, parts, [name for name in folders if name not in parts])
    inner = {name: subfolders(root / join(folder, name)) for name in folders}
    sets = {name: parts for name, below in inner.items() if (parts := _partition(below))}
    if not sets:
        return PartFolders()
    others = [name for name in folders if name not in sets and _holds_images(root / join(folder, name))]
    if len(sets) == 1 and not others and len(folders) > 1:
        (within,) = sets
        empty = [name for name in folders if name != within]
        return PartFolders(within=within, notes=(_passed_over(empty, "hold no image"),))
    below_classes = all(_is_class(root / join(folder, name, part)) for name, parts in sets.items() for part in parts)
    parts = next(iter(sets.values()))
    if below_classes and not others and all(len(sets[name]) == len(inner[name]) for name in sets):
        branches = [Branch(name, join(folder, name, each), part) for name in sets for each, part in sets[name].items()]
        return PartFolders(
            tuple(branches), notes=(f"the folders {_listed(parts)} in each class folder are taken as parts",)
        )
    beside = f" beside {some(others)}" if others else ""
    what = "class with images in parts" if below_classes else "set of its own"
    raise DataError(
        f"{root / folder}: {some(sets)} can each be a {what} ({', '.join(parts)}){beside}, or a class whose images lie "
        "deeper: give every class the same parts or none, or name the folder of one set"
    )


def _partition(folders: Sequence[str]) -> dict[str, str]:
    """The folders that are named for parts, with their part: training and another one, alike but for that word."""
    groups: dict[str, dict[str, str]] = {}
    for name in folders:
        part, rest = named_part(name)
        if part:
            groups.setdefault(rest, {})[name] = part
    whole = [group for group in groups.values() if "train" in group.values() and len(set(group.values())) > 1]
    return whole[0] if len(whole) == 1 else {}


def _parts(root: Path, folder: str, parts: Mapping[str, str], others: Sequence[str]) -> PartFolders:
    """Roles of folders, some of which are named for parts."""
    others = [name for name in others if _holds_images(root / join(folder, name))]
    inside = {name: _Inside.of(root, join(folder, name)) for name in parts}
    known = {loose_key(each) for name in parts if parts[name] == "train" for each in inside[name].classes}
    where = root / folder
    if not known:
        if others or not any(each.images for each in inside.values()):
            return PartFolders()
        raise DataError(
            f"{where}: {', '.join(parts)} can be the parts of a split, whose images then have no class, or classes of "
            f"that name; give each part a folder of images per class, write a manifest with the columns path, label "
            "and split, or rename the folders"
        )
    shared = {
        name: bool(known & {loose_key(each) for each in inside[name].classes})
        for name in parts
        if parts[name] != "train" and inside[name].classes
    }
    foreign = [name for name, is_shared in shared.items() if not is_shared and len(inside[name].classes) > 1]
    divided = [name for name in others if _has_folders(where / name)]
    if foreign or divided:
        listed = f"parts {', '.join(parts)}" + (f" with {some(others)} left out" if others else "")
        because = f"{foreign[0]} has other classes than the training part" if foreign else f"{divided[0]} is no part"
        raise DataError(
            f"{where} can be read as the {listed}, or as the classes {some(sorted([*parts, *others]))}: {because}; "
            "move or rename what does not belong"
        )
    aside = [inside[name].folder for name in parts if name not in shared and parts[name] != "train"]
    aside += [inside[name].folder for name, is_shared in shared.items() if not is_shared]
    aside += [join(folder, name) for name in others]
    taken = [name for name in sorted(parts) if inside[name].folder not in aside]
    if {parts[name] for name in taken} == {"train"}:
        notes = [f"the class folders are those in {', '.join(inside[name].folder for name in taken)}"]
    else:
        notes = [f"the folders {_listed({name: parts[name] for name in taken})} are taken as parts"]
    return PartFolders(
        tuple(
            Branch(each, join(inside[name].folder, each), parts[name])
            for name in taken
            for each in inside[name].classes
        ),
        aside=tuple(sorted(aside)),
        strays=tuple(join(inside[name].folder, image) for name in taken for image in inside[name].images),
        notes=tuple(notes),
    )


@dataclass(frozen=True)
class _Inside:
    """Content of a part: in itself, or in the folder of its own name that an archive made of it."""

    folder: str
    classes: tuple[str, ...]
    images: tuple[str, ...]

    @classmethod
    def of(cls, root: Path, folder: str) -> "_Inside":
        try:
            level = level_of(root / folder)
        except OSError:
            return cls(folder, (), ())
        if len(level.folders) == 1 and not level.images:
            (only,) = level.folders
            if only.lower() in FILLERS or named_part(only)[0] == named_part(Path(folder).name)[0] != "":
                return cls.of(root, join(folder, only))
        return cls(folder, tuple(level.folders), tuple(level.images))


def _is_class(folder: Path) -> bool:
    """Whether a folder has images directly in it, and no folders."""
    try:
        level = level_of(folder)
    except OSError:
        return False
    return bool(level.images) and not level.folders


def _has_folders(folder: Path) -> bool:
    try:
        return bool(level_of(folder).folders)
    except OSError:
        return True


def _holds_images(folder: Path) -> bool:
    try:
        return bool(find_images(folder))
    except OSError:
        return True


def _listed(parts: Mapping[str, str]) -> str:
    """Folders, and their part where the name is another word."""
    return ", ".join(name if part in name.lower() else f"{name} ({part})" for name, part in sorted(parts.items()))


def _passed_over(folders: Sequence[str], why: str) -> str:
    return f"folders that {why} are ignored: {some(folders)}"
