"""Processes that this program starts: they import nothing from the current folder, and do not outlive their parent.

The current folder may be untrusted. A parent may be killed, and then nobody reads what its children find.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

LAST_LINES = 100
"""Number of lines of a child's standard error that are kept."""

LOOKS = 0.5
"""Seconds between two looks at whether the parent is there."""


def python_module(name: str, *arguments: str) -> list[str]:
    """The command that runs a module with this Python; `-m` alone would look in the current folder first."""
    return [sys.executable, "-P", "-m", name, *arguments]


class Child:
    """A child process whose standard error is read all the time, so that it never blocks on it.

    It is a process group of its own: a key press reaches it by way of this process alone.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        group: dict[str, Any] = {"process_group": 0}
        if sys.platform == "win32":
            group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        self._process = subprocess.Popen(
            command, env=environment, stderr=subprocess.PIPE, text=True, errors="replace", **group
        )
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Send SIGTERM, unless it has ended; on Windows Ctrl-Break, since SIGTERM would end it at once there."""
        if sys.platform == "win32":
            self._process.send_signal(signal.CTRL_BREAK_EVENT)
        else:
            self._process.terminate()

    def ended(self) -> tuple[int, str]:
        """Wait for its end; its exit code, and the last line that it wrote on standard error."""
        code = self._process.wait()
        self._reader.join()
        return code, next((line.strip() for line in reversed(self._lines) if line.strip()), "without a message")

    def stderr(self) -> str:
        """The last lines that it has written on standard error."""
        return "".join(self._lines)

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            self._lines.extend(lines)


def end_with(parent: int) -> None:
    """Send SIGTERM to this process once its parent is gone: a training then saves its state between two steps.

    Args:
        parent: the number of the parent process.
    """
    is_there = _parent_there(parent)

    def watch() -> None:
        while is_there():
            time.sleep(LOOKS)
        if sys.platform == "win32":  # where `os.kill` would end the process at once
            signal.raise_signal(signal.SIGTERM)
        else:
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _parent_there(parent: int) -> Callable[[], bool]:
    """Whether the parent has not ended; Windows keeps its number in a child after that."""
    if sys.platform == "win32":
        import psutil

        process = psutil.Process(parent)
        return lambda: bool(process.is_running())
    return lambda: os.getppid() == parent
