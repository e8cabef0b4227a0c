"""Cores by the control groups of a made-up system, and beside a program that keeps one busy."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from resnet_lab.core import processor, system_memory
from resnet_lab.core.processor import allowed_cores, busy_cores, free_cores


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "proc/self").mkdir(parents=True)
    monkeypatch.setattr(system_memory, "ROOT", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    return tmp_path


@pytest.mark.parametrize(
    ("limit", "cores"), [("max 100000", 8), ("300000 100000", 3), ("50000 100000", 1), ("9900000 100000", 8)]
)
def test_a_quota_in_version_2(root: Path, limit: str, cores: int) -> None:
    (root / "proc/self/cgroup").write_text("0::/box\n")
    (root / "sys/fs/cgroup/box").mkdir(parents=True)
    (root / "sys/fs/cgroup/box/cpu.max").write_text(f"{limit}\n")
    assert allowed_cores() == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1", 8), ("250000", 2)])
def test_a_quota_in_version_1(root: Path, quota: str, cores: int) -> None:
    (root / "proc/self/cgroup").write_text("5:memory:/box\n4:cpu:/box\n")
    (root / "sys/fs/cgroup/cpu/box").mkdir(parents=True)
    (root / "sys/fs/cgroup/cpu/box/cpu.cfs_quota_us").write_text(f"{quota}\n")
    (root / "sys/fs/cgroup/cpu/box/cpu.cfs_period_us").write_text("100000\n")
    assert allowed_cores() == cores


@pytest.mark.parametrize(("busy", "cores"), [(0.2, 8), (7.9, 8), (9.6, 6), (14.6, 1), (16.0, 1)])
def test_what_others_leave_free(root: Path, busy: float, cores: int) -> None:
    """Of 16 cores, 8 of which this process may use."""
    assert free_cores(busy) == cores


def test_a_busy_program_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "WATCHED", 1.0)
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        try:
            assert busy_cores() > 0.4
        finally:
            other.kill()
