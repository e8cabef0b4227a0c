"""Classification sets of torchvision, by name. Legend: N images.

A constructor's signature shows how its set is split: by `train`, by `split`, or not at all. One that takes a `loader`
reads image files, and hands over their paths where the loader is the identity; the others hand over decoded images.
"""

import inspect
import os
import pickle
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from numpy.typing import NDArray
from PIL.Image import Image

from resnet_lab.core.columns import TextColumn
from resnet_lab.core.errors import DataError, nearest
from resnet_lab.core.images import ImageSet
from resnet_lab.data.sources.assembly import Split, joined
from resnet_lab.data.sources.folders import access
from resnet_lab.data.sources.named import Named

OTHER_TASKS = """
CREStereo CarlaStereo ETH3DStereo FallingThingsStereo InStereo2k Kitti2012Stereo Kitti2015Stereo Middlebury2014Stereo
SceneFlowStereo SintelStereo FlyingChairs FlyingThings3D HD1K KittiFlow Sintel Cityscapes CocoCaptions CocoDetection
Kitti SBDataset VOCDetection VOCSegmentation WIDERFace CelebA Flickr30k Flickr8k HMDB51 Kinetics LFWPairs LSUN LSUNClass
MovingMNIST PhotoTour SBU UCF101
"""
"""Sets of boxes, masks, depths, flows, captions, attributes, pairs or films, or in a database of their own."""

NOT_SETS = {"DatasetFolder", "FakeData", "ImageFolder", "VisionDataset", "wrap_dataset_for_transforms_v2"}

SPLITS = (("train", ("train", "trainval", "train-standard")), ("val", ("val", "valid")), ("test", ("test",)))
"""Parts and what they are called; of several names the first that a set knows."""

FIXED = frozenset(
    {"self", "train", "download", "loader", "transform", "target_transform", "transforms"}
    | {"target_type", "target_types", "what", "compat"}
)
"""Parameters that are not the user's to set."""

LIBRARY_ERRORS = (
    RuntimeError,
    OSError,
    ValueError,
    LookupError,
    EOFError,
    pickle.UnpicklingError,
    tarfile.TarError,
    zipfile.BadZipFile,
)
"""Exceptions that torchvision raises where files are missing or damaged, or cannot be fetched."""


def open_torchvision(named: Named, download: bool) -> ImageSet:
    """A set, in the folder that its parameter `root` names or else in `default_root()`; official parts stay.

    Raises:
        DataError: no such set, one of another task, a parameter it does not have, or it is not there or damaged.
    """
    constructor = _constructor(named)
    named = Named(named.library, constructor.__name__, named.parameters)
    known = _parameters(constructor)
    named.require_known(set(known) - FIXED)
    given = dict(named.parameters)
    root = Path(str(given.pop("root", default_root()))).expanduser().absolute()
    if "root" in named.parameters:
        named = named.having(root=str(root))
    for name, parameter in known.items():
        if parameter.default is parameter.empty and name not in (*given, *FIXED, "root"):
            raise DataError(f"{named} needs its parameter {name!r}, as in {named.having(**{name: '...'})}")
    if not (download or os.path.isdir(root)):
        raise DataError(_absent(named, root, "there is no such folder"))
    fixed: dict[str, Any] = {"download": download} if "download" in known else {}
    if "loader" in known:
        fixed["loader"] = _path_itself
    datasets = list(_datasets(constructor, known, {**given, **fixed, "root": str(root)}, named, root))
    if not datasets:
        raise DataError(f"{named} has no split called train, val or test; name one, as in {named.having(split='...')}")
    names = _class_names([dataset for _, _, dataset in datasets], named)
    splits = [
        _of_files(part, dataset, root, named) if "loader" in known else _of_arrays(part, name, dataset, named)
        for part, name, dataset in datasets
    ]
    most = max((int(split.numbers.max(initial=-1)) for split in splits), default=-1)
    return joined(splits, names or [str(number) for number in range(most + 1)], name=str(named), where=str(named))


def default_root() -> Path:
    """Folder of torchvision's sets: `RESNET_LAB_DATA`, or the user's data folder of the platform."""
    return Path(os.environ.get("RESNET_LAB_DATA") or platformdirs.user_data_path("resnet-lab") / "torchvision")


def set_names() -> list[str]:
    """The sets that can be opened."""
    from torchvision import datasets

    return sorted(set(datasets.__all__) - {*OTHER_TASKS.split()} - NOT_SETS)


def _constructor(named: Named) -> type[Any]:
    from torchvision import datasets

    names = set_names()
    name = {known.lower(): known for known in names}.get(named.name.lower(), named.name)
    if name in OTHER_TASKS.split():
        raise DataError(f"{named}: torchvision's {name} is not a set of pictures that each have one class")
    if name in ("DatasetFolder", "ImageFolder"):
        raise DataError(f"{named}: give the path of the folder itself; it needs no torchvision")
    if name not in names:
        raise DataError(f"{named}: torchvision has no classification set of that name; {nearest(name, names)}")
    constructor: type[Any] = getattr(datasets, name)
    return constructor


def _parameters(constructor: type[Any]) -> dict[str, inspect.Parameter]:
    """Parameters of a constructor and, where it passes on unknown ones, of its bases'."""
    known: dict[str, inspect.Parameter] = {}
    for base in constructor.__mro__:
        own = inspect.signature(vars(base)["__init__"]).parameters if "__init__" in vars(base) else {}
        for name, parameter in own.items():
            if parameter.kind is not parameter.VAR_KEYWORD:
                known.setdefault(name, parameter)
        if own and not any(parameter.kind is parameter.VAR_KEYWORD for parameter in own.values()):
            break
    return known


def _datasets(
    constructor: type[Any], known: dict[str, inspect.Parameter], arguments: dict[str, Any], named: Named, root: Path
) -> Iterator[tuple[str, str, Any]]:
    """Part, name and data set of each split."""

    def made(**split: object) -> Any:
        try:
            return constructor(**arguments, **split)
        except LIBRARY_ERRORS as error:
            cause = re.sub(r"\.? You can (use|set) download=True.*", "", " ".join(str(error).split()))
            if isinstance(error, ValueError) and cause.startswith(("Unknown value", "Expected type")):
                if "split" in split and "argument split" in cause:
                    return None
                raise DataError(f"{named}: {cause}") from None
            if arguments.get("download"):
                raise DataError(f"{named} cannot be fetched into {root}: {cause}") from error
            raise DataError(_absent(named, root, cause, "download" in known)) from error

    if "train" in known:
        yield "train", "train", made(train=True)
        yield "test", "test", made(train=False)
    elif "split" in known and "split" not in arguments:
        for part, names in SPLITS:
            for name in names:
                if (dataset := made(split=name)) is not None:
                    yield part, name, dataset
                    break
    else:
        yield "", "", made()


def _absent(named: Named, root: Path, cause: str, fetched: bool = True) -> str:
    remedy = "fetch it with --download, or name its folder: root='...'" if fetched else "put it there by hand"
    return f"{named} is not whole in {root} ({cause or 'files are missing'}); {remedy}"


def _path_itself(path: str | Path) -> str:
    return os.fspath(path)


def _of_files(part: str, dataset: Any, root: Path, named: Named) -> Split:
    entries = [dataset[index] for index in range(len(dataset))]
    paths = TextColumn(Path(os.path.relpath(path, root)).as_posix() for path, _ in entries)
    read, stamp = access(str(root), paths)
    return Split(part, paths, _numbers([target for _, target in entries], named), read, stamp)


def _of_arrays(part: str, name: str, dataset: Any, named: Named) -> Split:
    paths = TextColumn(f"{name}/{index:06d}".lstrip("/") for index in range(len(dataset)))
    return Split(part, paths, _numbers(_targets(dataset), named), _decoded(dataset))


def _targets(dataset: Any) -> Sequence[Any]:
    """The targets, from the lists that most sets keep; from the images' own where there is none."""
    for attribute in ("targets", "labels", "_labels", "y"):
        targets = getattr(dataset, attribute, None)
        if targets is not None and np.shape(targets) == (len(dataset),):
            return list(targets)
    if hasattr(dataset, "_samples"):
        return [target for _, target in dataset._samples]
    return [dataset[index][1] for index in range(len(dataset))]


def _numbers(targets: Sequence[Any], named: Named) -> NDArray[np.int64]:
    try:
        return np.array([-1 if target is None else int(target) for target in targets], dtype=np.int64)
    except (TypeError, ValueError):
        raise DataError(f"{named}: its targets are not class numbers; the first is {targets[0]!r}") from None


def _class_names(datasets: Sequence[Any], named: Named) -> list[str]:
    """The names, by number; none where a set has numbers only."""

    def of(dataset: Any) -> list[str]:
        for attribute in ("classes", "categories", "all_categories", "class_to_idx"):
            if hasattr(dataset, attribute):
                return [name if isinstance(name, str) else ", ".join(name) for name in getattr(dataset, attribute)]
        return []

    first, *others = [of(dataset) for dataset in datasets]
    if any(other != first for other in others):
        raise DataError(f"{named}: its parts have different classes; files of some are missing")
    return first


def _decoded(dataset: Any) -> Callable[[int], Image]:
    def read(index: int) -> Image:
        try:
            image: Image = dataset[index][0]
        except OSError:
            raise
        except Exception as error:  # Pillow raises nearly anything on damaged files
            raise OSError(str(error) or type(error).__name__) from error
        return image

    return read
