"""Control of the allocator: freed memory is kept by the process or returned to the system.

A training keeps what a step frees for the next step. glibc hands blocks above 32 MiB, and free memory at the heap's
end, back to the system at once, which then has to clear the same pages again in every step: a fifth of the time of a
ResNet-50's training step on the CPU.
"""

import ctypes
import platform
from functools import cache

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""Parameters of glibc's `mallopt` (man 3 mallopt)."""

GROWTH = 64 * 2**20
"""Bytes by which the heap grows at least."""


_is_kept = False


def keep_freed_memory() -> bool:
    """Tell the C library to keep what is freed, for this process; False where it is another library than glibc."""
    global _is_kept
    if (glibc := _glibc()) is None:
        return False
    _is_kept = True
    settings = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: GROWTH}
    taken = [glibc.mallopt(name, value) for name, value in settings.items()]
    return all(taken)


def give_back_freed_memory(*, even_if_kept: bool = False) -> bool:
    """Return to the system what glibc keeps for each thread, which is as much as a thread took at any time.

    It takes some milliseconds. False where the process is to keep it, or the C library is another than glibc.

    Args:
        even_if_kept: this once, although the process is to keep what is freed from now on.
    """
    if (_is_kept and not even_if_kept) or (glibc := _glibc()) is None:
        return False
    glibc.malloc_trim(0)
    return True


@cache
def _glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
