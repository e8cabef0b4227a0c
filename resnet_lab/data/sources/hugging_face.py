"""Image sets of Hugging Face's `datasets`: saved with `save_to_disk`, or by name from the hub. Legend: N images."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from resnet_lab.core.columns import TextColumn
from resnet_lab.core.errors import DataError
from resnet_lab.core.images import ImageSet
from resnet_lab.data.sources.assembly import Split, joined, part_of, some
from resnet_lab.data.sources.folders import read_file, stamp_of
from resnet_lab.data.sources.named import Named

PARAMETERS = {"image", "label", "config"}


def is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` wrote a folder."""
    single = [folder / "dataset_info.json", folder / "state.json"]
    return os.path.isfile(folder / "dataset_dict.json") or all(map(os.path.isfile, single))


def open_hugging_face(text: str, download: bool, fewest: int = 2) -> ImageSet:
    """The set that `text` names: a saved folder, or a name on the hub, with parameters where columns must be chosen.

    Without `download` a set of the hub is taken from the library's cache, and nothing is asked of the network. No code
    of a set is ever run.

    Raises:
        DataError: the library is not installed, the set is not there, or its columns do not show which is the image
            and which the label.
    """
    named = Named("hf", text, {}) if os.path.isdir(text) else Named.parse("hf", text)
    named.require_known(PARAMETERS)
    library = _library(named)
    if os.path.isdir(named.name):
        named = Named("hf", str(Path(named.name).resolve()), named.parameters)
        loaded, folder = _saved(library, named), named.name
    else:
        loaded, folder = _of_hub(library, named, download), None
    datasets = {"": loaded} if isinstance(loaded, library.Dataset) else dict(loaded)
    return _image_set(library, datasets, named, folder, fewest)


def _library(named: Named) -> ModuleType:
    try:
        return import_module("datasets")
    except ImportError:
        raise DataError(f'{named}: the library datasets is not installed; pip install "resnet-lab[hf]"') from None


def _saved(library: ModuleType, named: Named) -> Any:
    if not is_saved(Path(named.name)):
        raise DataError(f"{named}: a folder of that name is here, and save_to_disk did not write it")
    try:
        return library.load_from_disk(named.name)
    except _errors(library) as error:
        raise DataError(f"{named} cannot be read: {_one_line(error)}") from error


def _of_hub(library: ModuleType, named: Named, download: bool) -> Any:
    try:
        with _network(library, download):
            return library.load_dataset(named.name, named.parameters.get("config"))
    except _errors(library) as error:
        if "Config name is missing" in str(error):
            cause = _one_line(error)
            raise DataError(f"{named} needs a configuration, as in {named.having(config='...')}: {cause}") from None
        if download:
            raise DataError(f"{named} cannot be fetched: {_one_line(error)}") from error
        raise DataError(f"{named} is not in the library's cache; fetch it with --download") from error


@contextmanager
def _network(library: ModuleType, allowed: bool) -> Iterator[None]:
    """The library's own offline mode, for as long as this lasts."""
    before = library.config.HF_HUB_OFFLINE
    library.config.HF_HUB_OFFLINE = before or not allowed
    try:
        yield
    finally:
        library.config.HF_HUB_OFFLINE = before


def _errors(library: ModuleType) -> tuple[type[Exception], ...]:
    """Exceptions that the library raises where a set is missing or damaged."""
    return OSError, ValueError, LookupError, RuntimeError, library.exceptions.DatasetsError


def _image_set(
    library: ModuleType, datasets: Mapping[str, Any], named: Named, folder: str | None, fewest: int
) -> ImageSet:
    """The set; where it is of a folder, which may be untrusted, it reads nothing outside of it."""
    notes = []
    known = {name: dataset for name, dataset in datasets.items() if part_of(name)}
    if known and len(known) < len(datasets):
        notes.append(f"splits that are no part are ignored: {some(sorted(set(datasets) - set(known)))}")
    datasets = known or datasets
    features = next(iter(datasets.values())).features
    image, label = _image_column(library, features, named), _label_column(library, features, named)
    for name, dataset in datasets.items():
        if dataset.features.get(image) != features[image] or dataset.features.get(label) != features[label]:
            raise DataError(f"{named}: split {name!r} has other columns {image!r} or {label!r} than the first")
        if folder is not None:
            _require_within(folder, dataset, image, named)
    labels = {name: dataset[label][:] for name, dataset in datasets.items()}
    names, number = _classes(library, features[label], labels)
    splits = []
    for name, dataset in datasets.items():
        numbers = np.array([number(each) for each in labels[name]], dtype=np.int64)
        splits.append(_split(library, name, dataset, image, numbers, folder or ""))
    return joined(splits, names, name=str(named), where=str(named), notes=notes, fewest=fewest)


def _image_column(library: ModuleType, features: Mapping[str, Any], named: Named) -> str:
    images = [name for name, feature in features.items() if isinstance(feature, library.Image)]
    return _chosen("image", images, images, features, named)


def _label_column(library: ModuleType, features: Mapping[str, Any], named: Named) -> str:
    """Class labels come first; where there are none, texts are taken for them."""
    labels = [name for name, feature in features.items() if isinstance(feature, library.ClassLabel)]
    values = {name: feature.dtype for name, feature in features.items() if type(feature) is library.Value}
    texts = [name for name, dtype in values.items() if "string" in dtype]
    whole = [name for name, dtype in values.items() if "int" in dtype or dtype == "bool"]
    return _chosen("label", labels or texts, [*labels, *texts, *whole], features, named)


def _chosen(
    what: str, candidates: Sequence[str], allowed: Sequence[str], features: Mapping[str, Any], named: Named
) -> str:
    """The column that the user named, or the only one that it can be."""
    chosen = named.parameters.get(what)
    if chosen is not None:
        if chosen not in allowed:
            raise DataError(f"{named}: {chosen!r} is no column of {what}s; it can be {', '.join(allowed) or 'none'}")
        return str(chosen)
    if not candidates:
        raise DataError(f"{named} has no column of {what}s; its columns are {', '.join(features)}")
    if len(candidates) > 1:
        raise DataError(
            f"{named}: several columns can be the {what}: {', '.join(candidates)}; name one, as in "
            f"{named.having(**{what: candidates[0]})}"
        )
    return candidates[0]


def _classes(
    library: ModuleType, feature: Any, labels: Mapping[str, Sequence[Any]]
) -> tuple[list[str], Callable[[Any], int]]:
    """Names of the classes, and the function from a label to its number; -1 where there is none."""
    if isinstance(feature, library.ClassLabel):
        return list(feature.names), lambda label: -1 if label is None else int(label)
    values = sorted({label for of_split in labels.values() for label in of_split if label is not None})
    place = {value: number for number, value in enumerate(values)}
    return [str(value) for value in values], lambda label: place.get(label, -1)


def _require_within(folder: str, dataset: Any, image: str, named: Named) -> None:
    """Raise `DataError` where a folder names files outside of it, as those of its tables or of images."""
    from pyarrow import compute

    column = dataset.data.column(image)
    without_bytes = compute.is_null(compute.struct_field(column, "bytes"))
    images = compute.struct_field(column, "path").filter(without_bytes).drop_null().unique().to_pylist()
    for path in (*(file["filename"] for file in dataset.cache_files), *images):
        real = os.path.realpath(os.path.join(folder, path))
        if os.path.commonpath([folder, real]) != folder:
            raise DataError(
                f"{named} names a file outside its folder, {real}; save the set again with save_to_disk, which puts "
                "images into the folder"
            )


def _split(library: ModuleType, name: str, dataset: Any, image: str, numbers: NDArray[np.int64], folder: str) -> Split:
    rows = dataset.select_columns([image]).cast_column(image, library.Image(decode=False))

    def read(index: int) -> bytes | Image:
        row = rows[index][image]
        if row is None or (row["bytes"] is None and row["path"] is None):
            raise OSError("the row holds no image")
        content: bytes | None = row["bytes"]
        return read_file(os.path.join(folder, row["path"])) if content is None else content

    paths = TextColumn(f"{name}/{index:06d}".lstrip("/") for index in range(len(dataset)))
    return Split(part_of(name), paths, numbers, read, _stamp(dataset, image))


def _stamp(dataset: Any, image: str) -> Callable[[int], str] | None:
    """Fingerprint of the library's files where these hold the images themselves; none where they name other files."""
    from pyarrow import compute

    if not dataset.cache_files or compute.struct_field(dataset.data.column(image), "bytes").null_count:
        return None
    files = " ".join(stamp_of(file["filename"]) for file in dataset.cache_files)
    digest = sha256(files.encode()).hexdigest()[:16]
    return lambda index: f"{digest} {index}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
