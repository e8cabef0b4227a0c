"""Stamps of the images of a set, as numbers. Legend: N images."""

from array import array
from hashlib import blake2b, sha256
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from resnet_lab.core.columns import TextColumn
from resnet_lab.core.images import ImageSet

Stamps: TypeAlias = NDArray[np.uint64]
"""Hash of each image's stamp, shape (N,); 0 where there is no such image."""


def stamps_of(images: ImageSet) -> Stamps | None:
    """The stamps of all images now; None where the source has none."""
    if images.stamp is None:
        return None
    stamp, found = images.stamp, array("Q")
    for position in range(len(images)):
        try:
            found.append(hash_of(stamp(position).encode("utf-8", "surrogateescape")))
        except OSError:  # gone or locked up since it was listed: reading it will say why
            found.append(0)
    return np.frombuffer(found, np.uint64).copy()


def hash_of(stamp: bytes) -> int:
    """64 bits, never 0."""
    return int.from_bytes(blake2b(stamp, digest_size=8).digest(), "big") or 1


def key_of(images: ImageSet, stamps: Stamps | None, *facts: str) -> str:
    """Digest of the images' paths and stamps and of other facts; the empty text where one of them is not known."""
    if stamps is None or not stamps.all() or not all(facts):
        return ""
    paths = TextColumn.of(images.paths)
    digest = sha256(repr(facts).encode("utf-8", "surrogatepass"))
    for piece in (paths.content, paths.ends.astype("<u8").tobytes(), stamps.astype("<u8").tobytes()):
        digest.update(piece)
    return digest.hexdigest()
