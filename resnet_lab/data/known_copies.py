"""Known near copies, kept in a folder of the cache: the same pictures are searched once.

The file has a digest of the signatures that it is of. A file that is damaged, or of other signatures, is recomputed.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from resnet_lab.core.errors import DataError, RunError
from resnet_lab.core.files import write_atomically
from resnet_lab.core.records import Items, Record, read_json, validated
from resnet_lab.data.cache_folders import GROUPS
from resnet_lab.data.image_columns import Signatures
from resnet_lab.data.near_copies import ALGORITHM, LARGEST, NearCopies, find_near_copies, of_several


class _Found(Record):
    """Content of the file.

    Attributes:
        signatures: their digest, with the version of the algorithm.
        compared: whether near copies were looked for at all.
        groups: positions of the images of each group.
        contents: digest of the images' own digests, from which their signatures follow; empty in older files.
        digest: of all else.
    """

    signatures: str
    compared: bool
    groups: Items[Annotated[list[int], Field(min_length=2, max_length=LARGEST)]]
    crowds: Items[Annotated[int, Field(gt=LARGEST)]]
    contents: str = ""
    digest: str


def near_copies(signatures: Sequence[bytes], folder: Path, contents: str = "") -> NearCopies:
    """`find_near_copies`, or what was found of the same signatures before.

    Args:
        folder: of the cache, which keeps what is found.
        contents: digest of the images' contents, so that their signatures need not be read where it is known.
    """
    path, contents = folder / GROUPS, f"{ALGORITHM} {contents}" if contents else ""
    known = _read(path, len(signatures))
    if known and contents and known.contents == contents:
        return _near_copies(known, signatures)
    key = _digest_of(signatures)
    same = known is not None and known.signatures == key
    found = _near_copies(known, signatures) if known and same else find_near_copies(signatures)
    if not same or contents:
        with suppress(RunError):  # then they are looked for again next time
            write_atomically(path, _written(found, key, contents))
    return found


def _read(path: Path, number: int) -> _Found | None:
    """Content of the file, where it is sound and of as many images."""
    try:
        found = validated(_Found, read_json(path, DataError), str(path), DataError)
    except DataError:
        return None
    positions = list(chain.from_iterable(found.groups))
    sound = len(set(positions)) == len(positions) and all(0 <= position < number for position in positions)
    rest = [found.contents] if found.contents else []
    own = found.digest == _digest(found.signatures, found.compared, found.groups, found.crowds, *rest)
    return found if own and sound else None


def _near_copies(found: _Found, signatures: Sequence[bytes]) -> NearCopies:
    groups = np.arange(len(signatures), dtype=np.int64)
    for members in found.groups:
        groups[members] = members[0]
    there = (
        signatures.there if isinstance(signatures, Signatures) else np.array(list(map(bool, signatures)), dtype=bool)
    )
    compared = there & found.compared
    return NearCopies(groups, compared, tuple(found.crowds))


def _written(found: NearCopies, key: str, contents: str) -> bytes:
    groups, compared = of_several(found.groups), bool(found.compared.any())
    content = {"signatures": key, "compared": compared, "groups": groups, "crowds": list(found.crowds)}
    content |= {"contents": contents} if contents else {}
    return json.dumps({**content, "digest": _digest(*content.values())}).encode()


def _digest(*content: object) -> str:
    return sha256(json.dumps(content).encode()).hexdigest()


def _digest_of(signatures: Sequence[bytes]) -> str:
    digest = sha256(f"{ALGORITHM}".encode())
    for each in signatures:
        digest.update(len(each).to_bytes(8, "big"))
        digest.update(each)
    return digest.hexdigest()
