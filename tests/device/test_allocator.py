import platform
import subprocess
import sys
from pathlib import Path

import pytest

import resnet_lab
from resnet_lab.device import allocator

ROOM = Path(resnet_lab.__file__).parent / "device"

STEPS = """
import sys
from resource import RUSAGE_SELF, getrusage
import numpy as np
sys.path.insert(0, sys.argv[1])
if sys.argv[2] == "keep":
    import allocator
    assert allocator.keep_freed_memory()

def step():
    held = [np.ones(size * 2**20, dtype=np.uint8) for size in (40, 10, 80)]

step(), step()
before = getrusage(RUSAGE_SELF).ru_minflt
step(), step()
print(getrusage(RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_a_step_finds_the_memory_of_the_one_before() -> None:
    """Two steps of 130 MiB ask the system for 66,560 pages of 4 KiB (numpy: for fewer, huge ones), or for none."""

    def faults(word: str) -> int:
        command = [sys.executable, "-c", STEPS, str(ROOM), word]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert faults("keep") <= 10
    assert faults("free") >= 100


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.delattr(allocator.ctypes, "CDLL")
    assert allocator.keep_freed_memory() is False
