import platform
import subprocess
import sys
from pathlib import Path

import pytest

import resnet_lab
from resnet_lab.core import allocator

PACKAGE = Path(resnet_lab.__file__).parent

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
        command = [sys.executable, "-c", STEPS, str(PACKAGE / "core"), word]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert faults("keep") <= 10
    assert faults("free") >= 100


HOLDING = """
import re, sys, threading
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import allocator

def resident():
    return int(re.findall(r"VmRSS:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[0]) / 1024

def take():
    held = [bytes(range(256)) * 2**8 for _ in range(1600)]  # 100 MiB in blocks of 64 KiB
    kept.append(held[-1])
    del held

kept, before = [], resident()
threads = [threading.Thread(target=take) for _ in range(2)]
for thread in threads:
    thread.start()
    thread.join()
held = resident() - before
if sys.argv[2] == "keep":
    assert allocator.keep_freed_memory()
assert allocator.give_back_freed_memory() == (sys.argv[2] == "free")
print(held - (resident() - before))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_what_threads_have_freed_goes_back_unless_it_is_to_be_kept() -> None:
    """A block at the end of each thread's heap keeps what is before it."""

    def given_back(word: str) -> float:
        command = [sys.executable, "-c", HOLDING, str(PACKAGE / "core"), word]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert given_back("free") > 80
    assert given_back("keep") < 10


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator, "_glibc", lambda: None)
    assert allocator.keep_freed_memory() is False
    assert allocator.give_back_freed_memory() is False
