"""Seeds by name."""

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def named_seed(seed: int, name: str) -> int:
    """A 63-bit seed that is a pure function of `seed` and `name`."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def named_seeds(seed: int, names: Iterable[bytes]) -> NDArray[np.uint64]:
    """`named_seed` of many names, each in UTF-8, shape (number of names,)."""
    start = f"{seed}:".encode()
    digests = b"".join([hashlib.sha256(start + name).digest()[:8] for name in names])
    return np.frombuffer(digests, ">u8").astype(np.uint64) >> np.uint64(1)
