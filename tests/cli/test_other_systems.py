"""The main job without the calls that Windows, or Windows and macOS, do not have. It has not run on either."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import psutil  # it calls what is taken away when it is imported
import pytest

from resnet_lab.core import system_memory

MISSING = (
    (os, ("getuid", "pread", "preadv", "pwrite", "sched_getaffinity", "sysconf")),
    (signal, ("SIGKILL", "SIGPIPE", "SIGUSR1")),
)
"""The standard library's documentation has them as of Unix, or of Linux."""


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A system without them, without /proc and without `resource`."""
    assert psutil.virtual_memory().total
    for module, names in MISSING:
        for name in names:
            monkeypatch.delattr(module, name)
    monkeypatch.setattr(system_memory, "ROOT", tmp_path / "no system")
    if "resource" in sys.modules:
        monkeypatch.setattr("resource.getrusage", lambda who: type("Usage", (), {"ru_maxrss": 2**20}))


@pytest.mark.usefixtures("elsewhere")
def test_training_and_what_follows(cli: Callable[..., Any], paintings: Path, tmp_path: Path) -> None:
    small = ("--model", "resnet20", "--size", 16, "--data", paintings, "--batch-size", "auto")
    assert cli("train", *small, "--epochs", 2, "--out", "run").code == 0
    code, out, _ = cli("eval", "run", "--json")
    assert (code, 0 <= json.loads(out)["test"]["accuracy"] <= 1) == (0, True)
    code, out, _ = cli("predict", "run", paintings, "--csv", "--top", 1)
    assert (code, len(list(csv.DictReader(StringIO(out))))) == (0, 24)
    assert cli("data", "cache", "list").code == 0
    assert cli("export", "run", "--to", "card").code == 0


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_characters_that_an_encoding_lacks(encoding: str) -> None:
    """Windows has it for output to files; texts of recipes have more characters."""
    done = subprocess.run(
        [sys.executable, "-m", "resnet_lab", "recipes", "list"],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
    )
    assert (done.returncode, b"paintings-quick" in done.stdout, done.stderr) == (0, True, b"")
