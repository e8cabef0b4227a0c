"""Memory that a step frees is kept by the process for the next step.

glibc hands blocks above 32 MiB, and free memory at the heap's end, back to the system at once, which then has to clear
the same pages again in every step: a fifth of the time of a ResNet-50's training step on the processor.
"""

import ctypes
import platform

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""Of glibc's `mallopt` (man 3 mallopt)."""

GROWTH = 64 * 2**20
"""Bytes by which the heap grows at least."""


def keep_freed_memory() -> bool:
    """Tell the C library to keep what is freed, for this process; False where it is another library than glibc."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: GROWTH}
    taken = [mallopt(name, value) for name, value in settings.items()]
    return all(taken)
