import sys
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from types import SimpleNamespace

import psutil
import pytest

from resnet_lab.core import system_memory
from resnet_lab.core.system_memory import free_memory, peak_memory, total_memory

MEMINFO = "MemTotal:  1000 kB\nMemFree:  100 kB\nMemAvailable:  600 kB\nHugePages_Total:  0\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system in a folder."""
    monkeypatch.setattr(system_memory, "ROOT", tmp_path)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text(MEMINFO)
    return tmp_path


def group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name.replace("memory_", "memory.")).write_text(text + "\n")


def test_this_machine() -> None:
    assert 0 < free_memory() <= total_memory()


def test_without_control_groups(root: Path) -> None:
    assert (total_memory(), free_memory()) == (1000 * 1024, 600 * 1024)


@pytest.mark.parametrize("seen_from_inside", [True, False])
def test_a_container_s_limit_in_version_2(root: Path, seen_from_inside: bool) -> None:
    """300,000 of 500,000 bytes are used, 120,000 of them by files that nobody has open."""
    (root / "proc/self/cgroup").write_text("0::/box\n")
    folder = root / "sys/fs/cgroup" / ("" if seen_from_inside else "box")
    stat = "anon 180000\ninactive_file 120000"
    group(folder, memory_max="500000", memory_current="300000", memory_stat=stat)
    assert (total_memory(), free_memory()) == (500_000, 320_000)


def test_a_container_s_limit_in_version_1(root: Path) -> None:
    (root / "proc/self/cgroup").write_text("5:cpu,cpuacct:/other\n4:memory:/box\n")
    folder = root / "sys/fs/cgroup/memory/box"
    stat = "cache 1\ntotal_inactive_file 120000"
    group(folder, memory_limit_in_bytes="500000", memory_usage_in_bytes="300000", memory_stat=stat)
    assert (total_memory(), free_memory()) == (500_000, 320_000)


def test_a_group_without_a_limit(root: Path) -> None:
    (root / "proc/self/cgroup").write_text("0::/box\n")
    group(root / "sys/fs/cgroup/box", memory_max="max", memory_current="300000", memory_stat="inactive_file 0")
    assert (total_memory(), free_memory()) == (1000 * 1024, 600 * 1024)


def test_a_system_without_proc(root: Path) -> None:
    """As macOS and Windows are."""
    (root / "proc/meminfo").unlink()
    assert total_memory() == psutil.virtual_memory().total
    assert free_memory() == pytest.approx(psutil.virtual_memory().available, rel=0.2)
    assert peak_memory() == getrusage(RUSAGE_SELF).ru_maxrss * 1024


def test_the_peak_on_windows(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = SimpleNamespace(memory_info=lambda: SimpleNamespace(peak_wset=12345))
    monkeypatch.setattr(psutil, "Process", lambda: process)
    monkeypatch.setattr(system_memory, "sys", SimpleNamespace(platform="win32"))
    monkeypatch.setitem(sys.modules, "resource", None)
    assert peak_memory() == 12345
