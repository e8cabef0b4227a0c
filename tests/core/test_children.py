import json
import os
import signal
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import resnet_lab
from resnet_lab.core import children
from resnet_lab.core.children import LAST_LINES, Child, python_module

PACKAGE = Path(resnet_lab.__file__).parent


@pytest.fixture
def received(tmp_path: Path) -> Path:
    """A folder with modules called like some that every process of the program imports; each leaves a marker."""
    for name in ("html", "json", "typer"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'marker')!r}, 'w').close()\n")
    return tmp_path


def in_folder(folder: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_children_import_nothing_from_the_current_folder(received: Path) -> None:
    done = in_folder(received, python_module("resnet_lab", "recipes", "list", "--json"))
    assert len(json.loads(done.stdout)["recipes"]) > 5
    assert not (received / "marker").exists()


def test_the_program_as_a_module_imports_nothing_from_the_current_folder(received: Path) -> None:
    done = in_folder(received, [sys.executable, "-m", "resnet_lab", "--version"])
    assert (done.returncode, done.stdout.split()[0]) == (0, "resnet-lab")
    assert not (received / "marker").exists()


def test_every_child_is_started_so() -> None:
    """Who names Python's executable starts a process by another way."""
    named = [path.name for path in PACKAGE.rglob("*.py") if "sys.executable" in path.read_text()]
    assert named == ["children.py"]


def test_a_child_that_says_much_is_never_held_up() -> None:
    """A pipe holds 64 KiB."""
    code = "import sys\nfor n in range(100_000): print('line', n, file=sys.stderr)\nprint(chr(10), file=sys.stderr)"
    child = Child([sys.executable, "-c", code], os.environ)
    until = time.monotonic() + 20
    while child.is_running and time.monotonic() < until:
        time.sleep(0.01)
    assert not child.is_running
    assert child.ended() == (0, "line 99999")
    assert len(child._lines) <= LAST_LINES


def test_a_child_is_stopped_and_its_last_line_is_kept() -> None:
    code = "import sys, time; sys.stderr.buffer.write(b'bytes \\xff\\n'); sys.stderr.flush(); time.sleep(60)"
    child = Child([sys.executable, "-c", code], os.environ)
    while not child._lines:
        time.sleep(0.01)
    child.stop()
    assert child.ended() == (-signal.SIGTERM, "bytes \ufffd")
    assert Child([sys.executable, "-c", "raise SystemExit(3)"], os.environ).ended() == (3, "without a message")


CHILD = """
import os, sys, time
from resnet_lab.core.children import end_with
from resnet_lab.train.interruption import Interrupted, Interruption

with Interruption() as interruption:
    end_with(os.getppid())
    print(os.getpid(), flush=True)
    try:
        while True:
            time.sleep(0.01)
            interruption.check()
    except Interrupted as error:
        open(sys.argv[1], "w").write(str(error))
"""


def test_a_child_ends_between_two_steps_when_its_parent_is_killed(tmp_path: Path) -> None:
    parent = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]])"
    command = [sys.executable, "-c", parent, CHILD, str(tmp_path / "saved")]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert not (tmp_path / "saved").exists()
        process.kill()
    until = time.monotonic() + 20
    while not (tmp_path / "saved").exists() and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.1)
    assert (tmp_path / "saved").read_text() == "stopped by SIGTERM"


def test_children_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-Break, to a group of their own, asks them to stop: SIGTERM would not be noticed there."""
    started: list[dict[str, Any]] = []
    sent: list[int] = []

    class Process:
        def __init__(self, command: list[str], **options: Any) -> None:
            started.append(options)
            self.stderr = StringIO("last line\n")
            self.send_signal = sent.append

        def wait(self) -> int:
            return 3

    monkeypatch.setattr(children, "sys", SimpleNamespace(platform="win32"))
    monkeypatch.setattr(subprocess, "Popen", Process)
    monkeypatch.setattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 512, raising=False)
    monkeypatch.setattr(signal, "CTRL_BREAK_EVENT", 1, raising=False)
    child = Child(["python"], {})
    child.stop()
    assert (started[0]["creationflags"], "process_group" in started[0], sent) == (512, False, [1])
    assert child.ended() == (3, "last line")


def test_a_parent_s_end_is_noticed_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """There `os.getppid` stays as it was."""
    parent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    raised: list[int] = []
    monkeypatch.setattr(children, "sys", SimpleNamespace(platform="win32"))
    monkeypatch.setattr(children, "LOOKS", 0.01)
    monkeypatch.setattr(os, "getppid", lambda: parent.pid)
    monkeypatch.setattr(signal, "raise_signal", raised.append)
    children.end_with(parent.pid)
    time.sleep(0.1)
    assert raised == []
    parent.communicate(b"\n")
    until = time.monotonic() + 20
    while not raised and time.monotonic() < until:
        time.sleep(0.01)
    assert raised == [signal.SIGTERM]
