"""WebDataset shards: tar files of `<key>.jpg` next to `<key>.cls`, on disks or behind URLs. Legend: N images.

A shard is read once to learn where each image stands in it; from then on images are read by number, like any other
source's, and those of one shard are asked for together. Shards behind URLs are fetched by the webdataset library, where
the user allows it, and kept in a folder of bounded size, so that a set may be larger than any disk.
"""

import json
import os
import re
import shlex
import tarfile
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from itertools import chain, repeat
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from resnet_lab.core.cache_location import cache_folder
from resnet_lab.core.columns import CategoryColumn, TextColumn
from resnet_lab.core.errors import DataError
from resnet_lab.core.files import write_atomically
from resnet_lab.core.images import ImageSet
from resnet_lab.core.positions import read_at
from resnet_lab.core.records import TABLE, read_json
from resnet_lab.data.cache_folders import SHARDS
from resnet_lab.data.decoding import MAX_BYTES, SUFFIXES
from resnet_lab.data.sources.assembly import PART_OF, require_classes, require_label, settled_parts, some
from resnet_lab.data.sources.braces import expanded
from resnet_lab.data.sources.folders import is_hidden, stamp_of
from resnet_lab.data.sources.permission import is_named, may_download

PREFIX = "wds:"
KEPT_BYTES_VARIABLE = "RESNET_LAB_SHARD_BYTES"
KEPT_BYTES = 100 * 2**30
"""Bytes of fetched shards kept on the disk; the environment variable overrides it."""

PIPE = "pipe"
REMOTE = ("http", "https", "ftps", "gs", "hf", "ais")
"""Schemes of URLs that are fetched."""

FORMAT = 2
LABEL = ".cls"
_PART = re.compile(rf"(?:^|[-_.])({'|'.join(PART_OF)})(?=[-_.\d])", re.IGNORECASE)


@dataclass(frozen=True)
class Member:
    """An image in a shard: its key, label, and where its bytes are."""

    key: str
    label: str
    offset: int
    size: int


@dataclass(frozen=True)
class Shard:
    """Content of a shard.

    Attributes:
        left_out: key or name of what is not taken, and cause.
        beside: how many other files there are beside images, by their ending.
    """

    members: tuple[Member, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    beside: Mapping[str, int] = field(default_factory=dict)


class _Places:
    """The images of a shard in little memory, and what else it holds.

    Attributes:
        offsets, sizes: of the images' bytes in the shard, shape (N,).
    """

    def __init__(self, shard: Shard) -> None:
        self.keys = TextColumn(member.key for member in shard.members)
        self.labels = CategoryColumn(member.label for member in shard.members)
        self.offsets = np.array([member.offset for member in shard.members], dtype=np.int64)
        self.sizes = np.array([member.size for member in shard.members], dtype=np.int32)
        self.left_out, self.beside = shard.left_out, shard.beside


def open_shards(pattern: str, download: bool = False, fewest: int = 2) -> ImageSet:
    """The images of shards: `wds:` and paths or URLs with braces, such as `wds:shards/train-{000..099}.tar`.

    A label is the text of `<key>.cls`. A shard whose name contains `train`, `val` or `test` gives that part.

    Args:
        download: let shards behind URLs be fetched that the user did not name; those behind a pipe never are.

    Raises:
        DataError: webdataset is not installed, a shard is missing or damaged or may not be fetched, a label cannot be
            written, or there are fewer than `fewest` classes.
    """
    urls = _expanded(pattern.removeprefix(PREFIX))
    store = _ShardStore(download)
    shards = [_Places(_indexed(url, store)) for url in urls]
    labels = {label for shard in shards for label in shard.labels.names}
    classes = sorted(labels, key=lambda label: (0, int(label), "") if label.isdecimal() else (1, 0, label))
    if not labels:
        raise DataError(f"{pattern}: no image with a label; shards hold <key>.jpg next to <key>.cls")
    for url, shard in zip(urls, shards, strict=True):
        for label in shard.labels.names:
            require_label(label, f"{_name(url)}/{shard.keys[shard.labels.index(label)]}")
    require_classes(classes, pattern, fewest)
    number = {label: index for index, label in enumerate(classes)}
    number_of = [np.array([number[label] for label in shard.labels.names], dtype=np.int64) for shard in shards]
    chunks = np.repeat(np.arange(len(shards), dtype=np.int32), [len(shard.keys) for shard in shards])
    offsets, sizes = (np.concatenate([getattr(shard, name) for shard in shards]) for name in ("offsets", "sizes"))

    def read(position: int) -> bytes:
        return store.read(urls[chunks[position]], int(offsets[position]), int(sizes[position]))

    parts, notes = settled_parts(
        chain.from_iterable(repeat(_part(url), len(shard.keys)) for url, shard in zip(urls, shards, strict=True))
    )
    return ImageSet(
        name=PREFIX + "::".join(urls),
        classes=tuple(classes),
        paths=TextColumn(
            f"{name}/{key}" for name, shard in zip(map(_name, urls), shards, strict=True) for key in shard.keys
        ),
        labels=np.concatenate(
            [numbers[shard.labels.codes] for numbers, shard in zip(number_of, shards, strict=True) if len(shard.keys)]
        ),
        read=read,
        stamp=lambda position: f"{_stamp(urls[chunks[position]])} {offsets[position]}",
        parts=parts,
        notes=(*notes, *_others(shards)),
        chunks=chunks,
        left_out=tuple(
            (f"{_name(url)}/{key}", cause)
            for url, shard in zip(urls, shards, strict=True)
            for key, cause in shard.left_out
        ),
    )


def _others(shards: Sequence[_Places]) -> list[str]:
    """Remarks on other files, such as descriptions."""
    endings = sum((Counter(shard.beside) for shard in shards), Counter[str]())
    listed = some(f"{number} {ending or 'without an extension'}" for ending, number in endings.most_common())
    return [f"other files are not read: {listed}"] if endings else []


def _expanded(pattern: str) -> list[str]:
    """Shards by path, absolute, or by URL, each once."""
    if "\0" in pattern:
        raise DataError(f"{PREFIX}{pattern}: no path has a NUL; name shards that are there")
    urls = [url if _is_remote(url) else str(Path(url).resolve()) for url in expanded(pattern)]
    names = [_name(url) for url in urls]
    if len(set(names)) < len(names):
        double = Counter(names).most_common(1)[0][0]
        raise DataError(f"{PREFIX}{pattern}: two shards are called {double}; give each a name of its own")
    for url in urls:
        if (scheme := _scheme(url)) not in ("", PIPE, *REMOTE):
            raise DataError(
                f"{url}: shards behind {scheme}: are not read; known: {', '.join(REMOTE)}, and paths on a disk"
            )
        if not _is_remote(url) and not os.path.isfile(url):
            raise DataError(f"{url}: no such shard of {PREFIX}{pattern}")
    return urls


class _ShardStore:
    """Opens shards, fetching those behind URLs where that is allowed."""

    def __init__(self, download: bool) -> None:
        self._download = download or may_download()
        self._lock = threading.Lock()
        self._fetched: Any = None

    def open(self, url: str) -> BinaryIO:
        """A shard's file; raises `OSError` where it cannot be fetched, and `DataError` where it may not be."""
        if not _is_remote(url):
            return Path(url).open("rb")
        with self._lock:  # fetching one may delete others, but none that is open
            return self._fetch(url).open("rb")

    def _fetch(self, url: str) -> Path:
        from webdataset.cache import FileCache

        if self._fetched is None:
            folder = cache_folder() / SHARDS
            folder.mkdir(parents=True, exist_ok=True)
            kept = int(os.environ.get(KEPT_BYTES_VARIABLE, KEPT_BYTES))
            self._fetched = FileCache(str(folder), cache_size=kept, cache_cleanup_interval=0, url_to_name=_fetched_name)
        if not (cache_folder() / SHARDS / _fetched_name(url)).exists():
            self._require_allowed(url)
        try:
            return Path(self._fetched.get_file(url))
        except Exception as error:  # the library's pipes and validators raise many kinds
            raise OSError(f"the shard cannot be fetched: {' '.join(str(error).split())}") from error

    def _require_allowed(self, url: str) -> None:
        if is_named(url):
            return
        if _scheme(url) == PIPE:
            raise DataError(
                f"{PREFIX}{url}: a command that a file names is never run; read it, and name it on the command line, "
                f"as in `resnet-lab data check {shlex.quote(PREFIX + url)}`, to have its shard fetched"
            )
        if not self._download:
            raise DataError(f"{PREFIX}{url} is not on this machine, and a file names it; fetch it with --download")

    def read(self, url: str, offset: int, size: int) -> bytes:
        """The bytes of an image."""
        with self.open(url) as file:
            content = read_at(file.fileno(), size, offset)
        if len(content) < size:
            raise OSError("the shard was cut short")
        return content


def _indexed(url: str, store: _ShardStore) -> Shard:
    """Index of a shard, memoised, since making it means reading the whole tar file."""
    remembered = cache_folder() / "shard-contents" / f"{sha256(f'{FORMAT} {url}'.encode()).hexdigest()[:16]}.json"
    stamp = _stamp(url)
    try:
        data = read_json(remembered, DataError, most=TABLE)
        if data["stamp"] == stamp:
            members = tuple(Member(**member) for member in data["members"])
            return Shard(members, tuple((key, cause) for key, cause in data["left_out"]), data["beside"])
    except (DataError, ValueError, KeyError, TypeError):
        pass  # missing or damaged: rebuilt
    try:
        with store.open(url) as file:
            shard = read_members(file)
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"{url}: not a whole tar file ({error}); fetch or write the shard again") from None
    remembered.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(remembered, json.dumps({"stamp": stamp, **asdict(shard)}).encode())
    return shard


def read_members(file: BinaryIO) -> Shard:
    """The images in a tar file with their labels, in its order; nothing is unpacked.

    Raises:
        OSError, tarfile.TarError: the file cannot be read to its end.
    """
    images: dict[str, Member] = {}
    labels: dict[str, set[str]] = {}
    others: list[str] = []
    left_out: list[tuple[str, str]] = []
    with tarfile.open(fileobj=file, mode="r:") as tar:
        for entry in tar:
            if entry.isdir() or _is_hidden(entry.name):
                continue
            key, ending = os.path.splitext(entry.name)
            if not entry.isreg():
                left_out.append((entry.name, "not a regular file"))
            elif ending.lower() == LABEL:
                content = tar.extractfile(entry)
                assert content is not None
                labels.setdefault(key, set()).add(content.read(4096).decode("utf-8", "replace").strip())
            elif ending.lower() not in SUFFIXES:
                others.append(entry.name)
            elif entry.size > MAX_BYTES:
                left_out.append((entry.name, f"{entry.size} bytes, more than {MAX_BYTES}"))
            elif key in images:
                left_out.append((entry.name, f"another image of the key {key} comes before it"))
            else:
                images[key] = Member(key, "", entry.offset_data, entry.size)
    images = _by_first_dot(images, labels)
    members = []
    for key, image in images.items():
        given = sorted(labels.get(key, set()) - {""})
        if len(given) == 1:
            members.append(replace(image, label=given[0]))
        elif given:
            left_out.append((key, f"labels {' and '.join(map(repr, given))}"))
        else:
            left_out.append((key, "no label: there is no text <key>.cls next to it"))
    keys = {*images, *map(_until_first_dot, images)}
    left_out += [(f"{key}{LABEL}", "there is no image next to it") for key in labels.keys() - images.keys()]
    beside = [name for name in others if {os.path.splitext(name)[0], _until_first_dot(name)} & keys]
    left_out += [(name, "neither an image nor next to one") for name in set(others).difference(beside)]
    endings = Counter(os.path.splitext(name)[1] for name in beside)
    return Shard(tuple(members), tuple(sorted(left_out)), dict(sorted(endings.items())))


def _by_first_dot(images: dict[str, Member], labels: Mapping[str, set[str]]) -> dict[str, Member]:
    """Images by their keys, which end at the last dot; or at the first, as the library has it, where the label's does.

    So `1. Mona Lisa.jpg` belongs to `1. Mona Lisa.cls`, and `7.input.jpg` to `7.cls` if that has no other image.
    """
    candidates: dict[str, list[str]] = {}
    for key in images.keys() - labels.keys():
        candidates.setdefault(_until_first_dot(key), []).append(key)
    short = {keys[0]: key for key, keys in candidates.items() if key in labels and key not in images and len(keys) == 1}
    return {short.get(key, key): replace(image, key=short.get(key, key)) for key, image in images.items()}


def _until_first_dot(name: str) -> str:
    folder, slash, base = name.rpartition("/")
    return f"{folder}{slash}{base.partition('.')[0]}"


def _is_hidden(name: str) -> bool:
    return any(is_hidden(part) for part in name.split("/") if part not in (".", ".."))


def _is_remote(url: str) -> bool:
    return _scheme(url) != ""


def _scheme(url: str) -> str:
    """Scheme of a URL, `pipe` for a command, and nothing for a path."""
    found = re.match(r"(pipe):|([A-Za-z0-9+.-]+)://", url)
    return "" if found is None else found[1] or found[2]


def _name(url: str) -> str:
    return url.rpartition("/")[2]


def _fetched_name(url: str) -> str:
    return f"{sha256(url.encode()).hexdigest()[:16]}.tar"


def _stamp(url: str) -> str:
    """Changes with a local shard; one behind a URL is taken to stay as it is."""
    if _is_remote(url):
        return url
    return stamp_of(url)


def _part(url: str) -> str:
    found = _PART.search(_name(url))
    return PART_OF[found.group(1).lower()] if found else ""
