"""Seeds by name."""

import hashlib


def named_seed(seed: int, name: str) -> int:
    """A 63-bit seed that is a pure function of `seed` and `name`."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
