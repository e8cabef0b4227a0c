"""Kind of source that a text names."""

import os
import stat
from dataclasses import replace
from pathlib import Path

from resnet_lab.core.errors import DataError, nearest
from resnet_lab.core.images import ImageSet
from resnet_lab.data.sources.class_folders import open_class_folders
from resnet_lab.data.sources.folders import is_image
from resnet_lab.data.sources.hugging_face import is_saved, open_hugging_face
from resnet_lab.data.sources.manifest import SUFFIXES as MANIFESTS
from resnet_lab.data.sources.manifest import open_manifest
from resnet_lab.data.sources.named import Named
from resnet_lab.data.sources.permission import may_download
from resnet_lab.data.sources.shards import open_shards
from resnet_lab.data.sources.torchvision_sets import open_torchvision
from resnet_lab.network.plugins import Registry
from resnet_lab.network.spec import Component

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".7z", ".rar")


def open_images(source: str, registry: Registry, *, download: bool = False, fewest: int = 2) -> ImageSet:
    """The images of a source.

    Args:
        source: a registered data set (`digits`, `synthetic(images=500)`); `torchvision:NAME`, `hf:NAME`, `wds:SHARDS`;
            or the path of a folder of class folders, of a manifest (.csv, .tsv, .parquet), or of a set saved by Hugging
            Face's library. A registered name comes before a folder of that name; write `./digits` for the folder.
        download: let a library fetch a set that is not there, as `permission.allow_download` does for all.
        fewest: classes that there have to be; to be scored, one is enough.

    Raises:
        DataError: there is no such source, or its images and labels cannot train a classifier.
        SpecError: a parameter that a registered data set does not have.
    """
    download = download or may_download()
    library, colon, rest = source.partition(":")
    if colon and library == "torchvision":
        return open_torchvision(Named.parse(library, rest), download)
    if colon and library == "hf":
        return open_hugging_face(rest, download, fewest)
    if colon and library == "wds":
        return open_shards(source, download, fewest)
    if source.partition("(")[0] in registry.names("dataset"):
        return _registered(source, registry)
    return _on_disk(source, registry, fewest)


def _registered(source: str, registry: Registry) -> ImageSet:
    images = registry.bind("dataset", Component.parse(source), "data")()
    if not isinstance(images, ImageSet):
        raise DataError(f"data set {source!r} gave {type(images).__name__}, not an ImageSet; its plugin is at fault")
    return replace(images, name=source)


def _on_disk(source: str, registry: Registry, fewest: int) -> ImageSet:
    path = Path(source)
    try:
        mode = os.stat(source).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):
        known = nearest(source, registry.names("dataset"))
        raise DataError(f"{source}: no such folder, and no data set of that name; {known}") from None
    except OSError as error:
        raise DataError(f"{source}: cannot be opened: {error.strerror}") from None
    if not stat.S_ISDIR(mode):
        if stat.S_ISREG(mode) and path.suffix.lower() in MANIFESTS:
            return open_manifest(path, fewest)
        raise DataError(f"{source} is {_kind_of(path.name)}{', '.join(MANIFESTS)})")
    try:
        saved = is_saved(path)
    except OSError as error:
        raise DataError(f"{source}: cannot be opened: {error.strerror}") from None
    return open_hugging_face(source, False, fewest) if saved else open_class_folders(path, fewest)


def _kind_of(name: str) -> str:
    """The kind of a file that is no source, and what to give instead, by its name."""
    wanted = "the folder that holds one folder of images per class, or a manifest ("
    if name.lower().endswith(ARCHIVES):
        return f"an archive; unpack it, and give {wanted}"
    if is_image(name):
        return f"a single image, which predict and explain take; give {wanted}"
    return f"a file; give {wanted}"
